"""Signals and the last resorts, without ending the test's own process."""

from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn

import anyio
import anyio.to_thread
import pytest

from udc._serve.ending import Watchdog, other_threads, stuck_threads
from udc._serve.signals import Signals


class Ended(BaseException):
    """In place of the end of the process."""


def end(code: int) -> NoReturn:
    raise Ended(code)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_is_told_and_the_second_ends(number: int) -> None:
    before = signal.getsignal(number)
    signals = Signals(end)
    with signals.installed():
        os.kill(os.getpid(), number)
        with anyio.fail_after(5):
            await signals.first()
        with pytest.raises(Ended) as ended:
            signal.raise_signal(number)

    assert ended.value.args == (128 + number,)
    assert signals.heard == number
    assert signal.getsignal(number) is before


def test_the_watchdog_ends_what_does_not_end() -> None:
    bitten = threading.Event()
    codes: list[int] = []

    def note(code: int) -> None:
        codes.append(code)
        bitten.set()

    watchdog = Watchdog(note)
    watchdog.seconds = 0.01
    watchdog.start()
    watchdog.start()

    assert bitten.wait(5)
    assert codes == [1]
    watchdog.stop()


async def test_the_watchdog_is_begun_by_the_signal_itself() -> None:
    """A loop that is blocked cannot begin it."""
    bitten = threading.Event()
    watchdog, signals = Watchdog(lambda _: bitten.set()), Signals(end)
    watchdog.seconds, signals.at_first = 0.01, watchdog.start
    with signals.installed():
        os.kill(os.getpid(), signal.SIGTERM)
        assert bitten.wait(5)
    watchdog.stop()


def test_the_watchdog_can_be_called_off() -> None:
    bitten = threading.Event()
    watchdog = Watchdog(lambda _: bitten.set())
    watchdog.seconds = 0.05
    watchdog.start()
    watchdog.stop()
    watchdog.start()
    watchdog.stop()

    assert not bitten.wait(0.1)


def test_other_threads_are_those_that_would_keep_the_process() -> None:
    let_go = threading.Event()
    threads = [threading.Thread(target=let_go.wait, daemon=daemon) for daemon in (True, False)]
    for each in threads:
        each.start()
    left = other_threads(patience_seconds=0.05)
    let_go.set()

    assert threads[1] in left
    assert threads[0] not in left


def test_a_stuck_thread_is_found_and_an_idle_one_is_not() -> None:
    let_go = threading.Event()

    async def main() -> None:
        await anyio.to_thread.run_sync(lambda: None)  # its thread stays idle until the loop ends
        with anyio.move_on_after(0.05):
            await anyio.to_thread.run_sync(let_go.wait, abandon_on_cancel=True)

    anyio.run(main)
    stuck = stuck_threads(patience_seconds=0.2)
    let_go.set()

    assert len(stuck) == 1
    assert stuck_threads(patience_seconds=5) == []
