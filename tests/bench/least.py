"""The least that has to be done with a usual query, in one function: what a droplet could cost if it were nothing else.

No droplet: whatever is unusual is an assertion here, tokens are believed, and nothing is cancelled, logged or watched.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import to_json

from udc._ids import Stamps
from udc.stats import BUCKETS
from udc.surface.edge import Edge
from udc.wire.plain import read_plain
from udc.wire.receipts import encode_receipt

_HEADERS: Final = [*Edge().standing("http", guarded=True).encoded, (b"content-type", b"application/json")]
_current: ContextVar[object] = ContextVar("current")
_data: Final = TypeAdapter(dict[str, str]).validator.validate_python
_stamps: Final = Stamps(time.time)
_seen: Final[dict[bytes, float]] = {}
_in_flight: Final[dict[Any, float]] = {}
_counts: Final[Counter[object]] = Counter()
_histogram: Final = [0] * (len(BUCKETS) + 1)


async def _greet(who: str, ctx: object) -> str:
    return f"Hello {who}"


async def least(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application for HTTP requests only."""
    begun = time.perf_counter()
    headers = dict(scope["headers"])
    assert scope["path"] == "/message"
    assert scope["method"] == "POST"
    assert headers[b"content-type"] == b"application/json"
    assert b"content-encoding" not in headers
    assert _seen.setdefault(sha256(headers[b"authorization"][7:]).digest(), time.time() + 3600) > time.time()
    event = await receive()
    assert not event["more_body"]
    message = read_plain(event["body"])
    assert message is not None
    assert (message.source, message.target, message.deadline) == (77, 21, None)
    assert message.hops <= 16
    task = asyncio.current_task()
    _in_flight[task] = begun + (message.timeout_ms or 30_000) / 1000
    outer = _current.set(message)
    try:
        answer = to_json(await _greet(**_data(message.data), ctx=message))
    finally:
        _current.reset(outer)
        del _in_flight[task]
    body = encode_receipt(message.trace_id, _stamps.now(), "success", True, answer, message.message_id, False)
    seconds = time.perf_counter() - begun
    _counts["query", message.action, "ok"] += 1
    _counts["POST", "/message", 200] += 1
    _histogram[bisect_left(BUCKETS, seconds)] += 1
    start = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": body})
