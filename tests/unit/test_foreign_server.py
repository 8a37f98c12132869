"""A droplet hears the signals of the server around it, and leaves no trace."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import anyio
import pytest
import uvicorn

from udc._foreign_server import heeded


class Server:
    """Has handlers, as servers do."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.handler = self._handle  # each look at a method makes a new one

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.heard.append(number)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_reaches_both(number: int) -> None:
    server, stopped = Server(), anyio.Event()
    signal.signal(number, server.handler)
    with heeded(stopped.set, grace_seconds=1):
        os.kill(os.getpid(), number)
        with anyio.fail_after(5):
            await stopped.wait()
        os.kill(os.getpid(), number)
        assert server.heard == [number, number], "the server hears every one"
        assert signal.getsignal(number) is not server.handler
    assert signal.getsignal(number) is server.handler


@pytest.mark.parametrize("default", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
async def test_where_no_server_listens_nothing_is_changed(default: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, default)
    with heeded(lambda: None, grace_seconds=1):
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == [default, default]


async def test_what_somebody_else_installed_since_stays() -> None:
    first, later = Server(), Server()
    signal.signal(signal.SIGTERM, first.handler)
    with heeded(lambda: None, grace_seconds=1):
        signal.signal(signal.SIGTERM, later.handler)
    assert signal.getsignal(signal.SIGTERM) is later.handler


async def test_two_droplets_of_one_application_hear_it_both() -> None:
    server, stopped = Server(), [anyio.Event(), anyio.Event()]
    signal.signal(signal.SIGTERM, server.handler)
    with heeded(stopped[0].set, grace_seconds=1), heeded(stopped[1].set, grace_seconds=1):
        os.kill(os.getpid(), signal.SIGTERM)
        with anyio.fail_after(5):
            for each in stopped:
                await each.wait()
    assert (server.heard, signal.getsignal(signal.SIGTERM)) == ([signal.SIGTERM], server.handler)


def test_in_another_thread_it_leaves_signals_alone() -> None:
    server, seen = Server(), list[Any]()
    signal.signal(signal.SIGTERM, server.handler)

    async def live() -> None:
        with heeded(lambda: None, grace_seconds=1):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: anyio.run(live))
    thread.start()
    thread.join()
    assert seen == [server.handler]


@pytest.mark.parametrize(("own", "expected"), [(None, 4), (30, 30), (0, 0)])
async def test_a_uvicorn_without_a_limit_gets_one(own: int | None, expected: int) -> None:
    server = uvicorn.Server(uvicorn.Config("no:app", timeout_graceful_shutdown=own, log_config=None))
    signal.signal(signal.SIGTERM, server.handle_exit)
    with heeded(lambda: None, grace_seconds=1.5):
        assert server.config.timeout_graceful_shutdown == expected
