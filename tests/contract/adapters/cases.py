"""What is asked and what must come back, the same through every adapter: one row each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.contract import served
from tests.contract.adapters.droplets import BODY_LIMIT
from tests.contract.served import envelope, token
from udc._types import UNSET

READ, WRITE, ADMIN = ("read",), ("write",), ("admin",)
Judge = Callable[[Any], bool]
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and its answer.

    Attributes:
        by: the permissions of the caller's token; `None` = no token. A text is the whole Authorization header.
        code: of the error, where it is one.
        shows: headers that the answer must have.
        json: what the JSON body must hold at least; a function judges the value.
        text: the whole body.
        shape: of two lives' answers only the shape is the same.
        apart: adapters that answer otherwise, with the status that they have; `docs/reference/adapters.md` says why.
        server_may: a status with which a server's own parser may refuse it before any adapter sees it.
        https: the answer tells browsers to use https only; all others must not.
    """

    method: str = "GET"
    path: str
    by: tuple[str, ...] | str | None = None
    scope: str | None = None
    sends: object = UNSET
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    code: str | None = None
    shows: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] = field(default_factory=dict)
    text: bytes | None = None
    shape: bool = False
    apart: Mapping[str, int] = field(default_factory=dict)
    server_may: tuple[int, ...] = ()
    https: bool = False

    def request(self) -> dict[str, Any]:
        """As a client of this suite takes it."""
        headers = dict(self.headers)
        if len(self.content) > BODY_LIMIT:  # a server need not read it all, and may then close without saying so
            headers["connection"] = "close"
        if isinstance(self.by, str):
            headers["authorization"] = self.by
        bearer = token(*self.by, scope=self.scope) if isinstance(self.by, tuple) else None
        return {"bearer": bearer, "json": self.sends, "content": self.content, "headers": headers}


NOT_FOUND = {"fastapi": 404, "starlette": 404, "aiohttp": 404}
"""Paths that are not the droplet's are the application's."""

JSON = {"content-type": "application/json"}
CHALLENGE = {"www-authenticate": 'Bearer realm="udc"'}
INVALID_TOKEN = {"www-authenticate": 'Bearer realm="udc", error="invalid_token"'}


def get(path: str, **expected: Any) -> Case:
    return Case(path=path, **expected)


def post(path: str, **expected: Any) -> Case:
    return Case(method="POST", path=path, **expected)


def message(
    action: str = "echo", data: object = UNSET, *, changes: Mapping[str, Any] = MappingProxyType({}), **expected: Any
) -> Case:
    return post("/message", by=expected.pop("by", WRITE), sends=envelope(action, data, **changes), **expected)


def raw(content: bytes, **expected: Any) -> Case:
    return post("/message", by=WRITE, content=content, **expected)


def task(**changes: Any) -> dict[str, Any]:
    return {"task_id": "t-1", "task_type": "work", "payload": {"steps": 1}, **changes}


def expired() -> str:
    return "Bearer " + served.key().sign(
        served.claims("read", iat=int(time.time()) - 7200, exp=int(time.time()) - 3600)
    )


def of_another_audience() -> str:
    return "Bearer " + served.key().sign(served.claims("read", aud="fullpotential.droplets/15"))


DESCRIBING = {
    "health": get("/health", shows=JSON, json={"id": served.ME, "status": "active"}, shape=True),
    "livez": get("/livez", shows=JSON, json={"ok": True}),
    "readyz": get("/readyz", shows=JSON, json={"ready": True, "phase": "ready", "reasons": []}),
    "capabilities": get("/capabilities", by=READ, shows=JSON, json={"features": ["sample", "test"]}),
    "state": get("/state", by=READ, shows=JSON, json={"memory_mb": lambda value: value >= 0}, shape=True),
    "dependencies": get("/dependencies", by=READ, shows=JSON, json={"required": lambda rows: rows[0]["id"] == 15}),
    "version": get("/version", by=READ, shows=JSON, json={"version": "3.2.1"}),
    "logs": get("/logs", by=READ, shows=JSON, json={"droplet_id": served.ME}, shape=True),
    "logs of a level": get("/logs?level=critical&limit=1", by=READ, json={"logs": []}, shape=True),
    "logs limit": get("/logs?limit=0", by=READ, status=400, code="INVALID_REQUEST"),
    "logs level": get("/logs?level=loud", by=READ, status=400, code="INVALID_REQUEST"),
    "events": get(
        "/events?limit=1&event_type=phase_changed",
        by=READ,
        shows=JSON,
        json={"events": lambda rows: len(rows) == 1},
        shape=True,
    ),
    "events limit": get("/events?limit=1001", by=READ, status=400, code="INVALID_REQUEST"),
    "openapi": get("/openapi.json", by=READ, shows=JSON, json={"openapi": "3.1.0"}, apart={"fastapi": 200}),
    "read by admin": get("/version", by=ADMIN),
    "chat": post("/handle-chat", by=WRITE, sends={"message": "hi"}, json={"response": "you said hi"}),
}

