"""Odd servers, odd handlers and odd hooks: by whichever way a query goes, all that can be seen of it is the same."""

from __future__ import annotations

import asyncio
from collections import UserDict
from contextlib import suppress
from itertools import product
from typing import Any

import anyio
import pytest

from tests.unit.surface.test_express import KEY, Request, Twin, Twins, asking, envelope, twins
from udc import BusinessError, Context, Droplet, query
from udc.context import current_context
from udc.dispatch.plan import Queued
from udc.errors import Unauthorized
from udc.identity.claims import Principal
from udc.instrument import Event, HandlerFailed, MessageHandled, Only, RequestAnswered

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Later(Queued[str]):
    """A droplet's own way to say that work goes on."""


class Enough(BaseException):
    """What nothing catches."""


class Odd(Twin):
    id, name, steward = 21, "Twin", "tests"

    async def _does(self, how: str, ctx: Context) -> Any:
        task = asyncio.current_task()
        assert task is not None
        match how:
            case "later":
                return Later("later")
            case "cancels itself":
                task.cancel()
                await asyncio.sleep(0)
            case "raises its cancellation":
                raise asyncio.CancelledError("mine")
            case "cancels itself and goes on":
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                task.uncancel()
                return "on"
            case "a scope":
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await anyio.sleep(5)
                return scope.cancelled_caught
            case "a time limit":
                with anyio.fail_after(0.001):
                    await anyio.sleep(5)
            case "asyncio's time limit":
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(5)
            case "tasks":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.sleep, 0)
                    tasks.start_soon(anyio.sleep, 0)
                return "done"
            case "a task that fails":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.business)
            case "tasks that fail":
                async with asyncio.TaskGroup() as several:
                    several.create_task(self.business())
                    several.create_task(self.broken())
            case "a group":
                raise ExceptionGroup("g", [ExceptionGroup("h", [BusinessError("NOPE", "no", status=409)])])
            case "two in a group":
                raise ExceptionGroup("g", [BusinessError("NOPE", "no"), ValueError()])
            case "a group with what nothing catches":
                raise BaseExceptionGroup("g", [Enough()])
            case "the message changed":
                payload: Any = ctx.message.payload
                payload["data"] = "changed"
                if isinstance(ctx.message.data, dict):
                    ctx.message.data["who"] = "changed"
                self.seen.append((ctx.message.payload, ctx.message.data))
                raise RuntimeError
            case "the message in a thread":
                found = await asyncio.to_thread(lambda: ctx.message)
                self.seen.append(found == ctx.message)
            case "a child sees its context":
                self.seen.append(await asyncio.create_task(_seen()))
            case _:
                pass
        raise {
            "KeyboardInterrupt": KeyboardInterrupt,
            "SystemExit": SystemExit,
            "GeneratorExit": GeneratorExit,
            "StopAsyncIteration": StopAsyncIteration,
            "StopIteration": StopIteration,
            "Enough": Enough,
            "TimeoutError": TimeoutError,
            "RecursionError": RecursionError,
            "MemoryError": MemoryError,
        }.get(how, LookupError)(how)

    @query("does")
    async def does(self, how: str, ctx: Context) -> Any:
        return await self._does(how, ctx)

    @query("survives", timeout_seconds=0.02)
    async def survives(self, how: str) -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            if how == "returns":
                return "still here"
            if how == "fails":
                raise ValueError("after all") from None
            if how == "refuses":
                raise BusinessError("LATE", "after all") from None
            raise
        return "never"

    @query("shields", timeout_seconds=0.01)
    async def shields(self) -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
        return "whole"

    @query("keeps")
    async def keeps(self, ctx: Context) -> None:
        async def late() -> None:
            await self.hold.wait()
            hops = ctx.lineage and ctx.lineage.hops
            self.seen.append((current_context.get() is ctx, ctx.message, ctx.trace_id, hops))

        self.kept = asyncio.create_task(late())

    @query("many")
    async def many(self) -> int:
        return 2**70

    @query("text")
    async def text(self) -> str:
        return "\ud800"

    @query("infinite")
    async def infinite(self) -> float:
        return float("inf")

    @query("nothing")
    async def nothing(self) -> None:
        return "something"  # type: ignore[return-value]


