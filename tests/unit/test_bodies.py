"""Bodies that come at once, in parts, slowly, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.conftest import virtual_time
from udc._bodies import CallerLeft, Event, TooLarge, TooLate, abandon, begin, read, whole

pytestmark = virtual_time

LIMIT = 10


class Server:
    """Gives these events, each after so many seconds; counts how often it was asked."""

    def __init__(self, *events: tuple[float, Event]) -> None:
        self.events = list(events)
        self.asked = 0
        self.cancelled = False

    async def receive(self) -> Event:
        self.asked += 1
        if not self.events:
            await anyio.sleep_forever()
        seconds, event = self.events.pop(0)
        if seconds:
            try:
                await anyio.sleep(seconds)
            except BaseException:
                self.cancelled = True
                raise
        return event


def asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def part(body: bytes, *, more: bool = False) -> Event:
    return {"type": "http.request", "body": body, "more_body": more}


async def body_of(server: Server, seconds: float = 30.0) -> bytes:
    begun = begin(server.receive)
    found = whole(begun, LIMIT)
    return await read(begun, server.receive, limit=LIMIT, seconds=seconds) if found is None else found


async def test_what_is_there_is_taken_without_a_timer() -> None:
    server = Server((0, part(b"all")))
    begun = begin(server.receive)
    if asyncio_runs():
        assert whole(begun, LIMIT) == b"all", "nothing was awaited, so there was no time limit to set up"
    else:
        assert await read(begun, server.receive, limit=LIMIT, seconds=30) == b"all"
    assert server.asked == 1


async def test_a_server_may_have_time_limits_of_its_own() -> None:
    async def limited() -> Event:
        with anyio.move_on_after(5):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 5)
        return part(b"abc")

    async def stuck() -> Event:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
        raise AssertionError

    assert await read(begin(limited), limited, limit=LIMIT, seconds=30) == b"abc"
    with anyio.move_on_after(60) as around:
        with pytest.raises(TooLate):
            await read(begin(stuck), stuck, limit=LIMIT, seconds=30)
        await abandon(begin(stuck))
        await anyio.sleep(1)
    assert not around.cancelled_caught


@pytest.mark.parametrize(
    "events",
    [
        [(1, part(b"abcdef"))],
        [(0, part(b"abc", more=True)), (0, part(b"def"))],
        [(2, part(b"abc", more=True)), (3, part(b"", more=True)), (4, part(b"def"))],
        [(0, {"type": "http.request", "more_body": True}), (1, part(b"abcdef"))],
    ],
)
async def test_what_comes_later_or_in_parts_is_waited_for(events: list[tuple[float, Event]]) -> None:
    assert await body_of(Server(*events)) == b"abcdef"


@pytest.mark.parametrize(
    "events",
    [
        [(0, part(b"x" * 11))],
        [(1, part(b"x" * 11))],
        [(0, part(b"x" * 6, more=True)), (0, part(b"x" * 5, more=True))],
    ],
)
async def test_what_is_over_the_limit_is_not_read_to_its_end(events: list[tuple[float, Event]]) -> None:
    server = Server(*events)
    with pytest.raises(TooLarge):
        await body_of(server)
    assert server.asked == len(events)


@pytest.mark.parametrize(
    "events",
    [
        [(31, part(b"abc"))],
        [],
        [(0, part(b"a", more=True)), (31, part(b"b"))],
        [(10, part(b"a", more=True)), (10, part(b"b", more=True)), (10.5, part(b"c"))],
    ],
)
async def test_all_of_it_has_one_time(events: list[tuple[float, Event]]) -> None:
    began = anyio.current_time()
    with pytest.raises(TooLate):
        await body_of(Server(*events))
    assert anyio.current_time() - began == pytest.approx(30.0)


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_caller_that_leaves_is_told_apart(seconds: float) -> None:
    left: Event = {"type": "http.disconnect"}
    for events in ([(seconds, left)], [(0, part(b"a", more=True)), (seconds, left)]):
        with pytest.raises(CallerLeft):
            await body_of(Server(*events))


async def test_cancellation_reaches_the_server_and_the_caller() -> None:
    server = Server((60, part(b"abc")))
    with anyio.move_on_after(1) as scope:
        await body_of(server)
    assert scope.cancelled_caught
    assert server.cancelled


async def test_what_was_begun_can_be_abandoned_and_the_next_event_still_comes() -> None:
    server = Server((60, part(b"abc")), (1, {"type": "http.disconnect"}))
    begun = begin(server.receive)
    await abandon(begun)
    assert server.cancelled
    assert (await server.receive())["type"] == "http.disconnect"
    await abandon(part(b"there"))


async def test_an_error_of_the_server_is_its_own() -> None:
    async def broken() -> Event:
        raise OSError("gone")

    async def broken_later() -> Event:
        await anyio.sleep(1)
        raise OSError("gone")

    for receive in (broken, broken_later):
        with pytest.raises(OSError, match="gone"):
            await read(begin(receive), receive, limit=LIMIT, seconds=30)


async def test_a_servers_own_kind_of_awaitable_is_awaited() -> None:
    class Bare:
        def __init__(self, steps: Generator[Any, Any, Event]) -> None:
            self.steps = steps

        def __iter__(self) -> Bare:
            return self

        def __next__(self) -> Any:
            return self.send(None)

        def send(self, told: Any) -> Any:
            return self.steps.send(told)

    class Own:
        def __init__(self, event: Event) -> None:
            self.event = event

        def __await__(self) -> Any:
            async def later() -> Event:
                await anyio.lowlevel.checkpoint()
                return self.event

            return Bare(later().__await__())

    events = [part(b"abc", more=True), part(b"def")]

    def receive() -> Awaitable[Event]:
        return Own(events.pop(0))

    begun = begin(receive)
    assert whole(begun, LIMIT) is None
    assert await read(begun, receive, limit=LIMIT, seconds=30) == b"abcdef"
