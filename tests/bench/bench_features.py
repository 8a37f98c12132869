"""What each feature of the message path costs, in one process without sockets: `python -m tests.bench.bench_features`.

CPU time of one call, the median and the spread of alternating rounds. Where a part awaits, it is driven in one task.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from statistics import median
from typing import Any, Final

import anyio

from tests.bench.processes import take_load_cpu, versions
from tests.bench.requests import request_for, token
from tests.bench.servers import Greeter
from udc._ids import Stamps
from udc._wiring.hosted import Hosted
from udc.asgi import App
from udc.identity.keys import SigningKey
from udc.instrument import message_handled, request_answered
from udc.messages import MessageType
from udc.surface._base import HttpRequest
from udc.wire.envelope import decode_message
from udc.wire.plain import envelope_reader
from udc.wire.receipts import encode_receipt

Once = Callable[[], Awaitable[Any] | Any]

FIRST_SEEN: Final = 200
"""Tokens that are verified for the first time, in each round."""


@asynccontextmanager
async def running(key: SigningKey) -> AsyncIterator[Hosted]:
    """A droplet that runs in this loop."""
    os.environ["UDC_SECURITY__PUBLIC_KEY"] = key.public_pem
    hosted = Greeter(config={"droplet.url": "http://127.0.0.1:8000"})._host()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_serve, hosted)
        yield hosted
        hosted.request_stop(at_once=True)


async def _serve(hosted: Hosted, *, task_status: Any) -> None:
    await hosted.serve(task_status=task_status)


class Parts:
    """The parts of one message's path, each ready to be called alone."""

    def __init__(self, hosted: Hosted, key: SigningKey) -> None:
        self.hosted, self.key = hosted, key
        self.parts = hosted.parts
        self.surface = self.parts.surface
        head, self.body = request_for("droplet", token(key)).split(b"\r\n\r\n", 1)
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        self.headers = [(name.lower(), value) for name, value in lines]
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/message",
            "query_string": b"",
            "headers": self.headers,
        }
        self.app = App.of(hosted)
        self.endpoint, _ = self.surface.routes.find("POST", "/message")
        self.message = decode_message(self.body, me=21, ambient=self.parts.ambient)
        self.stamps = Stamps(self.parts.ambient.wall)
        self.numbers = iter(range(10**9))
        self.told = self.parts.instrument.tallies("greet")

    def request(self) -> HttpRequest:
        decoded = {name.decode(): value.decode() for name, value in self.headers}
        return HttpRequest(method="POST", path="/message", headers=decoded, body=self.body)

    async def prepare(self) -> None:
        self.asked = self.request()
        self.principal = await self.surface._guard.admit(self.endpoint, self.asked)

    async def asgi(self) -> None:
        await self.app(dict(self.scope), self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.body}

    async def _send(self, event: Any) -> None:
        return None

    def work(self, deadline: float) -> None:
        with self.parts.dispatcher.in_flight.enter("t", 77, deadline):
            pass

    def scope_alone(self) -> None:
        with anyio.CancelScope(deadline=self.parts.clock() + 30):  # noqa: ASYNC100 - it is what is measured
            pass

    async def dispatch(self) -> None:
        await self.parts.dispatcher.dispatch(self.message, self.principal)

    async def suspends(self) -> None:
        await self.parts.dispatcher.dispatch(replace(self.message, action="wait"), self.principal)

    async def once(self) -> None:
        fresh = f"m-{next(self.numbers)}"
        message = replace(self.message, message_type=MessageType.EVENT, message_id=fresh)
        await self.parts.storage.ledger.once((77, fresh), b"f" * 32, lambda: self._handled(message))

    async def _handled(self, message: Any) -> Any:
        from udc.dispatch.run import Outcome

        return Outcome()

    async def the_long_way(self) -> None:
        express, self.surface.express = self.surface.express, None
        await self.asgi()
        self.surface.express = express

    def tallies(self) -> None:
        for tell in self.told:
            tell(77, 0.001, "t")

    def request_event(self) -> None:
        self.parts.instrument.emit(request_answered("POST", "/message", 200, 0.001, "t", None))

    def message_event(self) -> None:
        self.parts.instrument.emit(message_handled("query", "greet", 77, 0.001, "t", None))

    def receipt(self) -> bytes:
        return encode_receipt(self.message.trace_id, self.stamps.now(), "success", True, b'"Hello"', "m-1", False)

    def rows(self) -> dict[str, Once]:
        """By what it is, what does it once."""
        guard, parts = self.surface._guard, self.parts
        far = parts.clock() + 30
        return {
            "**a query from the ASGI scope to the last `send`**": self.asgi,
            "**the same the long way, which all goes that is no usual query**": self.the_long_way,
            "… of that in `Surface.handle`, request value included": lambda: self.surface.handle(self.request()),
            "request value with plain headers (what adapters without lazy headers make)": self.request,
            "a token seen lately: look-up, end, key revision, deny-list, permission": lambda: guard.recall(
                self.endpoint, self.asked
            ),
            "the envelope: parsed once, every field checked": lambda: envelope_reader()(self.body),
            "the same, and the frozen `Message`": lambda: decode_message(self.body, me=21, ambient=parts.ambient),
            "the handler, dispatched: limit, deadline, data bound, call, answer made JSON, event": self.dispatch,
            "the same when the handler suspends once (with a copy of the message: for the action)": self.suspends,
            "in flight: entry, limit, cancellable, no deadline": lambda: self.work(math.inf),
            "in flight with a deadline": lambda: self.work(far),
            "an anyio cancel scope with a deadline, for comparison": self.scope_alone,
            "de-duplication of a new message (with a copy of the message: for its id)": self.once,
            "counters and histogram of a usual query": self.tallies,
            "counters, histogram and event of a request": self.request_event,
            "counters and event of a message": self.message_event,
            "the receipt, with its time": self.receipt,
        }