async def _seen() -> str:
    context = current_context.get()
    return "nobody's" if context is None else context.trace_id


WAYS = (
    *("later", "cancels itself", "raises its cancellation", "cancels itself and goes on", "a scope", "a time limit"),
    *("asyncio's time limit", "tasks", "a task that fails", "tasks that fail", "a group", "two in a group"),
    *("a group with what nothing catches", "the message changed", "the message in a thread"),
    *("a child sees its context", "KeyboardInterrupt", "SystemExit", "GeneratorExit", "StopAsyncIteration"),
    *("StopIteration", "Enough", "TimeoutError", "RecursionError", "MemoryError", "LookupError"),
)


ASKED = {
    **{how: asking("does", {"how": how}) for how in WAYS},
    **{action: asking(action) for action in ("shields", "many", "text", "infinite", "nothing")},
    **{f"{how} late": asking("survives", {"how": how}) for how in ("returns", "fails", "refuses", "ends")},
}


async def differ(both: Twins, request: Request) -> str:
    """How the ways differ; nothing when they do not."""
    try:
        await both.ask(request)
    except AssertionError as error:
        return str(error)
    return ""


async def test_whatever_a_handler_does_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch, Odd) as both:
        assert {how: found for how, body in ASKED.items() if (found := await differ(both, Request(body)))} == {}


async def test_a_message_that_is_read_after_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch, Odd) as both:
        await both.ask(Request(asking("keeps")))
        for each in (both.short, both.long):
            assert isinstance(each.droplet, Odd)
            each.droplet.hold.set()
            await each.droplet.kept
        assert both.short.droplet.seen == both.long.droplet.seen
        assert both.short.droplet.seen[0][0]


SERVERS = {
    "headers that are read once": Request(envelope(), headers_as=iter),
    "headers of a generator": Request(envelope(), headers_as=lambda pairs: (pair for pair in pairs)),
    "headers in a tuple": Request(envelope(), headers_as=tuple),
    "headers as lists": Request(envelope(), headers_as=lambda pairs: [list(pair) for pair in pairs]),
    "headers as a mapping's items": Request(envelope(), headers_as=lambda pairs: dict(pairs).items()),
    "an event of another kind": Request(envelope(), event_as=UserDict),
    "no more_body": Request(envelope(), event_as=lambda event: {k: v for k, v in event.items() if k != "more_body"}),
    "no body": Request(envelope(), event_as=lambda event: {"type": "http.request"}),
    "a bytearray": Request(envelope(), event_as=lambda event: {**event, "body": bytearray(event["body"])}),
    "a memoryview": Request(envelope(), event_as=lambda event: {**event, "body": memoryview(event["body"])}),
    "None for a body": Request(envelope(), event_as=lambda event: {**event, "body": None}),
    "None for more_body": Request(envelope(), event_as=lambda event: {**event, "more_body": None}),
    "a caller who has left": Request(envelope(), event_as=lambda _: {"type": "http.disconnect"}),
    "no client": Request(envelope(), scope={"client": None}),
    "no root": Request(envelope(), scope={"root_path": ""}),
    "a root that is none": Request(envelope(), scope={"root_path": "/"}),
    "HTTP/2": Request(envelope(), scope={"http_version": "2"}),
    "a query": Request(envelope(), scope={"query_string": b"x=1"}),
    "a path that ends in a slash": Request(envelope(), scope={"path": "/message/"}),
    "two slashes": Request(envelope(), scope={"path": "//message"}),
    "HTTPS in capitals": Request(envelope(), scope={"scheme": "HTTPS"}),
}


async def test_whatever_a_server_does_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch, Odd) as both:
        assert {name: found for name, each in SERVERS.items() if (found := await differ(both, each))} == {}
        assert await both.ask(Request(envelope()))


