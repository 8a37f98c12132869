"""A mesh of many whole droplets and the real Registry, in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from udc import Context, Droplet, command, query
from udc.datadir import DataDirectory
from udc.errors import DeliveryError, PeerError, TokenError
from udc.instrument import RequestAnswered
from udc.mesh.registry import Registry
from udc.testing import World, mesh
from udc.testing.keys import _made

FIRST = 101
STRANGERS: dict[str, Any] = {"peers": []}
"""Nobody is configured: everybody is found at the Registry."""


class Worker(Droplet):
    """Answers, works for some time, and calls others by their names.

    Attributes:
        done: the numbers of the commands that it has done.
    """

    steward = "tests"

    def __init__(self, number: int, *capabilities: str) -> None:
        super().__init__(config={"droplet.id": number, "droplet.name": f"Worker{number}"})
        self.capabilities = capabilities
        self.done: list[int] = []

    @query("echo")
    async def echo(self, text: str, seconds: float = 0.0) -> str:
        await anyio.sleep(seconds)
        return text

    @command("note")
    async def note(self, number: int, seconds: float = 0.0) -> int:
        await anyio.sleep(seconds)
        self.done.append(number)
        return number

    @query("ask")
    async def ask(self, target: str, ctx: Context, seconds: float = 0.0) -> object:
        return await ctx.query(target, "echo", {"text": target, "seconds": seconds})


def workers(count: int) -> list[Droplet]:
    return [Worker(number) for number in range(FIRST, FIRST + count)]


def registry(data: DataDirectory | None = None, **options: Any) -> Callable[[], Registry]:
    """Makes the real one, each time with the same secret, and the same keys (making some takes half a second)."""
    return lambda: Registry(data, secret="s" * 32, signing_keys=[_made("registry", 1)], **options)


@asynccontextmanager
async def settled(*droplets: Droplet | Callable[[], Droplet], **options: Any) -> AsyncIterator[World]:
    """A mesh whose Registry has been there for a while: it gives up whose lease has ended."""
    async with mesh(*droplets, config=STRANGERS, **options) as world:
        await anyio.sleep(20)
        yield world


async def rows(world: World) -> dict[int, Any]:
    """The Registry's list, by id."""
    answer = await world.request("GET", "Registry", "/droplets")
    assert answer.status == 200
    return {row["id"]: row for row in answer.json()}


async def states(world: World, who: int) -> dict[str, str]:
    """Of the droplet's instances, by their ids; none for one that is gone."""
    row = (await rows(world)).get(who, {"instances": []})
    return {each["instance_id"]: each["state"] for each in row["instances"]}


async def seconds_until(what: Callable[[], Any], *, limit: float) -> float:
    """How long an async condition takes to become true."""
    began = anyio.current_time()
    with anyio.fail_after(limit):
        while not await what():  # noqa: ASYNC110 - virtual time, and no event tells
            await anyio.sleep(0.25)
    return anyio.current_time() - began


@dataclass
class Calls:
    """Calls that go on while a journey does, and what became of them."""

    world: World
    made: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    answered: list[int] = field(default_factory=list)

    async def one(self, call: Callable[[], Any]) -> None:
        self.made += 1
        try:
            await call()
        except (DeliveryError, PeerError, TokenError) as error:
            self.failures.append((anyio.current_time(), str(error)))

    async def queries(self, callers: list[Droplet], target: str, *, every: float, seconds: float = 0.0) -> None:
        """Each of the callers asks the target at its own moments, for ever."""

        async def go_on(caller: Droplet, first_after: float) -> None:
            await anyio.sleep(first_after)
            while True:
                await self.one(lambda: caller.mesh.query(target, "echo", {"text": "a", "seconds": seconds}))
                await anyio.sleep(every)

        async with anyio.create_task_group() as tasks:
            for place, caller in enumerate(callers):
                tasks.start_soon(go_on, caller, every * place / len(callers))

    async def commands(self, callers: list[Droplet], target: str, *, seconds: float) -> None:
        """Each of the callers has the target do one thing after the other, for ever."""

        async def note(caller: Droplet) -> None:
            number = next(self.numbers)
            assert await caller.mesh.command(target, "note", {"number": number, "seconds": seconds}) == number
            self.answered.append(number)

        async def go_on(caller: Droplet) -> None:
            while True:
                await self.one(lambda: note(caller))

        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(go_on, caller)


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """Tasks that end with the block."""
    async with anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


class Rate:
    """How many registrations the Registry is asked for, second by second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seconds: list[int] = []

    async def watch(self) -> None:
        before = self._count()
        while True:
            await anyio.sleep(1)
            now = self._count()
            self.seconds.append(now - before)
            before = now

    def _count(self) -> int:
        return len(self._world.events.of(RequestAnswered, where=lambda event: event.route == "/register"))

    def peak(self, over: int = 10) -> float:
        """The most in so many seconds, per second."""
        sums = [sum(self.seconds[start : start + over]) for start in range(len(self.seconds))]
        return max(sums, default=0) / over
