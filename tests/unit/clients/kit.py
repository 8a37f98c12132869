"""A Registry written down as answers, and clients that call it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc._ids import seeded
from udc.clients._base import Beat, Registration, RegistryClient
from udc.clients.choose import Caller, make_registry, make_v2_tokens
from udc.clients.usage import Usage
from udc.config import DropletConfig
from udc.errors import TokenError
from udc.identity._base import Token, TokenSource
from udc.identity.tokens import TokenKeeper, received_token
from udc.instrument import Instrument

URL = "http://127.0.0.1:8000"
ENDPOINT = "https://drop14.example.org"
AMBIENT = seeded(5, lambda: 1_000_000.0)
REGISTRY_AUDIENCE = "fullpotential.droplets/registry"

Row = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Callable[["Seen"], tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Desk:
    """Answers by `METHOD /path`; what is not written down is 404."""

    rows: dict[str, Row]
    seen: list[Seen] = field(default_factory=list)

    async def exchange(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> HttpAnswer:
        seen = Seen(method, url.removeprefix(URL), dict(headers), json.loads(body) if body else None)
        self.seen.append(seen)
        row: Any = self.rows.get(f"{method} {seen.path}", (404, {"detail": "Not Found"}))
        told = row(seen) if callable(row) else row
        content = told[1] if isinstance(told[1], bytes) else json.dumps(told[1]).encode()
        return HttpAnswer(told[0], told[2] if len(told) > 2 else {}, content)

    @property
    def calls(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.seen]


class Fixed:
    """Gives these tokens, one after another, the last one for ever."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)
        self.asked: list[str | None] = []

    async def fetch(self, audience: str | None) -> Token:
        self.asked.append(audience)
        if not self.values:
            raise TokenError("none")
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        return received_token(value, now=AMBIENT.wall(), expires_in=600)


def config(style: str = "contract", **more: Any) -> DropletConfig:
    sections: dict[str, Any] = {
        "droplet": {"id": 14, "name": "Resizer", "steward": "media", "url": ENDPOINT, "secret": "s3cret"},
        "registry": {"url": URL, "style": style, "key": "k3y"},
    }
    for name, values in more.items():
        sections[name] = {**sections.get(name, {}), **values}
    return DropletConfig.model_validate(sections)


@asynccontextmanager
async def calling(
    desk: Desk, made: DropletConfig, *, source: TokenSource | None = None, droplet_id: int | str = 14
) -> AsyncGenerator[tuple[RegistryClient, TokenKeeper]]:
    """The client of that configuration, and its tokens."""
    async with HttpClient(transport_factory=lambda: FunctionTransport(desk.exchange)) as http:
        v2 = make_v2_tokens(made, url=URL, client=http, ambient=AMBIENT)
        keeper = TokenKeeper(source or v2 or Fixed(), ambient=AMBIENT, instrument=Instrument())
        caller = Caller(
            droplet_id=droplet_id,
            instance_id="i-1",
            name="Resizer",
            endpoint=ENDPOINT,
            client=http,
            tokens=keeper,
            ambient=AMBIENT,
            usage=lambda: Usage(cpu_percent=1.5, memory_mb=80.0, disk_percent=40.0),
        )
        yield make_registry(made, caller, url=URL), keeper


def registration(**more: Any) -> Registration:
    return Registration(
        body={
            "id": 14,
            "name": "Resizer",
            "steward": "media",
            "endpoint": ENDPOINT,
            "capabilities": ["resize"],
            "version": "1.2.0",
            "status": "active",
            "phase": "ready",
            "instance_id": "i-1",
            "public_key": "pub",
            "fingerprint": "f" * 64,
            "metadata": {"udc_mesh": "1.0"},
            **more,
        }
    )


def beat(**more: Any) -> Beat:
    told: dict[str, Any] = {
        "droplet_id": 14,
        "instance_id": "0f6e6a8e-9df3-4d64-9a4b-0b1a5c3d2e1f",
        "status": "active",
        "phase": "ready",
        "record_hash": "0" * 16,
    }
    return Beat(**{**told, **more})


def opaque_jwt(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"
