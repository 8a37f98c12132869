"""The usual query goes a shorter way: by whichever a request goes, all that can be seen of it is the same."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import pytest

import udc.asgi
from udc import BusinessError, Context, Droplet, command, event, query
from udc.context import current_context
from udc.dispatch.plan import Queued
from udc.identity.keys import SigningKey
from udc.instrument import Event
from udc.lifecycle import Phase
from udc.rings import running_instance
from udc.surface.express import Express

KEY = SigningKey.generate()
TRACE = "5e1b9f4e-1d5f-4c7d-9b5a-0d5f2f6c7a10"
CHANGING = ("timestamp", "processed_at")
CHANGING_TEXTS = re.compile(rf"(?!{TRACE})[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|\d+\.\d+|0x[0-9a-f]+")
"""Ids that were made here, addresses in memory, and how long something will take."""


pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""Only asyncio's tasks are free of scopes, as those in which a server's requests come."""


class Twin(Droplet):
    id, name, steward = 21, "Twin", "tests"

    def __init__(self, hook: Any, config: dict[str, Any]) -> None:
        super().__init__(config={"security.public_key": KEY.public_pem, **config}, hooks=[hook])
        self.seen: list[Any] = []
        self.hold, self.arrived = asyncio.Event(), asyncio.Event()

    @query("greet")
    async def greet(self, ctx: Context, who: str = "you") -> str:
        assert ctx.remaining_seconds is not None
        assert current_context.get() is ctx
        whose = running_instance() is not None
        self.seen.append((asdict(ctx.message), ctx.principal, ctx.trace_id, ctx.lineage and ctx.lineage.hops, whose))
        return f"Hello {who}"

    @query("any")
    async def anything(self, data: dict[str, Any]) -> Any:
        return data

    @query("sync")
    def plainly(self) -> int:
        return 5

    @query("scoped", scope="vault")
    async def scoped(self) -> bool:
        return True

    @query("business")
    async def business(self) -> None:
        raise BusinessError("NOPE", "not today", status=402)

    @query("broken")
    async def broken(self) -> None:
        raise RuntimeError("secret of mine")

    @query("wrong")
    async def wrong(self) -> int:
        return "five"  # type: ignore[return-value]

    @query("queued")
    async def queued(self) -> Queued[str]:
        return Queued("later")

    @query("slow", timeout_seconds=0.02)
    async def slow(self) -> None:
        await asyncio.sleep(5)

    @query("held")
    async def held(self) -> str:
        self.arrived.set()
        await self.hold.wait()
        return "free"

    @query("*")
    async def whatever(self, ctx: Context) -> str | None:
        return ctx.message.action

    @command("greet")
    async def order(self, who: str) -> str:
        return who

    @event("greet")
    async def heard(self) -> None:
        pass


def token(**claims: Any) -> str:
    now = int(time.time())
    standard = {"iss": "registry.fullpotential.ai", "aud": "fullpotential.droplets", "sub": "droplet-77"}
    more = {"droplet_id": 77, "permissions": ["write"], "iat": now, "exp": now + 600}
    return KEY.sign({key: value for key, value in {**standard, **more, **claims}.items() if value is not ...})


TOKENS = {
    "writer": token(),
    "admin": token(permissions=["admin"]),
    "reader": token(permissions=["read"]),
    "nobody": token(permissions=[]),
    "vault": token(scopes=["vault"]),
    "no droplet": token(droplet_id=..., sub="somebody"),
    "ended": token(exp=int(time.time()) - 600),
    "elsewhere": token(aud="fullpotential.droplets.22"),
    "garbage": "a.b.c",
    "odd": "tök€n",
}


