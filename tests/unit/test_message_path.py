"""The path of a message stays short: what it must not do, counted through the public door, without a clock.

Each count was seen to fail with the thing it guards against put in.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import anyio
import pytest
from jwt.api_jws import PyJWS

import udc
import udc.asgi
from udc import Context, Droplet, command, query
from udc.identity.keys import SigningKey
from udc.wire import json_text

MANY = 20
OURS = udc.__path__[0]
MOST_CALLS = 25
"""Functions of ours that are called for one query, from the ASGI scope to the last `send`."""


class Greeter(Droplet):
    id, name, steward = 21, "Greeter", "tests"

    @query("greet")
    async def greet(self, who: str, ctx: Context) -> str:
        return f"Hello {who}"

    @query("wait")
    async def wait(self) -> None:
        await asyncio.sleep(0)

    @command("note")
    async def note(self, text: str) -> None:
        pass


@pytest.fixture
def anyio_backend() -> str:
    """These tests start loops of their own: a request of a server comes in a task that no scope surrounds."""
    return "asyncio"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


class Door:
    """A running droplet behind its ASGI application."""

    def __init__(self, app: Any, bearer: str) -> None:
        self.app, self.bearer = app, bearer
        self.number = 0

    def scope(self, kind: str, payload: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        self.number += 1
        body = {
            "trace_id": "5e1b9f4e-1d5f-4c7d-9b5a-0d5f2f6c7a10",
            "message_type": kind,
            "payload": payload,
            "timestamp": "2026-01-01T00:00:00.000Z",
            "message_id": f"m-{self.number}",
            "timeout_ms": 10_000,
        }
        headers = [(b"authorization", f"Bearer {self.bearer}".encode()), (b"content-type", b"application/json")]
        return {"type": "http", "method": "POST", "path": "/message", "headers": headers}, json.dumps(body).encode()

    async def __call__(self, action: str = "greet", data: Any = None, kind: str = "query") -> None:
        scope, body = self.scope(kind, {"type": action, "data": {"who": "Ada"} if data is None else data})
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(event: Any) -> None:
            sent.append(event)

        await self.app(scope, receive, send)
        assert sent[0]["status"] == 200, sent


@pytest.fixture
def behind(key: SigningKey) -> Callable[[Callable[[Door], Awaitable[Any]]], Any]:
    """Runs a case with a droplet, after some messages: what is remembered from then on is remembered."""
    now = int(time.time())
    standard = {"iss": "registry.fullpotential.ai", "aud": "fullpotential.droplets", "sub": "droplet-77"}
    bearer = key.sign({**standard, "droplet_id": 77, "permissions": ["write"], "iat": now, "exp": now + 600})

    async def main(case: Callable[[Door], Awaitable[Any]]) -> Any:
        droplet = Greeter(config={"security.public_key": key.public_pem})
        hosted = droplet._host()
        async with anyio.create_task_group() as tasks:
            await tasks.start(_serve, hosted)
            door = Door(udc.asgi.App.of(hosted), bearer)
            for _ in range(3):
                await door()
            # A task of the server's own, not one of this group's.
            found = await asyncio.get_running_loop().create_task(_alone(case, door))
            hosted.request_stop(at_once=True)
        return found

    return lambda case: asyncio.run(main(case))


async def _serve(hosted: Any, *, task_status: Any) -> None:
    await hosted.serve(task_status=task_status)


async def _alone(case: Callable[[Door], Awaitable[Any]], door: Door) -> Any:
    return await case(door)


def counting(target: Any, name: str, counts: Counter[str], patch: pytest.MonkeyPatch) -> None:
    original = getattr(target, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        counts[name] += 1
        return original(*args, **kwargs)

    patch.setattr(target, name, counted)


def test_nothing_is_started_for_a_message_that_is_answered_at_once(
    behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    async def case(door: Door) -> None:
        loop = asyncio.get_running_loop()
        for name in ("create_task", "call_soon", "call_at", "call_later", "run_in_executor", "create_future"):
            counting(loop, name, counts, monkeypatch)
        from anyio._backends import _asyncio as backend

        counting(backend.CancelScope, "__init__", counts, monkeypatch)
        for _ in range(MANY):
            await door()
        monkeypatch.undo()

    behind(case)
    assert counts["call_at"] <= 1, "one timer for the deadlines of all"
    counts.pop("call_at", None)
    assert not counts


def test_what_suspends_costs_no_more_than_its_own_waiting(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    async def case(door: Door) -> None:
        loop = asyncio.get_running_loop()
        for name in ("create_task", "call_at", "call_later", "run_in_executor", "create_future"):
            counting(loop, name, counts, monkeypatch)
        for _ in range(MANY):
            await door("wait", {})
        monkeypatch.undo()

    behind(case)
    assert sum(counts.values()) < MANY // 2, "not one for each, whatever the droplet's services do meanwhile"


def test_json_is_read_once_and_a_token_is_verified_once(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    async def case(door: Door) -> None:
        counting(door.app._hosted.parts.surface.express, "_read", counts, monkeypatch)
        counting(json_text, "from_json", counts, monkeypatch)
        counting(json, "loads", counts, monkeypatch)
        counting(PyJWS, "decode", counts, monkeypatch)
        for _ in range(MANY):
            await door()
        monkeypatch.undo()

    behind(case)
    assert counts == {"_read": MANY}


def test_nothing_is_logged(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    async def case(door: Door) -> None:
        counting(logging.Logger, "isEnabledFor", counts, monkeypatch)
        await door()
        monkeypatch.undo()

    behind(case)
    assert not counts


def test_few_functions_are_called(behind: Any) -> None:
    called: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            called[frame.f_code.co_qualname] += 1

    async def case(door: Door) -> None:
        sys.setprofile(profile)
        try:
            for _ in range(MANY):
                await door()
        finally:
            sys.setprofile(None)

    behind(case)
    each = {name: count / MANY for name, count in called.items()}
    assert sum(each.values()) <= MOST_CALLS, each


@pytest.mark.parametrize(("kind", "action", "data"), [("query", "greet", None), ("command", "note", {"text": "x"})])
def test_nothing_is_left_for_the_garbage_collector(behind: Any, kind: str, action: str, data: Any) -> None:
    async def round_of(door: Door) -> int:
        gc.collect()
        gc.disable()
        try:
            for _ in range(MANY):
                await door(action, data, kind)
            return gc.collect()
        finally:
            gc.enable()

    async def case(door: Door) -> int:
        await door(action, data, kind)
        # What other tests have left in this process may go in one of the rounds; messages leave theirs in each.
        return min([await round_of(door) for _ in range(3)])

    assert behind(case) < MANY
