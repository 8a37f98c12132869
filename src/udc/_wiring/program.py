"""`Droplet.run()`: a droplet as a program of its own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, Final, TextIO

from udc._wiring.hosted import Hosted

REFUSED: Final = 2
DEFAULT_DATA: Final = Path(".udc")
NEEDS_RUN: Final = 'udc: running a droplet needs more packages: pip install "udc-mesh[run]"\n'


def explicit_settings(
    *, host: str | None, port: int | None, data: str | PathLike[str] | None
) -> dict[str, Any]:  # Any: values of many types
    """The settings that these arguments stand for."""
    given = {"server.host": host, "server.port": port, "data": None if data is None else Path(data)}
    return {name: value for name, value in given.items() if value is not None}


def run(droplet: Any, *, host: str | None, port: int | None, data: str | PathLike[str] | None) -> None:
    """Run it to its end.

    Raises:
        SystemExit: it did not end well.
    """
    try:
        from udc import _serve
        from udc._wiring.hosting import part_of
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        sys.stderr.write(NEEDS_RUN)
        raise SystemExit(REFUSED) from None
    explicit = explicit_settings(host=host, port=port, data=data)
    code = _serve.run(lambda _: [part_of(droplet, explicit=explicit, on_serving=announce)])
    if code:
        raise SystemExit(code)


def announce(hosted: Hosted) -> None:
    """Tell a person where it is, and what it lacks."""
    droplet = hosted.config.droplet
    tell(f"{droplet.name} (droplet {droplet.id}) serves at {droplet.url} - stop it with Ctrl+C", to=sys.stdout)
    hint(hosted)


def hint(hosted: Hosted) -> None:
    """Say on stderr how to start a mesh, where there is none and it would join one unasked."""
    nearby = hosted.parts.nearby
    if nearby is not None and nearby.look() is None:
        data = hosted.config.data
        option = f" --data {data}" if data != DEFAULT_DATA else ""
        tell(f"udc: no mesh in sight, it serves alone; start one with 'udc mesh{option}' and it joins", to=sys.stderr)


def tell(text: str, *, to: TextIO) -> None:
    """Write a line, at once. That nobody reads it is no reason to end: what serves goes on serving."""
    try:
        to.write(f"{text}\n")
        to.flush()
    except BrokenPipeError:
        let_go(to)


def let_go(stream: TextIO) -> None:
    """Flush it; where its reader has gone, what is written there comes to nothing from now on.

    Else Python would complain of what is left in it when the process ends.
    """
    try:
        stream.flush()
    except BrokenPipeError:
        with suppress(OSError):  # a stream in memory, a test's
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
