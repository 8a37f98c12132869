"""Bodies as a means of attack: slow, unfinished, or sent by nobody in particular."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract import served
from tests.contract.served import Sample, World, envelope, token

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world

SHORT = {"limits.body_timeout_seconds": 0.2}
BEGUN = b'{"message_type":'
"""A body that goes on, but not now."""


class Exchange:
    """A request whose body begins and never ends, in memory or over a socket."""

    def __init__(self, world: World, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.world, self.method, self.path, self.headers, self.body = world, method, path, headers, body

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and what came of the body; waits for an answer as long as it takes."""
        with anyio.fail_after(8):
            return await (self._in_memory() if self.world.server is None else self._over_a_socket())

    async def _in_memory(self) -> tuple[int, dict[str, str], bytes]:
        incoming = [{"type": "http.request", "body": self.body, "more_body": True}] if self.body else []
        scope = served.http_scope(self.method, self.path, self.headers, http_version="1.1")
        connection = served.Connection(self.world.app, scope, incoming)
        answer = await connection.run()
        return answer.status, dict(answer.headers), answer.body

    async def _over_a_socket(self) -> tuple[int, dict[str, str], bytes]:
        assert self.world.server is not None
        stream = await anyio.connect_tcp("127.0.0.1", self.world.server.port)
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: x", "Content-Length: 1000"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        async with stream:
            await stream.send("\r\n".join([*lines, "", ""]).encode() + self.body)
            got = await stream.receive()
            while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < _length(got):
                got += await stream.receive()
            if b"connection: close" in got.lower():
                with pytest.raises(anyio.EndOfStream):  # and it is
                    await stream.receive()
        head, _, body = got.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        return int(first.split()[1]), headers, body


def _length(got: bytes) -> int:
    for line in got.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def bearing(*permissions: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token(*permissions)}", "content-type": "application/json"}


@pytest.mark.parametrize("body", [b"", BEGUN])
async def test_a_body_that_does_not_come_is_given_up(world: World, body: bytes) -> None:
    droplet = Sample(config=SHORT)
    client = await world.serve(droplet)

    status, headers, answer = await Exchange(world, "POST", "/message", bearing("write"), body).answer()

    error = json.loads(answer)["error"]
    assert (status, error["code"], headers["connection"]) == (408, "DEADLINE_EXCEEDED", "close")
    assert "0.2 s" in error["message"]
    assert droplet.ran == []
    good = await client("POST", "/message", bearer=token("write"), json=envelope())
    assert good.status == 200


@pytest.mark.parametrize("body", [b"", BEGUN])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/message", {}, 401),
        ("POST", "/message", {"authorization": "Basic abc"}, 401),
        ("POST", "/shutdown", {}, 401),
        ("GET", "/state", {}, 401),
        ("POST", "/no-such-path", {}, 404),
        ("PUT", "/message", {}, 405),
    ],
)
async def test_nobodys_body_is_not_waited_for(
    world: World, method: str, path: str, headers: dict[str, str], status: int, body: bytes
) -> None:
    await world.serve(Sample())  # the time limit is half a minute: an answer that comes in time has not waited for it

    got, _, answer = await Exchange(world, method, path, headers, body).answer()

    assert got == status, answer
    assert "trace_id" in json.loads(answer)


async def test_those_who_are_turned_away_are_counted(world: World) -> None:
    client = await world.serve(Sample(config={"security.failed_auth_limit": 3}))
    exchange = Exchange(world, "POST", "/message", {}, BEGUN)
    assert [(await exchange.answer())[0] for _ in range(5)] == [401, 401, 401, 429, 429]
    metrics = (await client("GET", "/metrics", bearer=token("read"))).body.decode()
    assert "429" in metrics


async def test_a_body_in_parts_is_one_body(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    whole = json.dumps(envelope()).encode()
    if world.server is None:
        parts: list[Any] = [{"type": "http.request", "body": bytes([each]), "more_body": True} for each in whole]
        scope = served.http_scope("POST", "/message", bearing("write"))
        connection = served.Connection(world.app, scope, [*parts, {"type": "http.request", "body": b""}])
        assert (await connection.run()).status == 200
    else:
        stream = await anyio.connect_tcp("127.0.0.1", world.server.port)
        async with stream:
            head = f"POST /message HTTP/1.1\r\nHost: x\r\nAuthorization: {bearing('write')['authorization']}\r\n"
            await stream.send(f"{head}Content-Length: {len(whole)}\r\n\r\n".encode())
            for at in range(0, len(whole), 50):
                await stream.send(whole[at : at + 50])
                await anyio.lowlevel.checkpoint()
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")
    assert droplet.ran == ["echo"]
    assert (await client("GET", "/health")).status == 200


async def test_without_authentication_a_body_is_waited_for(world: World) -> None:
    droplet = Sample(config={"security.require_auth": False, **SHORT})
    await world.serve(droplet)
    status, _, _ = await Exchange(world, "POST", "/message", {}, BEGUN).answer()
    assert status == 408
