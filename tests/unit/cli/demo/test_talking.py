"""Each step of the demo's talk fails, with the reason, when what it shows does not happen; in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import virtual_time
from udc import ChatReply, Context, Droplet, chat, command, event, query
from udc._types import JsonObject
from udc.cli.demo import talking
from udc.cli.demo._droplets.counter import Counter
from udc.cli.demo._droplets.oven import Oven
from udc.cli.demo._droplets.pantry import Pantry, Recipe
from udc.cli.demo.opening import answers
from udc.cli.demo.processes import Processes
from udc.cli.demo.steps import Stage, StepFailed
from udc.clients.orchestrator import OrchestratorClient
from udc.testing import World, mesh

pytestmark = virtual_time


class InMemory:
    """The mesh of a test, as the demo sees a mesh."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.client: Context = world.client

    @property
    def tasks(self) -> OrchestratorClient:
        raise NotImplementedError

    def found(self) -> str:
        return ""

    async def look(self) -> None: ...

    async def rows(self) -> list[JsonObject]:
        return list((await self._world.request("GET", "Registry", "/droplets")).json())


class Silent:
    """Nobody watches."""

    def line(self, text: str) -> None: ...

    def waits(self, what: str) -> None: ...


@asynccontextmanager
async def stage_of(*droplets: Droplet) -> AsyncIterator[Stage]:
    async with mesh(*droplets) as world:
        seen = InMemory(world)
        stage = Stage(mesh=seen, processes=Processes(Path(), {}), droplets=Path(), audience=Silent())
        await stage.until("all of them", lambda: answers(stage))
        yield stage


class Dear(Pantry):
    @query("recipe")
    async def recipe(self, item: str, ctx: Context) -> Recipe:
        return Recipe(grams=501, minutes=50)


class Wordless(Oven):
    @query("baking_time")
    async def baking_time(self, item: str, ctx: Context) -> int:
        return 50


class Deaf(Pantry):
    delivered = None  # type: ignore[assignment]  # takes the handler away


class Forgetful(Pantry):
    @event("delivered")
    async def delivered(self, grams: int, ctx: Context) -> None: ...


class Locked(Pantry):
    @event("doors_open")
    async def doors_open(self) -> None: ...


class Cold(Oven):
    @event("doors_open")
    async def doors_open(self) -> None: ...


class Warm(Oven):
    @query("degrees")
    async def degrees(self) -> int:
        return 100


class Whispering(Counter):
    @command("open")
    async def open(self, ctx: Context) -> list[str]:
        return ["Pantry"]


class Absent(Counter):
    @chat
    async def talk(self, message: str, ctx: Context, context: dict[str, Any] | None = None) -> ChatReply:
        return await super().talk(message, ctx)


BAKERY: dict[str, type[Droplet]] = {"Counter": Counter, "Pantry": Pantry, "Oven": Oven}


async def test_the_whole_talk_goes_well() -> None:
    async with stage_of(*(each() for each in BAKERY.values())) as stage:
        asked = await talking.ask(stage)
        told = await talking.tell(stage)
        heard = await talking.tell_everybody(stage)
        talked = await talking.chat(stage)

    assert asked.facts["through"] == ["Counter", "Oven", "Pantry"]
    assert (told.facts["before"], told.facts["after"]) == (20_000, 25_000)
    assert {"Oven", "Pantry"} <= set(heard.facts["heard_by"])
    assert talked.facts["replies"][0] == "1 brioche? That is 3.60, in 25 minutes."
    assert len(stage.said) == 13


@pytest.mark.parametrize(
    ("step", "instead", "reason"),
    [
        pytest.param(talking.ask, Dear, "Counter answered .*1202", id="another answer"),
        pytest.param(talking.ask, Wordless, "in the logs of Counter, Pantry only", id="the trace left one out"),
        pytest.param(talking.tell, Deaf, "nothing there handles it", id="no handler"),
        pytest.param(talking.tell, Forgetful, "has 20000 g, not 25000 g", id="the event changed nothing"),
        pytest.param(talking.tell_everybody, Whispering, "heard by Pantry, not by Oven and Pantry", id="not all"),
        pytest.param(talking.tell_everybody, Locked, "and is not unlocked", id="Pantry did nothing"),
        pytest.param(talking.tell_everybody, Cold, "and is at 20 degrees", id="Oven did nothing"),
        pytest.param(talking.tell_everybody, Warm, "is at 100 degrees before anybody", id="Oven did it before"),
        pytest.param(talking.chat, Absent, "Counter lost the thread: 'We have", id="no context"),
    ],
)
async def test_a_step_that_does_not_happen_fails(step: Any, instead: type[Droplet], reason: str) -> None:
    async with stage_of(*(each() for each in ({**BAKERY, str(instead.name): instead}).values())) as stage:
        with pytest.raises(StepFailed, match=reason):
            await step(stage)