class Watched(Odd):
    """With hooks of its own, which come after the twin's."""

    def __init__(self, hook: Any, config: dict[str, Any]) -> None:
        self.told: list[Any] = []
        self.raises: dict[type[Event], type[BaseException]] = {}
        takers: dict[type[Event], Any] = dict.fromkeys((MessageHandled, RequestAnswered, HandlerFailed), self.take)
        hooks = (hook, self.take, Only(takers), Only({RequestAnswered: self.take}), Choice(self.take))
        Droplet.__init__(self, config={"security.public_key": KEY.public_pem, **config}, hooks=hooks)
        self.seen: list[Any] = []
        self.hold, self.arrived = asyncio.Event(), asyncio.Event()

    def take(self, event: Event) -> None:
        self.told.append(type(event).__name__)
        if type(event) in self.raises:
            raise self.raises[type(event)](type(event).__name__)


class Choice:
    """Takes what comes with every message, and nothing else."""

    def __init__(self, take: Any) -> None:
        self._take = take

    def __call__(self, event: Event, /) -> None:
        self._take(event)

    def taker(self, kind: type[Event], /) -> Any:
        return self._take if kind is MessageHandled else None


async def test_hooks_are_told_the_same_whatever_they_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch, Watched) as both:
        found, short, long = [], both.short.droplet, both.long.droplet
        assert isinstance(short, Watched)
        assert isinstance(long, Watched)
        for kind, error, action in product(
            (None, MessageHandled, RequestAnswered, HandlerFailed), (RuntimeError, Enough), ("greet", "broken", "slow")
        ):
            if (kind, error, action) == (MessageHandled, Enough, "greet"):
                continue  # what nothing catches ends a request wherever it is raised: one way has counted it by then
            for each in (short, long):
                each.told.clear()
                each.raises = {} if kind is None else {kind: error}
            differs = await differ(both, Request(asking(action)))
            if differs or short.told != long.told or not short.told:
                found.append((kind, error, action, differs, short.told, long.told))
        assert found == []


class Strange:
    """A verifier of somebody's own."""

    def __init__(self, found: Principal | Exception) -> None:
        self._found = found

    async def verify(self, token: str) -> Principal:
        return self.recall(token.encode())

    def recall(self, token: bytes) -> Principal:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


CALLERS: dict[str, Principal | Exception] = {
    "nobody": Principal(
        subject="x", droplet_id=77, issuer="", permissions=frozenset({"read", "write", "admin"}), anonymous=True
    ),
    "a droplet": Principal(subject="x", droplet_id=77, issuer="", permissions=frozenset({"write"})),
    "a refusal": Unauthorized("not you"),
    "a failure": ValueError("not ASCII"),
}


@pytest.mark.parametrize("who", CALLERS)
async def test_a_verifier_of_ones_own_decides_either_way(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """Nobody in particular is let in only where no web page of elsewhere may be behind it."""
    json = (b"content-type", b"application/json")
    from_page = [json, (b"origin", b"https://page.example"), (b"host", b"page.example")]

    class Trusting(Odd):
        id, name, steward = 21, "Twin", "tests"

        def __init__(self, hook: Any, config: dict[str, Any]) -> None:
            Droplet.__init__(self, config=config, hooks=[hook], verifier=Strange(CALLERS[who]))
            self.seen: list[Any] = []
            self.hold, self.arrived = asyncio.Event(), asyncio.Event()

    async with twins(monkeypatch, Trusting) as both:
        await both.ask(Request(envelope(), headers=from_page))
        assert await both.ask(Request(envelope(), headers=from_page)) is (who == "a droplet")


class Stricter(Strange):
    """One that asks for more than what it is made of, and knows nothing of what that remembers."""

    async def verify(self, token: str) -> Principal:
        raise Unauthorized("not today")


async def test_who_checks_more_than_what_it_inherits_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wary(Odd):
        id, name, steward = 21, "Twin", "tests"

        def __init__(self, hook: Any, config: dict[str, Any]) -> None:
            Droplet.__init__(self, config=config, hooks=[hook], verifier=Stricter(CALLERS["a droplet"]))
            self.seen: list[Any] = []
            self.hold, self.arrived = asyncio.Event(), asyncio.Event()

    async with twins(monkeypatch, Wary) as both:
        for side in (both.short, both.long):
            assert (await asyncio.create_task(side.call(Request(envelope()))))[0] == 401
