"""Droplets that talk to each other. Virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import ChatReply, Context, Droplet, PeerError, chat, endpoint, query
from udc.errors import CallTimeout, InvalidReply, UnknownPeer
from udc.instrument import MessageHandled
from udc.surface._base import HttpRequest
from udc.testing import mesh

pytestmark = virtual_time


class Guide(Droplet):
    id, name, steward = 50, "Guide", "tests"

    @chat
    async def talk(
        self, message: str, ctx: Context, session_id: str | None = None, context: dict[str, Any] | None = None
    ) -> ChatReply | str:
        if message == "plain":
            return "only a text"
        if message == "slow":
            await anyio.sleep(60)
        if message == "circle":
            return await ctx.chat("Guide", "circle")
        if message == "broken":
            raise ValueError("a secret detail")
        turns = (context or {}).get("turns", 0) + 1
        return ChatReply(f"{session_id}: {message}", confidence=0.5, context={"turns": turns})


class Visitor(Droplet):
    id, name, steward = 51, "Visitor", "tests"

    @query("visit")
    async def visit(self, ctx: Context, words: list[str], peer: str = "Guide") -> list[Any]:
        context: Any = None
        said: list[Any] = []
        for word in words:
            reply = await ctx.chat(peer, word, session_id="s-1", context=context, metadata={"mood": "good"})
            said.append([reply.response, reply.confidence, reply.context])
            context = reply.context
        return said


class Odd(Droplet):
    id, name, steward = 52, "Odd", "tests"

    @query("nothing")
    async def nothing(self) -> None: ...


async def test_a_conversation_between_droplets() -> None:
    async with mesh(Guide(), Visitor()) as world:
        said = await world.client.query("Visitor", "visit", {"words": ["hello", "again"]})
        assert said == [["s-1: hello", 0.5, {"turns": 1}], ["s-1: again", 0.5, {"turns": 2}]]
        (visit,) = world.events.of(MessageHandled, droplet="Visitor")
        chats = world.events.of(MessageHandled, droplet="Guide")
        assert [each.message_type for each in chats] == ["chat", "chat"]
        assert {each.trace_id for each in chats} == {visit.trace_id}
        assert {each.source for each in chats} == {51}


async def test_a_handler_may_answer_with_a_text_alone() -> None:
    async with mesh(Guide()) as world:
        reply = await world.droplet("Guide").mesh.chat("Guide", "plain", context={"a": 1})
        assert reply == ChatReply("only a text", confidence=1.0, context={"a": 1})


async def test_what_goes_wrong_is_raised() -> None:
    async with mesh(Guide(), Odd()) as world:
        speak = world.droplet("Odd").mesh.chat
        with pytest.raises(PeerError, match="404 NOT_FOUND: this droplet has no chat handler"):
            await speak("Odd", "hello")
        with pytest.raises(PeerError, match="500 INTERNAL_ERROR") as failed:
            await speak("Guide", "broken")
        assert "secret" not in str(failed.value)
        with pytest.raises(UnknownPeer):
            await speak("nobody", "hello")
        with pytest.raises(ValueError, match="not above 0"):
            await speak("Guide", "hello", timeout_seconds=0)


async def test_it_ends_in_time_on_both_sides() -> None:
    async with mesh(Guide(), Odd()) as world:
        began = anyio.current_time()
        with pytest.raises((CallTimeout, PeerError)):
            await world.droplet("Odd").mesh.chat("Guide", "slow", timeout_seconds=3)
        assert anyio.current_time() - began == pytest.approx(3, abs=0.1)
        await anyio.sleep(1)
        (handled,) = world.events.of(MessageHandled, droplet="Guide")
        assert handled.error_code is not None
        assert handled.seconds <= 3.1


async def test_a_conversation_in_circles_ends() -> None:
    async with mesh(Guide()) as world:
        with pytest.raises(PeerError):
            await world.droplet("Guide").mesh.chat("Guide", "circle")
        assert len(world.events.of(MessageHandled, droplet="Guide")) <= 17
        answer = await world.request(
            "POST", "Guide", "/handle-chat", json={"message": "hi"}, headers=[("x-udc-hops", "17")]
        )
        assert (answer.status, answer.json()["error"]["code"]) == (400, "HOP_LIMIT")


async def test_an_answer_that_is_no_chats_is_said_to_be_none() -> None:
    class Stranger(Droplet):
        id, name, steward = 53, "Stranger", "tests"

    class Liar(Droplet):
        id, name, steward = 54, "Liar", "tests"

        @endpoint("POST", "/elsewhere", "write")
        async def elsewhere(self, _: HttpRequest) -> Any:
            return {"response": 5, "confidence": 3}

    async with mesh(Stranger(), Liar()) as world:
        with pytest.raises(InvalidReply, match="response"):
            await world.droplet("Stranger").mesh.request("Liar", "POST", "/elsewhere", {}, returns=ChatReply)


@pytest.mark.parametrize(
    "headers", [[("x-trace-id", "6e0a7d0c-5f3c-4f0e-8a43-1d1f6f2b9a10")],
                [("traceparent", "00-6e0a7d0c5f3c4f0e8a431d1f6f2b9a10-00f067aa0ba902b7-01")]],
)  # fmt: skip
async def test_the_callers_trace_is_kept(headers: list[tuple[str, str]]) -> None:
    async with mesh(Guide()) as world:
        await world.request("POST", "Guide", "/handle-chat", json={"message": "hi"}, headers=headers)
        (handled,) = world.events.of(MessageHandled, droplet="Guide")
        assert handled.trace_id == "6e0a7d0c-5f3c-4f0e-8a43-1d1f6f2b9a10"


async def test_headers_that_make_no_sense_are_passed_over() -> None:
    async with mesh(Guide()) as world:
        odd = [
            ("x-trace-id", "x" * 500),
            ("x-udc-hops", "many"),
            ("x-udc-timeout-ms", "-5"),
            ("traceparent", "nonsense"),
        ]
        answer = await world.request("POST", "Guide", "/handle-chat", json={"message": "hi"}, headers=odd)
        assert answer.status == 200
        (handled,) = world.events.of(MessageHandled, droplet="Guide")
        assert len(handled.trace_id) == 36


async def test_a_confidence_is_between_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"confidence is 1\.5"):
        ChatReply("yes", confidence=1.5)
