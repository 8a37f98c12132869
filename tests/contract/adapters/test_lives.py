"""A droplet's life within its application's: start, drain, crash, end. Each test has an application of its own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from anyio.abc import TaskStatus

from tests.contract import served
from tests.contract.adapters.cases import GUARDED
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import (
    ADAPTERS,
    ATTACHED,
    KINDS,
    Host,
    How,
    Kind,
    Place,
    application,
    hosting,
    serving,
)
from tests.contract.adapters.own import APPLICATIONS, ATTACH, Own
from tests.contract.served import Life, MemoryClient, envelope, in_phase, in_status, token, until
from udc import on_start, on_stop
from udc._types import UNSET
from udc._wiring.surroundings import Surroundings
from udc.errors import ConfigError

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_adapter = pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ADAPTERS], ids=str)
attached = pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ATTACHED], ids=str)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    kind: Kind = request.getfixturevalue("kind")
    return kind.backend


class Noting(Everything):
    """Notes its life where its application notes its own."""

    def __init__(self, life: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.life = [] if life is None else life

    @on_start
    async def begin(self) -> None:
        self.life.append("started")

    @on_stop
    async def finish(self) -> None:
        self.life.append("stopped")


async def send(host: Host, action: str = "echo", data: Any = UNSET, **changes: Any) -> served.Answer:
    return await host.client("POST", "/message", bearer=token("write"), json=envelope(action, data, **changes))


async def shut_down(host: Host) -> served.Answer:
    return await host.client("POST", "/shutdown", bearer=token("admin"), json={"delay_seconds": 0})


@every_kind
async def test_a_whole_life(kind: Kind) -> None:
    droplet = Noting()
    async with hosting(kind, droplet) as host:
        assert droplet.life == ["started"]
        assert (await host.client("GET", "/readyz")).status == 200
        assert (await send(host)).json()["data"] == "hi"
        with anyio.fail_after(8):
            await host.stop()
        assert droplet.life == ["started", "stopped"]
        assert host.place.hosted.parts.lifecycle.phase == "stopped"


@every_kind
async def test_shutdown_drains_the_droplet_and_leaves_the_server(kind: Kind) -> None:
    droplet = Noting(config={"limits.grace_seconds": 5})
    answers: list[served.Answer] = []
    async with hosting(kind, droplet) as host, anyio.create_task_group() as tasks:

        async def work() -> None:
            answers.append(await send(host, "wait", {}, message_type="command"))

        tasks.start_soon(work)
        await until(lambda: droplet.ran == ["wait"])
        async with host.stream("/ticks") as streamed:
            assert await anext(streamed.parts) == b"data: 0\n\n"
            assert (await shut_down(host)).status == 200
            await in_phase(host.client, "stopping")
            refused = await send(host)
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "DRAINING", "1")
            assert (await host.client("GET", "/readyz")).status == 503
            assert (await host.client("GET", "/livez")).status == 200
            cancel = {"type": "cancel_trace", "trace_id": "0b9f8f5e-7c2e-4f7e-9d55-000000000000"}
            assert (await send(host, message_type="command", payload=cancel)).json()["data"] == {"cancelled": 0}
            assert droplet.life == ["started"]
            droplet.go_on.set()
            with anyio.fail_after(5):
                assert [part async for part in streamed.parts] == []  # it ends as a stream should
        await in_phase(host.client, "stopped")
        assert [answer.json()["data"] for answer in answers] == ["done"]
        assert droplet.life == ["started", "stopped"]
        # The server goes on, and says that this droplet does not.
        assert (await host.client("GET", "/health")).json()["status"] == "inactive"
        assert (await send(host)).code == "DRAINING"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.server != "granian"], ids=str)
async def test_open_streams_and_hanging_callers_do_not_keep_a_server(kind: Kind) -> None:
    """Trap 6. (granian waits for them, until its own limit: docs/reference/adapters.md.)"""
    droplet = Noting(config={"limits.grace_seconds": 0.2})
    async with hosting(kind, droplet, how=How(grace_seconds=0.2)) as host:

        async def hang() -> None:
            with suppress(Exception):  # however its server ends it
                await host.client("GET", "/patient")

        async with anyio.create_task_group() as tasks:
            async with host.stream("/ticks") as streamed:
                await anext(streamed.parts)
                tasks.start_soon(hang)
                await droplet.waiting.wait()
                with anyio.fail_after(7):
                    await host.stop()
            tasks.cancel_scope.cancel()
    assert droplet.watching == 0


class Crashing(Everything):
    """Its background work fails until it is told to work."""

    failing = True

    def __init__(self) -> None:
        super().__init__()

        @self.on.every(seconds=0.01, jitter=0)
        async def job() -> None:
            if self.failing:
                raise RuntimeError(served.SECRET_TEXT)


@every_kind
async def test_a_crashed_service_shows_until_it_is_back(kind: Kind) -> None:
    """Trap 1."""
    droplet = Crashing()
    async with hosting(kind, droplet) as host:
        await in_status(host.client, "error")
        assert (await host.client("GET", "/readyz")).json()["phase"] == "degraded"
        assert (await send(host)).json()["data"] == "hi"
        droplet.failing = False
        await in_status(host.client, "active")


class Failing(Noting):
    """Its start fails."""

    @on_start
    async def fail(self) -> None:
        raise RuntimeError("the disk is full")


FAILURES: dict[str, tuple[Callable[[list[str]], Noting], str]] = {
    "configuration": (lambda life: Noting(life, config={"droplet.id": -1, "log_level": "LOUD"}), "has 2 problems"),
    "start hook": (Failing, "the disk is full"),
}


async def start_fails(app: Any) -> str:
    """The reason that its server is given; fails when it starts."""
    if isinstance(app, web.Application):
        runner = web.AppRunner(app)
        with pytest.raises((ConfigError, RuntimeError)) as caught:
            await runner.setup()
        await runner.cleanup()
        return str(caught.value)
    life = Life(served_with_state(app))
    with pytest.raises((ConfigError, RuntimeError, ExceptionGroup)):
        await life.run()
    (told,) = life.messages
    assert told["type"] == "lifespan.startup.failed"
    return str(told["message"])


def served_with_state(app: Any) -> Any:
    async def stateful(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {}}, receive, send)

    return stateful


@every_adapter
@pytest.mark.parametrize("name", FAILURES)
async def test_a_start_that_fails_fails_the_applications_start(kind: Kind, name: str) -> None:
    make, reason = FAILURES[name]
    life: list[str] = []
    assert reason in await start_fails(application(kind.adapter, Place(make(life))))
    assert "stopped" not in life


@attached
async def test_a_start_that_fails_lets_the_application_close_what_it_has_opened(kind: Kind) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Failing(own.life)))
    assert "the disk is full" in await start_fails(app)
    assert own.life == ["opened", "started", "closed"]


@attached
async def test_a_bad_configuration_is_told_before_the_application_opens_anything(kind: Kind) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Noting(own.life, config={"droplet.id": -1})))
    await start_fails(app)
    assert "started" not in own.life
    assert own.life in ([], ["opened", "closed"])  # aiohttp has opened its contexts by then


@attached
async def test_an_application_that_cannot_open_starts_no_droplet(kind: Kind) -> None:
    own = Own()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
        raise RuntimeError("no database")
        yield {}

    app = APPLICATIONS[kind.adapter](own, lifespan)
    ATTACH[kind.adapter](app, Place(Noting(own.life)))
    assert "no database" in await start_fails(app)
    assert own.life == []


@attached
async def test_the_droplets_life_lies_within_the_applications(kind: Kind) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Noting(own.life)))
    async with serving(kind, app) as host:
        assert own.life == ["opened", "started"]
        await host.stop()
    assert own.life == ["opened", "started", "stopped", "closed"]


@attached
async def test_shutdown_leaves_the_applications_own_routes(kind: Kind) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Noting(own.life)))
    async with serving(kind, app) as host:
        await shut_down(host)
        await in_phase(host.client, "stopped")
        assert (await host.client("GET", "/mine")).status == 200
        assert own.life == ["opened", "started", "stopped"]
        guarded = await host.client("GET", "/guarded", bearer=token("write"))
        assert guarded.status == 200  # tokens can still be checked
        asked = await host.client("GET", "/asks")
        assert (asked.status, asked.code) == (503, "NOT_READY")


class Hooked:
    """Has a droplet's life go wrong."""

    def __init__(self, hosted: Any) -> None:
        self._hosted = hosted
        self.crash = anyio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hosted, name)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._hosted.serve)
            task_status.started()
            await self.crash.wait()
            raise RuntimeError(served.SECRET_TEXT)