WORKING = {
    "query": message(shows=JSON, json={"received": True, "data": "hi", "handled": True, "result": "success"}),
    "query by admin": message(by=ADMIN, json={"data": "hi"}),
    "command": message(
        "store", {"what": "a"}, changes={"message_type": "command"}, json={"data": lambda n: n >= 1}, shape=True
    ),
    "event": message("noted", {"what": "a"}, changes={"message_type": "event"}, json={"handled": True}),
    "unhandled event": message("unknown", {}, changes={"message_type": "event"}, json={"handled": False}),
    "unhandled status": message("unknown", {}, changes={"message_type": "status"}, json={"handled": False}),
    "response": message("x", {}, changes={"message_type": "response"}, json={"handled": False}),
    "message id": message(changes={"message_id": "m-1"}, json={"message_id": "m-1"}),
    "trace id": message(json={"trace_id": envelope()["trace_id"]}),
    "unicode": message("echo", {"text": "grüße 🐜 \u2028"}, json={"data": "grüße 🐜 \u2028"}),
    "no source": message(changes={"source": UNSET}, json={"data": "hi"}),
    "no target": message(changes={"target": UNSET}, json={"data": "hi"}),
    "target by name": message(changes={"target": "Sample"}, json={"data": "hi"}),
    "sixteen hops": message(changes={"hops": 16}, json={"data": "hi"}),
    "cancel trace": message(
        "cancel_trace",
        changes={"message_type": "command", "payload": {"type": "cancel_trace", "trace_id": "x"}},
        json={"data": {"cancelled": 0}},
    ),
    "scope": post(
        "/message", by=WRITE, scope="sample:special", sends=envelope("guarded", {}), json={"data": "special"}
    ),
    "duplicate keys": raw(
        b'{"message_type":"x","message_type":"query","payload":{"type":"echo","data":{"text":"b"}}}', json={"data": "b"}
    ),
    "charset": raw(json.dumps(envelope()).encode(), headers={"content-type": "application/json; charset=utf-8"}),
    "media type in capitals": raw(json.dumps(envelope()).encode(), headers={"content-type": "Application/JSON"}),
    "json by suffix": raw(json.dumps(envelope()).encode(), headers={"content-type": "application/cloudevents+json"}),
    "white space around": raw(b" \r\n" + json.dumps(envelope()).encode() + b"\n\t "),
    "task": post("/task", by=ADMIN, sends=task(), json={"status": "accepted", "task_id": "t-1"}),
    "failed send": post(
        "/send",
        by=ADMIN,
        sends={"target": 15, "message_type": "event", "payload": {"type": "x"}, "retry_count": 0},
        json={"sent": False, "result": "error"},
    ),
    "send by scope": post(
        "/send",
        by=READ,
        scope="udc:send",
        sends={"target": 15, "message_type": "event", "payload": {"type": "x"}, "retry_count": 0},
        json={"sent": False},
    ),
}

