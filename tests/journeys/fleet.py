"""Many members of one mesh, each with its real loop and client, and a Registry that can be made to fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc._ids import seeded
from udc.clients._base import Beat, Registration
from udc.clients._calls import Calls, Place
from udc.clients._credentials import Credentials
from udc.clients.contract import ContractRegistry
from udc.errors import TokenError
from udc.identity._base import Token
from udc.identity.tokens import TokenKeeper, received_token
from udc.instrument import Event, Instrument
from udc.mesh.registry.storms import Lost
from udc.services.presence import PresenceLoop

URL = "http://127.0.0.1:8000"
TOKEN_SECONDS = 600.0


@dataclass(slots=True)
class Call:
    at: float
    path: str
    status: int
    size: int
    droplet_id: int
    body: dict[str, Any] = field(repr=False)


class Registry:
    """Section 6, as much of it as members see; its lease and interval are those of a mesh of more than 50.

    Args:
        spread_seconds: what those are told who are not known any more; `None` = what ours tells them.
    """

    def __init__(self, *, spread_seconds: float | None = None) -> None:
        self.known: dict[tuple[int, str], dict[str, Any]] = {}
        self.calls: list[Call] = []
        self.forced: int | None = None
        self.down = False
        self.delay_seconds = 0.0
        self.spread_seconds = spread_seconds
        self.lost = Lost(anyio.current_time)
        self.generation = 0
        self.expires_in = TOKEN_SECONDS
        self.beat_every = 10.0
        self.keys_revision = 1

    async def exchange(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> HttpAnswer:
        if self.down:
            raise ConnectionRefusedError("refused")
        await anyio.sleep(self.delay_seconds)
        if self.down:
            raise ConnectionResetError("reset")
        told = json.loads(body or b"{}")
        path = url.removeprefix(URL)
        status, answer = (self.forced, {}) if self.forced else self._answer(path, dict(headers), told)
        number = told.get("droplet_id", told.get("id"))
        self.calls.append(Call(anyio.current_time(), path, status, len(body), number, told))
        return HttpAnswer(status, {}, json.dumps(answer).encode())

    def _answer(self, path: str, headers: dict[str, str], told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if headers.get("x-droplet-secret") != "s" and not self._lives(headers.get("authorization", "")):
            return 401, {"error": {"code": "UNAUTHORIZED", "message": "no"}}
        key: tuple[int, str] = (told.get("droplet_id") or told["id"], told["instance_id"])
        lease = {"beat_every_seconds": self.beat_every, "lease_ttl_seconds": 3 * self.beat_every}
        if path == "/register":
            self.known[key] = told
            return 200, {**told, **lease, **self._token()}
        if path == "/deregister":
            self.known.pop(key, None)
            return 200, {"ok": True}
        if key not in self.known:
            spread = self.lost.spread_seconds(key) if self.spread_seconds is None else self.spread_seconds
            details = {"spread_seconds": spread}
            return 404, {"error": {"code": "NOT_FOUND", "message": "unknown", "details": details}}
        return 200, {"ok": True, **lease, "keys_revision": self.keys_revision, **self._token()}

    def _token(self) -> dict[str, Any]:
        return {"token": f"{self.generation}:{anyio.current_time() + self.expires_in}", "expires_in": self.expires_in}

    def _lives(self, shown: str) -> bool:
        generation, _, ends = shown.removeprefix("Bearer ").partition(":")
        return generation == str(self.generation) and float(ends) > anyio.current_time()

    def restart(self, *, empty: bool) -> None:
        """Be another process; with `empty` also another key."""
        if empty:
            self.known.clear()
            self.generation += 1
        self.down = False

    def registered_at(self, since: float = 0.0) -> list[float]:
        return [call.at for call in self.calls if call.path == "/register" and call.at >= since and call.status == 200]

    def attempted_at(self, since: float = 0.0) -> list[float]:
        return [call.at for call in self.calls if call.path == "/register" and call.at >= since]


class NoTokens:
    async def fetch(self, audience: str | None) -> Token:
        raise TokenError("only with answers")


class Member:
    """One droplet, as far as its Registry is concerned."""

    def __init__(
        self, number: int, registry: Registry, client: HttpClient, *, instance: str = "a", mesh_size: int = 0
    ) -> None:
        self.id = number
        self.instance_id = f"{number:08x}-0000-4000-8000-00000000000{instance}"
        self.phase = "ready"
        self.obstacle: str | None = None
        self.events: list[Event] = []
        ambient = seeded(number * 31 + ord(instance), anyio.current_time)
        instrument = Instrument([self.events.append])
        keeper = TokenKeeper(NoTokens(), ambient=ambient, instrument=instrument)

        def adopt(answer: Any) -> None:
            if answer.token is not None:
                keeper.adopt(
                    "m/registry", received_token(answer.token, now=ambient.wall(), expires_in=answer.expires_in)
                )

        registry_client = ContractRegistry(
            Calls(Place(url=URL, style="contract", credential="droplet.secret"), client=client),
            credentials=Credentials(keeper, audience="m/registry", secret=("x-droplet-secret", "s")),
            droplet_id=number,
            instance_id=self.instance_id,
        )
        self.loop = PresenceLoop(
            registry_client,
            obstacle=self._obstacle,
            registration=lambda: Registration(body={"id": number, "name": f"d{number}", **self._now()}),
            beat=lambda record_hash: Beat(droplet_id=number, record_hash=record_hash, **self._now()),
            accepted=adopt,
            answered=adopt,
            ambient=ambient,
            instrument=instrument,
            mesh_size=lambda: mesh_size,
        )

    def _now(self) -> dict[str, Any]:
        return {"instance_id": self.instance_id, "status": "active", "phase": self.phase}

    async def _obstacle(self) -> str | None:
        return self.obstacle


class Fleet:
    """Members that run."""

    def __init__(self, registry: Registry, tasks: TaskGroup, client: HttpClient) -> None:
        self.registry = registry
        self.members: list[Member] = []
        self.tasks = tasks
        self.client = client

    def start(self, count: int) -> None:
        for number in range(101, 101 + count):
            self.add(Member(number, self.registry, self.client, mesh_size=count))

    def add(self, member: Member) -> Member:
        self.members.append(member)
        self.tasks.start_soon(member.loop.run)
        return member

    @property
    def present(self) -> int:
        """How many the Registry knows and who know it."""
        return sum(
            (m.id, m.instance_id) in self.registry.known and m.loop.presence == "registered" for m in self.members
        )

    async def all_back(self, within: float) -> float:
        """Wait until everybody is present; returns how long it took."""
        began = anyio.current_time()
        with anyio.fail_after(within):
            while self.present < len(self.members):  # noqa: ASYNC110 - virtual time, and no event tells of both sides
                await anyio.sleep(0.25)
        return anyio.current_time() - began


class running:  # noqa: N801 - reads as a phrase: async with running(50)
    """A fleet of so many."""

    def __init__(self, count: int, *, registry: Registry | None = None) -> None:
        self._count = count
        self._registry = registry or Registry()

    async def __aenter__(self) -> Fleet:
        self._client = HttpClient(transport_factory=lambda: FunctionTransport(self._registry.exchange))
        await self._client.__aenter__()
        self._tasks = await anyio.create_task_group().__aenter__()
        fleet = Fleet(self._registry, self._tasks, self._client)
        fleet.start(self._count)
        return fleet

    async def __aexit__(self, *raised: Any) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._client.__aexit__(None, None, None)


def peak_per_second(times: list[float], *, window: float = 1.0) -> float:
    """The most that happened in any such window, per second."""
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most / window