class HookedPlace(Place):
    def _attached(self, *, alone: bool) -> Any:
        self.hooked = Hooked(super()._attached(alone=alone))
        return self.hooked


@attached
async def test_a_crash_never_takes_the_application_down(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    place = HookedPlace(Noting(own.life))
    ATTACH[kind.adapter](app, place)
    async with serving(kind, app) as host:
        place.hooked.crash.set()
        await until(lambda: any("has crashed" in record.message for record in caplog.records))
        assert (await host.client("GET", "/mine")).status == 200
        health = await host.client("GET", "/health")
        assert (health.status, health.json()["status"]) == (200, "inactive")
        assert (await send(host)).status == 503
        await host.stop()
    assert own.life[-1] == "closed"
    (record,) = [record for record in caplog.records if record.name == "udc.host"]
    assert record.levelno == logging.CRITICAL
    assert record.droplet == "HookedPlace"  # type: ignore[attr-defined]  # put there by `extra`


class Stubborn(Noting):
    """Its stop fails."""

    @on_stop
    async def fail(self) -> None:
        raise RuntimeError("still in use")


@attached
async def test_a_stop_that_fails_is_told_and_the_application_ends_as_it_should(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Stubborn(own.life)))
    async with serving(kind, app) as host:
        await host.stop()
    assert own.life == ["opened", "started", "stopped", "closed"]
    assert any("stopped, but not as it should" in record.message for record in caplog.records)


@pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ADAPTERS[:3]], ids=str)
async def test_an_application_lives_more_than_once(kind: Kind) -> None:
    droplet = Noting()
    app = application(kind.adapter, Place(droplet))
    seen = set()
    for _ in range(2):
        async with serving(kind, app) as host:
            seen.add((await host.client("GET", "/livez")).json()["instance_id"])
            assert (await send(host)).status == 200
            await host.stop()
    assert len(seen) == 2
    assert droplet.life == ["started", "stopped"] * 2


@pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ("fastapi", "starlette")], ids=str)
async def test_a_lifespan_may_be_opened_in_one_task_and_closed_in_another(kind: Kind) -> None:
    """Trap 4."""
    droplet = Noting()
    app = application(kind.adapter, Place(droplet))
    context = app.router.lifespan_context(app)
    await asyncio.create_task(context.__aenter__())
    assert droplet.life == ["started"]
    await asyncio.create_task(context.__aexit__(None, None, None))
    assert droplet.life == ["started", "stopped"]


@pytest.mark.parametrize("kind", [Kind("aiohttp", "memory")], ids=str)
async def test_a_runner_may_be_set_up_in_one_task_and_cleaned_up_in_another(kind: Kind) -> None:
    """Trap 4."""
    droplet = Noting()
    runner = web.AppRunner(application("aiohttp", Place(droplet)))
    await asyncio.create_task(runner.setup())
    assert droplet.life == ["started"]
    await asyncio.create_task(runner.cleanup())
    assert droplet.life == ["started", "stopped"]


@pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ("fastapi", "starlette")], ids=str)
async def test_without_a_lifespan_the_remedy_is_told(kind: Kind) -> None:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    ATTACH[kind.adapter](app, Place(Noting(own.life)))
    client = MemoryClient(served_with_state(app))
    for path in ("/health", "/guarded", "/asks"):
        answer = await client("GET", path, bearer=token("admin"))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "NOT_READY", "1"), path
        assert "lifespan" in answer.json()["error"]["hint"]
        assert GUARDED.items() <= answer.headers.items()
    assert (await client("GET", "/own-error")).status == 418


@pytest.mark.parametrize("kind", [Kind("aiohttp", "memory")], ids=str)
async def test_before_the_start_it_refuses_too(kind: Kind) -> None:
    app = web.Application()
    ATTACH[kind.adapter](app, Place(Noting([])))
    app.freeze()
    answer = await app._handle(make_mocked_request("GET", "/health", app=app))
    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "NOT_READY")
    assert GUARDED.items() <= {name.lower(): value for name, value in answer.headers.items()}.items()


@attached
async def test_a_cancelled_start_leaves_nothing_behind(kind: Kind) -> None:
    class Slow(Noting):
        @on_start
        async def slow(self) -> None:
            self.waiting.set()
            await anyio.sleep_forever()

    droplet = Slow()
    place = Place(droplet)
    app = application(kind.adapter, place)
    async with anyio.create_task_group() as tasks:

        async def start() -> None:
            if isinstance(app, web.Application):
                await web.AppRunner(app).setup()
            else:
                await Life(served_with_state(app)).run()

        tasks.start_soon(start)
        await droplet.waiting.wait()
        tasks.cancel_scope.cancel()
    assert place.hosted is not None
    assert place.hosted.parts.lifecycle.phase == "failed"


@pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ("fastapi", "starlette")], ids=str)
async def test_a_cancelled_application_gives_its_droplet_no_grace(kind: Kind) -> None:
    droplet = Noting(config={"limits.grace_seconds": 60})
    app = application(kind.adapter, Place(droplet))
    hosts: list[Host] = []

    async def live() -> None:
        async with serving(kind, app) as host:
            hosts.append(host)
            await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as callers:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(live)
                await until(lambda: bool(hosts))
                callers.start_soon(_ask, hosts[0], "wait")
                await until(lambda: droplet.ran == ["wait"])
                tasks.cancel_scope.cancel()
            assert droplet.life == ["started", "stopped"]
            droplet.go_on.set()


async def _ask(host: Host, action: str) -> None:
    with suppress(Exception):  # its server has gone
        await send(host, action, {}, message_type="command")


@attached
async def test_registration_waits_until_the_droplet_is_reached_at_its_own_address(kind: Kind) -> None:
    """The port of somebody else's server opens after the start (contract section 8)."""
    from udc._http import HttpAnswer, HttpClient
    from udc._http.memory import FunctionTransport

    asked: list[str] = []
    open_: list[Host] = []

    async def exchange(method: str, url: str, headers: Any, body: bytes) -> HttpAnswer:
        asked.append(f"{method} {url}")
        if url.startswith("http://registry.test"):
            return HttpAnswer(status=200 if "/register" in url else 404, headers={}, body=b"{}")
        if not open_:
            raise ConnectionRefusedError("the port is not open yet")
        got = await open_[0].client(method, url.removeprefix("http://own.test"))
        return HttpAnswer(status=got.status, headers=dict(got.headers), body=got.body)

    def client() -> HttpClient:
        return HttpClient(transport_factory=lambda: FunctionTransport(exchange))

    droplet = Noting(
        config={
            "droplet.url": "http://own.test/sample",
            "droplet.secret": "s3cret",
            "registry.url": "http://registry.test",
            "security.insecure_hosts": ["registry.test", "own.test"],
        }
    )
    place = Place(droplet, Surroundings(sample_process=False, make_client=client))
    async with serving(kind, application(kind.adapter, place, "/sample")) as host:
        await until(lambda: "GET http://own.test/sample/livez" in asked)
        assert "POST http://registry.test/register" not in asked
        open_.append(host)
        await until(lambda: "POST http://registry.test/register" in asked)
        place.hosted.request_stop(at_once=True)  # type: ignore[union-attr]  # it has begun


@pytest.mark.parametrize(
    ("prefix", "root_path", "path"),
    [
        ("", "/api", "/api/health"),
        ("", "/api", "/health"),
        ("", "/api/", "/api/health"),
        ("/sample", "", "/sample/health"),
        ("/sample", "/api", "/api/sample/health"),
        ("/sample", "/api", "/sample/health"),
        ("/deep/down", "/api", "/api/deep/down/health"),
    ],
)
@pytest.mark.parametrize("kind", [Kind(adapter, "memory") for adapter in ("fastapi", "starlette")], ids=str)
async def test_prefixes_and_root_paths_go_together(kind: Kind, prefix: str, root_path: str, path: str) -> None:
    droplet = Noting()
    async with hosting(kind, droplet, prefix) as host:
        connection = served.Connection(
            host.app, served.http_scope("GET", path, root_path=root_path), [{"type": "http.request"}]
        )
        assert (await connection.run()).json()["id"] == served.ME


@attached
async def test_root_paths_stay_when_they_are_asked_for(kind: Kind) -> None:
    droplet = Noting()
    app = APPLICATIONS[kind.adapter](Own())
    place = Place(droplet)
    ATTACH[kind.adapter](app, place, "/sample", root_paths=True)
    async with serving(kind, app) as host:
        for path in ("/health", "/sample/health"):
            assert (await host.client("GET", path)).json()["id"] == served.ME
        for path in ("/message", "/sample/message"):
            answer = await host.client("POST", path, bearer=token("write"), json=envelope())
            assert answer.json()["data"] == "hi"


@attached
async def test_with_a_prefix_the_root_paths_are_the_applications(kind: Kind) -> None:
    async with hosting(kind, Noting(), "/sample") as host:
        for path in ("/health", "/livez", "/message", "/state"):
            assert (await host.client("GET", path)).status == 404, path
        assert (await host.client("GET", "/sample/livez")).status == 200
