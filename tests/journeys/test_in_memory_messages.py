"""Chat, events, status and `/send` through a whole mesh."""

from __future__ import annotations

from typing import Any

import pytest

from udc import Context, Droplet, PeerError, chat, event, query, status
from udc.testing import Answer, World, mesh


class Listener(Droplet):
    id, name, steward = 70, "Listener", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any, Any]] = []

    @event("*")
    async def any_event(self, ctx: Context) -> None:
        self.heard.append(("event", ctx.message.action, ctx.message.on_behalf_of))

    @status("load")
    async def load(self, percent: int) -> None:
        self.heard.append(("status", percent, None))

    @chat
    async def talk(self, message: str) -> str:
        return f"you said {message}"

    @query("fail")
    async def fail(self) -> None:
        raise ValueError("a secret detail")


class Relay(Droplet):
    id, name, steward = 71, "Relay", "tests"


async def _send(world: World, target: object, payload: dict[str, Any], kind: str = "event", **more: Any) -> Answer:
    body = {"target": target, "message_type": kind, "payload": payload, **more}
    return await world.request("POST", "Relay", "/send", json=body)


async def test_an_event_for_everybody_and_a_status() -> None:
    listener = Listener()
    async with mesh(listener, Relay()) as world:
        await world.client.event("Listener", "printed", {"page": 1})
        await world.client.status("listener", "load", {"percent": 30})
        reply = await world.client.call("Relay", "printed", message_type="event")

        assert listener.heard == [("event", "printed", None), ("status", 30, None)]
        assert reply.handled is False
        with pytest.raises(PeerError, match="404 NO_HANDLER: no handler for query 'quota'; known: 'fail'"):
            await world.client.query("Listener", "quota")


async def test_chat() -> None:
    async with mesh(Listener(), Relay()) as world:
        answer = await world.request("POST", "Listener", "/handle-chat", json={"message": "hi", "session_id": "s"})
        nobody = await world.request("POST", "Relay", "/handle-chat", json={"message": "hi"})

        assert answer.json() == {"response": "you said hi", "confidence": 1.0, "context": {}}
        assert nobody.status == 404


async def test_send_delivers_on_behalf_of_the_caller() -> None:
    listener = Listener()
    async with mesh(listener, Relay()) as world:
        answer = await _send(world, "Listener", {"event_type": "printed", "data": {}})

        assert (answer.status, answer.json()["sent"], answer.json()["result"]) == (200, True, "success")
        assert listener.heard == [("event", "printed", 999)]


async def test_send_tells_of_a_failed_delivery() -> None:
    async with mesh(Listener(), Relay()) as world:
        failed = await _send(world, 70, {"type": "fail"}, kind="query", retry_count=0)
        world.faults.crash("Listener")
        away = await _send(world, 70, {"type": "fail"}, kind="query", retry_count=0)

        assert (failed.status, failed.json()["sent"], failed.json()["result"]) == (200, False, "error")
        assert failed.json()["error"]["code"] == "INTERNAL_ERROR"
        assert "secret" not in failed.text
        assert (away.status, away.json()["sent"]) == (200, False)
        assert away.json()["error"]["code"] == "DEPENDENCY_UNAVAILABLE"


async def test_send_refuses_what_is_no_target() -> None:
    async with mesh(Relay()) as world:
        url = await _send(world, "https://169.254.169.254/latest", {"type": "x"})
        unknown = await _send(world, "Nobody", {"type": "x"})
        body = {"target": 71, "message_type": "event", "payload": {"type": "x"}}
        token = world.token(permissions=["write"])
        not_allowed = await world.request("POST", "Relay", "/send", json=body, token=token)
        scoped = world.token(permissions=["write"], scopes=["udc:send"])
        allowed = await world.request("POST", "Relay", "/send", json={**body, "target": 999_999}, token=scoped)

        assert (url.status, url.json()["error"]["code"]) == (400, "INVALID_REQUEST")
        assert (unknown.status, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")
        assert not_allowed.status == 403
        assert allowed.status == 404