@dataclass
class Request:
    """One request, and how it comes."""

    body: Any = None
    bearer: str | None = "writer"
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [(b"content-type", b"application/json")])
    scope: dict[str, Any] = field(default_factory=dict)
    parts: int = 1
    headers_as: Callable[[list[tuple[bytes, bytes]]], Any] = list[tuple[bytes, bytes]]
    event_as: Callable[[dict[str, Any]], Any] = dict[str, Any]

    def bytes_(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def envelope(**changes: Any) -> dict[str, Any]:
    """The usual query, with changes; a value of `...` leaves the key out."""
    usual = {
        "trace_id": TRACE,
        "source": 77,
        "target": 21,
        "message_type": "query",
        "payload": {"type": "greet", "data": {"who": "Ada"}},
        "timestamp": "2026-11-20T10:00:00.000Z",
        "message_id": "m-1",
        "timeout_ms": 10_000,
        "attempt": 1,
        "hops": 0,
        "udc_version": "1.0",
    }
    return {key: value for key, value in {**usual, **changes}.items() if value is not ...}


def asking(action: str, data: Any = None, **changes: Any) -> dict[str, Any]:
    return envelope(payload={"type": action, "data": data}, **changes)


class Side:
    """One of the twins behind its ASGI application."""

    def __init__(self, droplet: Twin, app: udc.asgi.App, events: list[Event], parts: Any) -> None:
        self.droplet, self.app, self.events, self.parts = droplet, app, events, parts

    async def ask(self, request: Request) -> Any:
        """What can be seen of it, from without and from within."""
        self.events.clear()
        self.droplet.seen.clear()
        with lines() as logged:
            async with asyncio.timeout(5):
                answer = await asyncio.get_running_loop().create_task(self.outcome(request))
        events = [(type(each).__name__, without(asdict(each), "seconds")) for each in self.events]
        left = self.parts.dispatcher.in_flight.count
        seen = (answer, events, self.droplet.seen[:], self.counted(), logged, left)
        return CHANGING_TEXTS.sub("…", repr(seen))

    async def outcome(self, request: Request) -> Any:
        """The answer, or what the server gets to see instead."""
        try:
            status, headers, body = await self.call(request)
        except BaseException as error:  # noqa: BLE001 - compared
            return repr(error)
        task = asyncio.current_task()
        assert task is not None
        return status, headers, stripped(body), task.cancelling()

    async def call(self, request: Request) -> tuple[int, Any, bytes]:
        """In a task of its own, as a server's."""
        sent: list[Any] = []
        given = [] if request.bearer is None else [(b"authorization", b"Bearer " + TOKENS[request.bearer].encode())]
        scope = {"type": "http", "method": "POST", "path": "/message", "query_string": b"", "client": ("10.0.0.9", 7)}
        body = request.bytes_()
        size = max(1, -(-len(body) // request.parts))
        parts = iter([body[at : at + size] for at in range(0, len(body), size)] or [b""])
        left = request.parts

        async def receive() -> Any:
            nonlocal left
            left -= 1
            return request.event_as({"type": "http.request", "body": next(parts), "more_body": left > 0})

        async def send(message: Any) -> None:
            sent.append(message)

        headers = request.headers_as([*given, *request.headers])
        await self.app({**scope, "headers": headers, **request.scope}, receive, send)
        assert current_context.get() is None
        answer = b"".join(each.get("body", b"") for each in sent[1:])
        headers = sorted(sent[0]["headers"])
        headers.remove((b"content-length", b"%d" % len(answer)))
        return sent[0]["status"], headers, answer

    def counted(self) -> Any:
        stats = self.parts.stats
        latency = {route: each.count for route, each in stats.latency.items()}
        series = ({key: int(value) for key, value in each.values.items()} for each in (stats.messages, stats.by_route))
        return *series, stats.requests_total, int(stats.requests.total()), latency


@contextmanager
def lines() -> Generator[list[Any]]:
    """What is logged meanwhile."""
    found: list[Any] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kind = record.exc_info[0] if record.exc_info else None
            more = [getattr(record, name, None) for name in ("trace_id", "hook")]
            found.append((record.name, record.levelname, record.getMessage(), *more, kind))

    kept = Kept()
    logging.getLogger("udc").addHandler(kept)
    try:
        yield found
    finally:
        logging.getLogger("udc").removeHandler(kept)


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}


def stripped(body: bytes) -> Any:
    """The body without its times."""
    found = json.loads(body)
    kept = without(found, *CHANGING)
    return {**kept, "error": without(kept["error"], *CHANGING)} if isinstance(kept.get("error"), dict) else kept


@dataclass
class Twins:
    """The same droplet twice: by the shorter way where it will do, and always by the longer."""

    short: Side
    long: Side
    taken: list[bool]

    async def ask(self, request: Request) -> bool:
        """Both; fails when they differ. Whether the shorter way was taken."""
        self.taken.clear()
        short, long = await self.short.ask(request), await self.long.ask(request)
        assert short == long
        return True in self.taken


def watching(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with every request that comes to the shorter way: whether that has answered it."""
    taken: list[bool] = []
    answer = Express.answer

    async def watched(self: Express, *args: Any) -> Any:
        found = await answer(self, *args)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(Express, "answer", watched)
    return taken


@asynccontextmanager
async def twins(monkeypatch: pytest.MonkeyPatch, kind: type[Twin] = Twin, **config: Any) -> AsyncGenerator[Twins]:
    taken = watching(monkeypatch)
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(side(kind, config)) for _ in range(2)]
        for each in sides:  # what a token proves is remembered from its first use on
            for bearer in TOKENS:
                await each.ask(Request(envelope(), bearer=bearer))
            await each.ask(USUAL["other headers"])  # and the names of headers
        sides[1].parts.surface.express = None
        yield Twins(sides[0], sides[1], taken)


@asynccontextmanager
async def side(kind: type[Twin], config: dict[str, Any]) -> AsyncGenerator[Side]:
    events: list[Event] = []
    droplet = kind(events.append, {"security.failed_auth_limit": 10_000, **config})
    hosted: Any = droplet._host()  # pyright: ignore[reportPrivateUsage]
    async with anyio.create_task_group() as tasks:
        await tasks.start(serve, hosted)
        yield Side(droplet, udc.asgi.App.of(hosted), events, hosted.parts)
        hosted.request_stop(at_once=True)


async def serve(hosted: Any, *, task_status: Any) -> None:
    await hosted.serve(task_status=task_status)


JSON = (b"content-type", b"application/json")
USUAL = {
    "usual": Request(envelope()),
    "of an admin": Request(envelope(), bearer="admin"),
    "no source": Request(envelope(source=...)),
    "no target": Request(envelope(target=...)),
    "no message id": Request(envelope(message_id=...)),
    "a source that is null": Request(envelope(source=None)),
    "null for the message id": Request(envelope(message_id=None)),
    "no timeout": Request(envelope(timeout_ms=...)),
    "as many hops as may be": Request(envelope(hops=16)),
    "a priority, a correlation, a reply_to": Request(
        envelope(priority="high", correlation_id="c", reply_to="http://x", attempt=3, on_behalf_of=5)
    ),
    "no data": Request(asking("greet")),
    "the action under another key": Request(envelope(payload={"action": "greet", "who": "Ada"})),
    "anything": Request(asking("any", {"a": [1, 2.5, None, {"b": "ü"}]})),
    "data that does not fit": Request(asking("greet", {"who": 5})),
    "a refusal of the handler's own": Request(asking("business")),
    "a failure": Request(asking("broken")),
    "a result of another type": Request(asking("wrong")),
    "queued": Request(asking("queued")),
    "not done in time": Request(asking("slow")),
    "not done in the caller's time": Request(asking("held", timeout_ms=20)),
    "by https": Request(envelope(), scope={"scheme": "https"}),
    "a key twice": Request(json.dumps(envelope()).replace('"source": 77', '"source": 78, "source": 77').encode()),
    "other headers": Request(envelope(), headers=[JSON, (b"content-length", b"5"), (b"host", b"x")]),
}
UNUSUAL = {
    "a command": Request(envelope(message_type="command")),
    "a command that says query": Request(
        envelope(message_type="command", payload={"type": "greet", "data": {"who": "query"}})
    ),
    "an event": Request(envelope(message_type="event")),
    "a status": Request(envelope(message_type="status")),
    "a response": Request(envelope(message_type="response")),
    "no known type": Request(envelope(message_type="quest")),
    "somebody else's source": Request(envelope(source=78)),
    "a source as text": Request(envelope(source="77")),
    "a source that is true": Request(envelope(source=True)),
    "a source that is zero": Request(envelope(source=0)),
    "another target": Request(envelope(target=22)),
    "the target by name": Request(envelope(target="Twin")),
    "the target as text": Request(envelope(target="21")),
    "too many hops": Request(envelope(hops=17)),
    "hops below zero": Request(envelope(hops=-1)),
    "no time": Request(envelope(timeout_ms=0)),
    "time as a float": Request(envelope(timeout_ms=10000.0)),
    "a deadline": Request(envelope(deadline="2099-01-01T00:00:00Z")),
    "a deadline that has passed": Request(envelope(deadline="2020-01-01T00:00:00Z")),
    "an unknown action": Request(asking("what")),
    "no action": Request(envelope(payload={"data": 1})),
    "the catch-all's name": Request(asking("*")),
    "a sync handler": Request(asking("sync")),
    "a scope that is lacking": Request(asking("scoped")),
    "a scope": Request(asking("scoped"), bearer="vault"),
    "no trace": Request(envelope(trace_id=...)),
    "no UUID for a trace": Request(envelope(trace_id="abc")),
    "an odd time": Request(envelope(timestamp="yesterday")),
    "a time elsewhere": Request(envelope(timestamp="2026-11-20T10:00:00+02:00")),
    "no payload": Request(envelope(payload=...)),
    "a list for payload": Request(envelope(payload=[1])),
    "a nested envelope": Request(envelope(payload=envelope())),
    "an unknown key": Request(envelope(colour="red")),
    "an empty message id": Request(envelope(message_id="")),
    "a long message id": Request(envelope(message_id="x" * 129)),
    "no known priority": Request(envelope(priority="urgent")),
    "a number that is too large": Request(json.dumps(asking("any", {"a": 1})).replace('"a": 1', '"a": 1e999').encode()),
    "NaN": Request(json.dumps(asking("any", {"a": float("nan")})).encode()),
    "a lone surrogate": Request(json.dumps(asking("greet", {"who": "\ud800"})).encode()),
    "no JSON": Request(b'{"query"'),
    "no UTF-8": Request(json.dumps(envelope()).encode("utf-16")),
    "nothing": Request(b""),
    "a list": Request([envelope()]),
    "another form": Request({"type": "query", **without(asking("greet", {"who": "x"}), "message_type")}),
    "a reader": Request(envelope(), bearer="reader"),
    "who may nothing": Request(envelope(), bearer="nobody"),
    "a subject that is no droplet": Request(envelope(source=...), bearer="no droplet"),
    "a subject that says it is a droplet": Request(envelope(), bearer="no droplet"),
    "a token that has ended": Request(envelope(), bearer="ended"),
    "a token for another": Request(envelope(), bearer="elsewhere"),
    "no token of ours": Request(envelope(), bearer="garbage"),
    "no ASCII": Request(envelope(), bearer="odd"),
    "no token": Request(envelope(), bearer=None),
    "two tokens": Request(envelope(), headers=[JSON, (b"authorization", b"Bearer x")]),
    "the token in capitals": Request(
        envelope(), bearer=None, headers=[JSON, (b"Authorization", b"Bearer " + TOKENS["writer"].encode())]
    ),
    "another scheme": Request(
        envelope(), bearer=None, headers=[JSON, (b"authorization", b"bearer " + TOKENS["writer"].encode())]
    ),
    "two blanks": Request(
        envelope(), bearer=None, headers=[JSON, (b"authorization", b"Bearer  " + TOKENS["writer"].encode())]
    ),
    "no content type": Request(envelope(), headers=[]),
    "a content type with a charset": Request(
        envelope(), headers=[(b"content-type", b"application/json; charset=utf-8")]
    ),
    "another content type": Request(envelope(), headers=[(b"content-type", b"text/plain")]),
    "packed": Request(envelope(), headers=[JSON, (b"content-encoding", b"gzip")]),
    "in parts": Request(envelope(), parts=3),
    "too large": Request(asking("greet", {"who": "x" * 1_100_000})),
    "another method": Request(envelope(), scope={"method": "GET"}),
    "another path": Request(envelope(), scope={"path": "/messages"}),
    "below a root": Request(envelope(), scope={"path": "/app/message", "root_path": "/app"}),
    "a root that is the path": Request(envelope(), scope={"root_path": "/message"}),
}


async def test_a_usual_query_goes_the_shorter_way_and_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        assert [name for name, request in USUAL.items() if not await both.ask(request)] == []


async def test_whatever_is_unusual_is_left_to_the_longer_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        assert [name for name, request in UNUSUAL.items() if await both.ask(request)] == []


@pytest.mark.parametrize(
    "config",
    [
        {"rate.caller_per_second": 0.001, "rate.caller_burst": 3},
        {"cors.origins": ["https://page.example"]},
        {"limits.in_flight": 1},
    ],
    ids=["rates", "pages of elsewhere", "one at a time"],
)
async def test_where_an_answer_needs_more_it_gets_it(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> None:
    origin = [JSON, (b"origin", b"https://page.example")]
    async with twins(monkeypatch, **config) as both:
        for _ in range(5):
            await both.ask(Request(envelope(), headers=origin))


async def test_what_no_longer_serves_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        for each in (both.short, both.long):
            each.parts.lifecycle.advance(Phase.STOPPING)
        assert not await both.ask(Request(envelope()))


async def test_a_token_that_is_revoked_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        assert await both.ask(Request(envelope()))
        for each in (both.short, both.long):
            each.parts.revocations.revoke(droplet_id=77, before=time.time() + 60)
        assert not await both.ask(Request(envelope()))


async def test_a_hook_that_raises_is_logged_and_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with twins(monkeypatch) as both:
        express = both.short.parts.surface.express
        told: list[Any] = []

        def broken(*_: Any) -> None:
            raise RuntimeError("broken hook")

        quick, _ = express._quick["greet"]
        express._quick = {"greet": (quick, (broken, lambda *fields: told.append(fields)))}  # pyright: ignore[reportUnknownLambdaType]
        assert (await asyncio.get_running_loop().create_task(both.short.call(Request(envelope()))))[0] == 200
    assert "a hook raised" in caplog.text
    assert [(source, trace) for source, _, trace in told] == [(77, TRACE)]


async def test_a_held_query_is_seen_cancelled_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        for each in (both.short, both.long):
            in_flight = each.parts.dispatcher.in_flight
            held = asyncio.get_running_loop().create_task(each.call(Request(asking("held"))))
            await each.droplet.arrived.wait()
            assert in_flight.cancel_trace(TRACE, by=78) == 0
            assert in_flight.cancel_trace(TRACE, by=77) == 1
            status, _, body = await held
            assert (status, json.loads(body)["error"]["code"], in_flight.count) == (409, "CANCELLED", 0)

            each.droplet.arrived.clear()
            free = asyncio.get_running_loop().create_task(each.call(Request(asking("held"))))
            await each.droplet.arrived.wait()
            drained = asyncio.get_running_loop().create_task(in_flight.drained())
            await asyncio.sleep(0)
            assert not drained.done()
            each.droplet.hold.set()
            assert (await free)[0] == 200
            await drained


async def test_a_server_that_cancels_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with twins(monkeypatch) as both:
        for each in (both.short, both.long):
            each.events.clear()
            held = asyncio.get_running_loop().create_task(each.call(Request(asking("held"))))
            await each.droplet.arrived.wait()
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            assert each.parts.dispatcher.in_flight.count == 0
            assert [getattr(event, "error_code", None) for event in each.events] == ["CANCELLED"]


ODD_VALUES: tuple[Any, ...] = (
    *(..., None, True, False, 0, 1, -1, 16, 17, 21, 77, 78, 2**53, 2**70, 1.0, 77.0, 0.5, "", "77", "21", "Twin"),
    *("query", "command", "event", "Query", "high", TRACE, TRACE.upper(), TRACE[:-1], "x" * 129),
    *("2026-11-20T10:00:00Z", "2026-11-20", "2026-11-20T10:00:00", "2026-11-20T10:00:00+00:00"),
    *([], [77], {}, {"type": "greet"}, {"type": "greet", "data": None}, {"type": 5}, {"action": "any"}),
    {"type": "greet", "data": {"who": "x"}, "more": 1},
)
KEYS = (
    *envelope(),
    "deadline",
    "priority",
    "correlation_id",
    "reply_to",
    "on_behalf_of",
    "signature",
    "type",
    "metadata",
)


async def test_whatever_the_envelope_says_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    async with twins(monkeypatch) as both:
        ways = []
        for _ in range(600):
            changes = {chance.choice(KEYS): chance.choice(ODD_VALUES) for _ in range(chance.choice((1, 1, 2)))}
            ways.append(await both.ask(Request(envelope(**changes))))
    assert 60 < sum(ways) < 300
