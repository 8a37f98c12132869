"""Virtual time: an event loop whose clock leaps to the next timer, so that hours pass at once."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from importlib import import_module
from typing import Any, Literal

__all__ = ["virtual_time"]


def virtual_time(backend: Literal["asyncio", "trio"] = "asyncio") -> tuple[str, dict[str, Any]]:  # Any: anyio's own
    """The value for an `anyio_backend` fixture whose tests run in virtual time.

    Nothing else changes: `anyio.sleep(3600)` returns at once, and 3600 s have passed by `anyio.current_time()`.

    Args:
        backend: asyncio needs looptime; trio brings its own clock.

    Raises:
        ImportError: what it needs is not installed; names the command that does.
    """
    if backend == "trio":
        clock = _wanted("trio.testing", "pip install trio").MockClock(autojump_threshold=0)
        return "trio", {"clock": clock}
    looptime = _wanted("looptime", 'pip install "udc-mesh[testing]"')
    # Before each leap it would turn 42 times to let others run. Nobody is left to run when the clock may leap: no
    # thread and no socket takes part. Without that a mesh of fifty passes an hour in a fourth of the time.
    return "asyncio", {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)}


def is_virtual() -> bool:
    """Whether the running event loop's clock is a virtual one. While a thread works, such a clock leaps."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _trio_is_virtual()
    return any(kind.__module__.partition(".")[0] == "looptime" for kind in type(loop).__mro__)


def _trio_is_virtual() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and type(trio.lowlevel.current_clock()).__name__ == "MockClock"


def _wanted(module: str, command: str) -> Any:  # Any: a module
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"virtual time needs {module.partition('.')[0]}: {command}") from error