REFUSED = {
    "no token": get("/state", status=401, code="UNAUTHORIZED", shows=CHALLENGE),
    "no token for a message": post("/message", sends=envelope(), status=401, code="UNAUTHORIZED", shows=CHALLENGE),
    "no token and a broken body": post("/message", content=b"{", status=401, code="UNAUTHORIZED"),
    "no real token": get("/state", by="Bearer no.real.token", status=401, code="UNAUTHORIZED", shows=INVALID_TOKEN),
    "empty token": get("/state", by="Bearer", status=401, code="UNAUTHORIZED", shows=CHALLENGE),
    "basic": get("/state", by="Basic dTpw", status=401, code="UNAUTHORIZED", shows=CHALLENGE),
    "expired": get("/state", by=expired(), status=401, code="UNAUTHORIZED", shows=INVALID_TOKEN),
    "another audience": get("/state", by=of_another_audience(), status=401, code="UNAUTHORIZED", shows=INVALID_TOKEN),
    "bearer in capitals": get("/version", by=f"BEARER {token('read')}"),
    "token in the query": get(f"/state?access_token={token('read')}", status=401, code="UNAUTHORIZED"),
    "two tokens": get("/state", by=f"Bearer {token('read')}, Bearer {token('read')}", status=401, code="UNAUTHORIZED"),
    "huge token": get("/state", by="Bearer " + "x" * 7000, status=401, code="UNAUTHORIZED"),
    "write does not read": get("/state", by=WRITE, status=403, code="FORBIDDEN"),
    "read does not write": message(by=READ, status=403, code="FORBIDDEN"),
    "write does not shut down": post("/shutdown", by=WRITE, sends={}, status=403, code="FORBIDDEN"),
    "no permission": get("/state", by=(), status=403, code="FORBIDDEN"),
    "missing scope": message("guarded", {}, status=403, code="FORBIDDEN"),
    "somebody else's source": message(changes={"source": 78}, status=403, code="FORBIDDEN"),
    "a task of anybody's": post("/task", by=WRITE, sends=task(), status=403, code="FORBIDDEN"),
    "config elsewhere": post(
        "/reload-config", by=ADMIN, sends={"config_path": "/etc/passwd"}, status=403, code="FORBIDDEN"
    ),
    "somebody else's target": message(changes={"target": 15}, status=404, code="NOT_FOUND"),
    "unknown query": message("unknown", {}, status=404, code="NO_HANDLER"),
    "unknown task": post("/task", by=ADMIN, sends=task(task_type="play"), status=404, code="NO_HANDLER"),
    "unknown send target": post(
        "/send", by=ADMIN, sends={"target": "Who", "message_type": "event", "payload": {}}, status=404, code="NOT_FOUND"
    ),
    "send to a URL": post(
        "/send",
        by=ADMIN,
        sends={"target": "http://169.254.169.254/", "message_type": "event", "payload": {}},
        status=400,
        code="INVALID_REQUEST",
    ),
    "not json": raw(b"{'a': 1}", status=400, code="INVALID_REQUEST"),
    "cut off": raw(json.dumps(envelope()).encode()[:-3], status=400, code="INVALID_REQUEST"),
    "no body": raw(b"", status=400, code="INVALID_REQUEST"),
    "an array": raw(b"[]", status=400, code="INVALID_REQUEST"),
    "bad utf-8": raw(b'{"payload": "\xff"}', status=400, code="INVALID_REQUEST"),
    "deep": raw(b'{"payload": ' + b"[" * 20_000, status=400, code="INVALID_REQUEST"),
    "nan": raw(b'{"message_type": "query", "payload": {"x": NaN}}', status=400, code="INVALID_REQUEST"),
    "unknown type": message(changes={"message_type": "shout"}, status=400, code="INVALID_REQUEST"),
    "no payload": message(changes={"payload": UNSET}, status=400, code="INVALID_REQUEST"),
    "odd trace id": message(changes={"trace_id": 5}, status=400, code="INVALID_REQUEST"),
    "seventeen hops": message(changes={"hops": 17}, status=400, code="HOP_LIMIT"),
    "data of another kind": message("echo", {"text": 5}, status=400, code="INVALID_REQUEST"),
    "shutdown too late": post("/shutdown", by=ADMIN, sends={"delay_seconds": 301}, status=400, code="INVALID_REQUEST"),
    "past": message(changes={"timeout_ms": 0}, status=408, code="DEADLINE_EXCEEDED"),
    "a business error": message("refuse", {}, status=409, code="QUOTA_SPENT"),
    "plain text": raw(b"{}", headers={"content-type": "text/plain"}, status=415, code="UNSUPPORTED_MEDIA_TYPE"),
    "a form": raw(
        b"a=1", headers={"content-type": "application/x-www-form-urlencoded"}, status=415, code="UNSUPPORTED_MEDIA_TYPE"
    ),
    "a handler that fails": message("boom", {}, status=500, code="INTERNAL_ERROR"),
    "a result that is no json": message("thing", {}, status=500, code="INTERNAL_ERROR"),
    "an endpoint that fails": post("/failing", status=500, code="INTERNAL_ERROR"),
    "a peer that is away": message("dead", {}, status=503, code="DEPENDENCY_UNAVAILABLE"),
    "a handler that hangs": message("hang", {}, status=504, code="TIMEOUT"),
}