async def _time(once: Once, calls: int) -> float:
    """Microseconds of CPU of one call."""
    gc.collect()
    if asyncio.iscoroutinefunction(once) or asyncio.iscoroutine(first := once()):
        if not asyncio.iscoroutinefunction(once):
            await first
        begun = time.process_time()
        for _ in range(calls):
            await once()
    else:
        begun = time.process_time()
        for _ in range(calls):
            once()
    return 1e6 * (time.process_time() - begun) / calls


async def _first_seen(parts: Parts, number: int) -> float:
    tokens = [token(parts.key, jti=f"{number}-{n}") for n in range(FIRST_SEEN)]
    verify = parts.parts.verifier.verify
    begun = time.process_time()
    for each in tokens:
        await verify(each)
    return 1e6 * (time.process_time() - begun) / len(tokens)


async def _measure(rounds: int, calls: int) -> dict[str, list[float]]:
    key = SigningKey.generate()
    async with running(key) as hosted:
        parts = Parts(hosted, key)
        await parts.prepare()
        measured: dict[str, list[float]] = {name: [] for name in parts.rows()}
        first: list[float] = []
        for number in range(rounds):
            for name, once in parts.rows().items():
                # In a task of its own, as a request is: no scope of this one's surrounds it.
                task = asyncio.get_running_loop().create_task(_time(once, calls), context=contextvars.Context())
                measured[name].append(await task)
            first.append(await _first_seen(parts, number))
        return {**measured, "a token seen for the first time, RS256 with 2048 bits (wanted: ≤ 150)": first}


def main() -> None:
    """Measure and print."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    take_load_cpu()
    measured = uvloop.run(_measure(options.rounds, options.calls))
    print(f"\n{versions()}; {options.rounds} rounds of {options.calls} calls, CPU time\n")
    print("| part | µs (median) | spread |\n|---|---:|---:|")
    for name, values in measured.items():
        print(f"| {name} | {median(values):.1f} | {min(values):.1f} to {max(values):.1f} |")


if __name__ == "__main__":
    main()
