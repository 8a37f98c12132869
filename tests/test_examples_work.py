"""The droplets of the examples of tasks and chat do what they say, in memory."""

from __future__ import annotations

from typing import Any

from examples.chat.trains import Trains
from examples.tasks.shrinker import Shrinker

from tests.conftest import virtual_time
from udc.testing import World, mesh


async def said(world: World, who: str, message: str, context: dict[str, Any]) -> dict[str, Any]:
    answer = await world.request("POST", who, "/handle-chat", json={"message": message, "context": context})
    found: dict[str, Any] = answer.json()
    return found


@virtual_time
class TestInMemory:
    async def test_pictures_are_made_small(self) -> None:
        async with mesh(Shrinker()) as world:
            handle = await world.orchestrator.assign("Shrinker", "shrink", {"pictures": ["cat", "dog"]})
            assert (await handle.finished())["result"] == ["cat-small", "dog-small"]
            assert await world.client.query("Shrinker", "thrown_away") == 0

    async def test_half_an_album_is_thrown_away(self) -> None:
        async with mesh(Shrinker()) as world:
            handle = await world.orchestrator.assign("Shrinker", "shrink", {"pictures": ["cat"] * 100})
            await handle.heard("task_progress")
            await handle.cancel()
            assert (await handle.finished())["type"] == "task_cancelled"
            assert await world.client.query("Shrinker", "thrown_away") == 1

    async def test_the_conversation_goes_on_where_it_was(self) -> None:
        async with mesh(Trains()) as world:
            first = await said(world, "Trains", "To Utrecht, please", {})
            second = await said(world, "Trains", "And the next one?", first["context"])
            third = await said(world, "Trains", "And the next one?", second["context"])
            lost = await said(world, "Trains", "And the next one?", {})
        assert [first["response"], second["response"]] == ["To Utrecht at 08:11.", "To Utrecht at 08:41."]
        assert third["response"] == "That was the last one to Utrecht."
        assert lost["response"].startswith("Where to?")
