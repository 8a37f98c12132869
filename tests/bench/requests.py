"""The like call to each server, as bytes: a token of our kind, and an envelope in the form of each framework."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from udc.identity.keys import SigningKey

ENVELOPE: Final = {
    "trace_id": "5e1b9f4e-1d5f-4c7d-9b5a-0d5f2f6c7a10",
    "source": 77,
    "target": 21,
    "message_type": "query",
    "payload": {"type": "greet", "data": {"who": "Ada"}},
    "timestamp": "2026-11-20T10:00:00.000Z",
    "message_id": "0b0a2c1e-9a5e-4f1e-8f0a-6b5a4c3d2e1f",
    "timeout_ms": 10000,
    "attempt": 1,
    "hops": 0,
    "udc_version": "1.0",
}
"""What our own client sends."""

_MCP: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "greet", "arguments": {"who": "Ada"}},
}
_A2A: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "SendMessage",
    "params": {"message": {"messageId": "0b0a2c1e", "role": "ROLE_USER", "parts": [{"text": "Ada"}]}},
}
_LIKE_CALLS: Final[dict[str, tuple[Any, str]]] = {
    "FastMCP tool call": (_MCP, "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n"),
    "a2a-sdk SendMessage": (_A2A, "A2A-Version: 1.0\r\n"),
}


def token(key: SigningKey, *, lives_seconds: int = 3600, **claims: Any) -> str:
    """A token for droplet 21 of the caller 77."""
    now = int(time.time())
    standard = {"iss": "registry.fullpotential.ai", "aud": "fullpotential.droplets", "sub": "droplet-77"}
    more = {"droplet_id": 77, "permissions": ["write"], "iat": now, "exp": now + lives_seconds}
    return key.sign({**standard, **more, **claims})


def request_for(name: str, bearer: str, **envelope: Any) -> bytes:
    """The request that the server of that name answers with a greeting."""
    body, headers = _LIKE_CALLS.get(name, ({**ENVELOPE, **envelope}, ""))
    return post("/message", json.dumps(body).encode(), f"Authorization: Bearer {bearer}\r\n{headers}")


def post(path: str, body: bytes, headers: str) -> bytes:
    """A POST of JSON over a connection that is kept."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


GET_HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