METHODS = {
    "post to get": post("/health", status=405, code="METHOD_NOT_ALLOWED"),
    "get to post": get("/message", status=405, code="METHOD_NOT_ALLOWED"),
    "put": Case(method="PUT", path="/message", status=405, code="METHOD_NOT_ALLOWED"),
    "delete": Case(method="DELETE", path="/state", by=READ, status=405, code="METHOD_NOT_ALLOWED"),
    "patch with a body": Case(method="PATCH", path="/version", sends={}, status=405, code="METHOD_NOT_ALLOWED"),
    "a method nobody knows": Case(
        method="BREW", path="/health", status=405, code="METHOD_NOT_ALLOWED", server_may=(400,)
    ),
    "a template's other method": Case(method="PUT", path="/hello/ada", status=405, code="METHOD_NOT_ALLOWED"),
    "options": Case(method="OPTIONS", path="/health", status=204, shows={"allow": "GET, HEAD, OPTIONS"}, text=b""),
    "options of what is guarded": Case(method="OPTIONS", path="/message", status=204, shows={"allow": "OPTIONS, POST"}),
    "options of a template": Case(
        method="OPTIONS", path="/hello/ada", status=204, shows={"allow": "DELETE, GET, HEAD, OPTIONS"}
    ),
    "options of nowhere": Case(method="OPTIONS", path="/nowhere", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "head": Case(method="HEAD", path="/livez", text=b""),
    "head of what is guarded": Case(method="HEAD", path="/state", status=401, text=b""),
    "head with a token": Case(method="HEAD", path="/version", by=READ, text=b""),
    "head of what is posted": Case(method="HEAD", path="/message", status=405, text=b""),
    "head of a template": Case(method="HEAD", path="/echo/a", text=b""),
    "head of a large answer": Case(method="HEAD", path="/large", text=b""),
    "head of a stream": Case(method="HEAD", path="/three", shows={"content-type": "text/event-stream"}, text=b""),
}

PATHS = {
    "nowhere": get("/nowhere", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "a slash at the end": get("/health/", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "two slashes": get("//health", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "capitals": get("/Health", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "one name": get("/echo/ada", json={"params": {"name": "ada"}, "path": "/echo/ada"}),
    "two names": get("/echo/ada/of/love", json={"params": {"name": "ada", "what": "love"}}),
    "encoded space": get("/echo/a%20b", json={"params": {"name": "a b"}}),
    "encoded umlaut": get("/echo/gr%C3%BCn", json={"params": {"name": "grün"}}),
    "plus stays plus": get("/echo/a+b", json={"params": {"name": "a+b"}}),
    "encoded percent": get("/echo/100%25", json={"params": {"name": "100%"}}),
    "encoded question mark": get("/echo/a%3Fb", json={"params": {"name": "a?b"}, "query_string": ""}),
    "encoded semicolon": get("/echo/a%3Bb;c", json={"params": {"name": "a;b;c"}}),
    "encoded known path": get("/%68ealth", json={"id": served.ME}, shape=True),
    "a colon": get("/echo/a:b@c", json={"params": {"name": "a:b@c"}}),
    "no query": get("/echo", json={"query": {}, "query_string": ""}),
    "query": get("/echo?a=1&b=2", json={"query": {"a": ["1"], "b": ["2"]}, "query_string": "a=1&b=2"}),
    "repeated query": get("/echo?a=1&a=2", json={"query": {"a": ["1", "2"]}}),
    "empty query value": get("/echo?a=&b", json={"query": {"a": [""], "b": [""]}}),
    "encoded query": get("/echo?a=%20%26%3D&b=x+y", json={"query": {"a": [" &="], "b": ["x y"]}}),
    "the query as it was sent": get("/echo?q=gr%C3%BCn%2Fa", json={"query_string": "q=gr%C3%BCn%2Fa"}),
    "only a question mark": get("/echo?", json={"query": {}}),
    "declared parameters": get(
        "/search/x?limit=10&way=up&by-name=a&by-name=b&deep=true&unknown=1",
        text=b'{"limit":10,"way":"up","by-name":["a","b"],"deep":true}',
    ),
    "declared defaults": get("/search/x?way=down", text=b'{"limit":5,"way":"down","by-name":null,"deep":false}'),
    "a parameter out of its limits": get("/search/x?way=up&limit=11", status=400, code="INVALID_REQUEST"),
    "a parameter of another kind": get("/search/x?way=up&limit=ten", status=400, code="INVALID_REQUEST"),
    "a missing parameter": get("/search/x", status=400, code="INVALID_REQUEST"),
}

HEADERS = {
    "a header": get("/echo", headers={"x-one": "1"}, json={"headers": {"x-one": "1"}}),
    "a header in capitals": get("/echo", headers={"X-ONE": "a B"}, json={"headers": {"x-one": "a B"}}),
    "a header of latin-1": get("/echo", headers={"x-one": "grün"}, json={"headers": {"x-one": "grün"}}),
    "an empty header": get("/echo", headers={"x-one": ""}, json={"headers": {"x-one": ""}}),
    "a cookie": get("/echo", headers={"cookie": "a=1; b=2"}, json={"headers": {"cookie": "a=1; b=2"}}),
    "a trace parent of nobody's": get("/echo", headers={"traceparent": "nonsense"}),
    "the scheme": get("/echo", json={"scheme": "http", "known_client": True}),
    "many headers": get(
        "/echo", headers={f"x-{n}": "v" * 40 for n in range(40)}, json={"headers": lambda h: len(h) == 40}
    ),
    "accept is not asked": get("/livez", headers={"accept": "text/html"}, shows=JSON),
    "nobody is asked to compress": get("/large", headers={"accept-encoding": "gzip"}, text=b"x" * 300_000),
    "a range is not known": get("/bytes", headers={"range": "bytes=0-9"}, text=bytes(range(256))),
    "no condition is known": get("/livez", headers={"if-none-match": "*"}),
}

BODIES = {
    "no body to echo": post("/echo", json={"body": ""}),
    "a body of any kind": post("/echo", content=b"a=1", headers={"content-type": "text/plain"}, json={"body": "a=1"}),
    "all bytes": post(
        "/echo",
        content=bytes(range(256)),
        headers={"content-type": "application/octet-stream"},
        json={"body": bytes(range(256)).decode("latin-1")},
    ),
    "put": Case(method="PUT", path="/echo", content=b"x", json={"method": "PUT", "body": "x"}),
    "patch": Case(method="PATCH", path="/echo", content=b"x", json={"method": "PATCH", "body": "x"}),
    "delete with a body": Case(method="DELETE", path="/echo", content=b"x", json={"method": "DELETE", "body": "x"}),
    "get with a body": get("/echo", content=b"x", json={"body": "x"}),
    "as large as may be": post("/echo", content=b"x" * BODY_LIMIT, json={"body": lambda body: len(body) == BODY_LIMIT}),
    "one byte too large": post("/echo", content=b"x" * (BODY_LIMIT + 1), status=413, code="PAYLOAD_TOO_LARGE"),
    "too large and without a token": post("/message", content=b"x" * 100_000, status=401, code="UNAUTHORIZED"),
    "too large with a token": post("/message", by=WRITE, content=b"x" * 100_000, status=413, code="PAYLOAD_TOO_LARGE"),
    "too large for no path": post("/nowhere", content=b"x" * 100_000, status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "too large for its method": Case(
        method="PUT", path="/message", content=b"x" * 100_000, status=405, code="METHOD_NOT_ALLOWED"
    ),
    "packed": post(
        "/message",
        by=WRITE,
        content=b"\x1f\x8b\x08\x00",
        headers={"content-encoding": "gzip"},
        status=415,
        code="UNSUPPORTED_MEDIA_TYPE",
    ),
    "not packed at all": raw(json.dumps(envelope()).encode(), headers={"content-encoding": "identity"}),
}

ANSWERS = {
    "text": get("/text", shows={"content-type": "text/plain; charset=utf-8"}, text="grüße".encode()),
    "bytes": get("/bytes", shows={"content-type": "application/octet-stream"}, text=bytes(range(256))),
    "large": get("/large", text=b"x" * 300_000),
    "an empty body": get("/nothing", text=b""),
    "created": post(
        "/made", by=WRITE, sends={"name": "a"}, status=201, shows={"location": "/made/1"}, json={"name": "a"}
    ),
    "no content": get("/empty", status=204, shows={"x-kind": "empty"}, text=b""),
    "a redirection": get("/elsewhere", status=307, shows={"location": "/text"}, text=b""),
    "a rare status": get("/teapot", status=418, shows=JSON, json={"i am": "a teapot"}),
    "null": get("/null", text=b"null"),
    "models": get("/list", text=b'[{"name":"a"},{"name":"b"}]'),
    "a stream that ends": get(
        "/three",
        shows={"content-type": "text/event-stream", "cache-control": "no-cache"},
        text=b"data: 0\n\ndata: 1\n\ndata: 2\n\n",
    ),
    "an empty stream": get("/empty-stream", shows={"content-type": "text/event-stream"}, text=b""),
    "a template": get("/hello/ada", by=READ, json={"hello": "ada", "caller": "77"}),
    "a template of admins": Case(method="DELETE", path="/hello/ada", by=ADMIN, json={"gone": "ada"}),
    "a template without a token": get("/hello/ada", status=401, code="UNAUTHORIZED"),
}

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
GUARDED = {**SECURITY, "cache-control": "no-store"}

HARDENED = {
    "a public answer": get("/livez", shows=SECURITY),
    "a guarded answer": get("/version", by=READ, shows=GUARDED),
    "a receipt": message(shows=GUARDED),
    "a refusal": get("/state", status=401, code="UNAUTHORIZED", shows=GUARDED),
    "a fault": post("/failing", status=500, code="INTERNAL_ERROR", shows=GUARDED),
    "a wrong method": post("/health", status=405, code="METHOD_NOT_ALLOWED", shows=GUARDED),
    "no content to harden": get("/empty", status=204, shows=SECURITY),
    "a stream to harden": get("/three", shows={**SECURITY, "cache-control": "no-cache"}),
    "what an endpoint says itself stays": get("/text", shows={**SECURITY, "content-type": "text/plain; charset=utf-8"}),
    "pages of other origins get nothing": get("/livez", headers={"origin": "https://evil.example"}, shows=SECURITY),
    "no preflight without cors": Case(
        method="OPTIONS",
        path="/message",
        headers={"origin": "https://app.example", "access-control-request-method": "POST"},
        status=204,
    ),
}

HSTS = {**SECURITY, "strict-transport-security": "max-age=31536000"}


def secure(method: str, path: str, **expected: Any) -> Case:
    return Case(method=method, path=path, https=True, **{"shows": HSTS, **expected})


SECURE = {
    "the scheme": secure("GET", "/echo", json={"scheme": "https"}),
    "a public answer": secure("GET", "/livez", json={"ok": True}),
    "a guarded answer": secure("GET", "/version", by=READ, shows={**HSTS, "cache-control": "no-store"}),
    "a receipt": secure("POST", "/message", by=WRITE, sends=envelope(), json={"data": "hi"}),
    "no content": secure("GET", "/empty", status=204),
    "a stream": secure("GET", "/three", text=b"data: 0\n\ndata: 1\n\ndata: 2\n\n"),
    "a redirection": secure("GET", "/elsewhere", status=307),
    "head": secure("HEAD", "/livez", text=b""),
    "options": secure("OPTIONS", "/health", status=204),
    "no token": secure("GET", "/state", status=401, code="UNAUTHORIZED"),
    "nowhere": secure("GET", "/nowhere", status=404, code="NOT_FOUND", apart=NOT_FOUND),
    "a wrong method": secure("POST", "/health", status=405, code="METHOD_NOT_ALLOWED"),
    "too large": secure("POST", "/echo", content=b"x" * (BODY_LIMIT + 1), status=413, code="PAYLOAD_TOO_LARGE"),
    "not json": secure("POST", "/message", by=WRITE, content=b"{", status=400, code="INVALID_REQUEST"),
    "a fault": secure("POST", "/failing", status=500, code="INTERNAL_ERROR"),
    "what an endpoint says of it itself stays": secure(
        "GET", "/pinned", shows={"strict-transport-security": "max-age=1; preload"}
    ),
}
"""Asked over https."""

GROUPS = {
    "hardened": HARDENED,
    "describing": DESCRIBING,
    "working": WORKING,
    "refused": REFUSED,
    "methods": METHODS,
    "paths": PATHS,
    "headers": HEADERS,
    "bodies": BODIES,
    "answers": ANSWERS,
}
CASES = {f"{group}: {name}": case for group, rows in GROUPS.items() for name, case in rows.items()}
