"""A whole program that serves droplets: from its parts to its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Final

import anyio

from udc._serve.ending import Watchdog, end_process, other_threads, stuck_threads
from udc._serve.process import Part, serve
from udc._serve.signals import Signals
from udc.errors import ConfigError, DefinitionError

_log = logging.getLogger("udc.serve")

DONE: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
"""Exit codes: ended as asked; a droplet failed; nothing was started, for what was asked cannot be."""


def run(
    make_parts: Callable[[ExitStack], Sequence[Part]], *, signals: Signals | None = None, owns_process: bool = False
) -> int:
    """Serve until the first signal; what goes wrong is told on stderr, and by the exit code.

    Call it in the main thread. It returns when all droplets have stopped; a second signal, and a stop that takes
    too long, end the process from within.

    Args:
        make_parts: makes the droplets of the process; what it puts on the stack is closed after them.
        signals: what ends it; by default SIGTERM and SIGINT.
        owns_process: nothing else is done in this process afterwards, so no thread may keep it.
    """
    signals, watchdog = signals or Signals(), Watchdog()
    signals.at_first = watchdog.start
    with signals.installed():
        code = _told(lambda: _serve(make_parts, signals, watchdog))
        watchdog.stop()
    if stuck := stuck_threads():
        _log.warning("handlers are stuck in threads and are left behind", extra={"threads": len(stuck)})
        end_process(code)
    if owns_process and (left := other_threads()):
        names = sorted(each.name for each in left)
        _log.warning("threads that the droplet has started do not end and are left behind", extra={"threads": names})
        end_process(code)
    return code


def _serve(make_parts: Callable[[ExitStack], Sequence[Part]], signals: Signals, watchdog: Watchdog) -> None:
    with ExitStack() as stack:
        parts = make_parts(stack)
        for part in parts:
            stack.callback(part.bound.close)
        if find_spec("httptools") is None:
            _log.warning("httptools is missing, and requests cost three times as much: pip install 'udc-mesh[run]'")
        anyio.run(
            partial(serve, parts, signals=signals, watchdog=watchdog),
            backend_options={"use_uvloop": find_spec("uvloop") is not None},
        )


def _told(run: Callable[[], None]) -> int:
    try:
        run()
    except (ConfigError, DefinitionError) as error:
        sys.stderr.write(f"udc: {error}\n")
        return REFUSED
    except Exception:  # noqa: BLE001 - the border of the program: logged, and told by the exit code
        _log.exception("the droplet failed")
        return FAILED
    return DONE
