"""Time limits, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import looptime
import pytest
from trio.testing import MockClock

from tests.unit.dispatch.kit import Droplet, World
from udc.context import Context
from udc.dispatch.declare import command, query, task
from udc.errors import Timeout
from udc.instrument import MessageHandled


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": looptime.new_event_loop}
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Slow(Droplet):
    @query("slow", timeout_seconds=5)
    @command("slow")
    @task("slow")
    async def slow(self, seconds: float, ctx: Context) -> float | None:
        await anyio.sleep(seconds)
        return ctx.remaining_seconds

    @query("sync", timeout_seconds=5)
    def sync(self, ctx: Context) -> float | None:
        return ctx.remaining_seconds


@pytest.mark.parametrize(
    ("kind", "fields", "limit"),
    [
        ("query", {}, 5),
        ("command", {}, 30),
        ("command", {"timeout_ms": 1500}, 1.5),
        ("task", {"timeout_ms": 90_000}, 90),
    ],
)
async def test_a_handler_that_overruns_is_stopped(kind: str, fields: Any, limit: float) -> None:
    world = World(Slow())
    began = anyio.current_time()
    with pytest.raises(Timeout, match="the handler was not done by its deadline"):
        await world(kind, "slow", {"seconds": 1000}, **fields)
    assert anyio.current_time() - began == pytest.approx(limit)
    (handled,) = world.events
    assert isinstance(handled, MessageHandled)
    assert handled.error_code == "TIMEOUT"
    assert handled.seconds == pytest.approx(limit)


async def test_a_handler_within_its_time_is_not() -> None:
    world = World(Slow(), threads=False)
    assert float((await world("query", "slow", {"seconds": 4})).data) == pytest.approx(1)
    assert float((await world("query", "sync")).data) == pytest.approx(5)
    assert (await world("task", "slow", {"seconds": 100_000})).data == b"null"
