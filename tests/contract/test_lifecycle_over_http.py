"""Start, phases, reload, shutdown and the emergency stop, as seen from outside; traps 1, 2, 6, 18."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.contract import served
from tests.contract.served import (
    Connection,
    Life,
    Placed,
    Sample,
    World,
    envelope,
    http_scope,
    in_phase,
    in_status,
    token,
    until,
)
from udc import HttpRequest, HttpResponse, endpoint, on_start, on_stop
from udc._wiring.surroundings import Surroundings
from udc.asgi import App

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world


def around(**changes: Any) -> Surroundings:
    return Surroundings(sample_process=False, **changes)


async def post(client: served.Client, path: str, body: object, *permissions: str) -> served.Answer:
    return await client("POST", path, bearer=token(*(permissions or ("admin",))), json=body)


class Slow(Sample):
    """Starts and stops when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.starting, self.may_start = anyio.Event(), anyio.Event()
        self.stopped = False

    @on_start
    async def begin(self) -> None:
        self.starting.set()
        await self.may_start.wait()

    @on_stop
    async def finish(self) -> None:
        self.stopped = True


async def test_the_phases_as_the_probes_show_them(world: World) -> None:
    droplet = Slow()
    app = App(Placed(droplet, around()))
    client: served.Client = served.MemoryClient(app)
    if world.server is not None:
        world.server.switch.app = app
        client = served.SocketClient(world.server.client)
    assert (await client("GET", "/readyz")).code == "NOT_READY"  # no lifespan yet
    life = Life(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(life.run)
        await droplet.starting.wait()
        ready = await client("GET", "/readyz")
        assert (ready.status, ready.json()["phase"], ready.json()["reasons"]) == (
            503,
            "initializing",
            ["phase is initializing"],
        )
        assert (await client("GET", "/livez")).status == 200
        assert (await client("GET", "/health")).json()["status"] == "inactive"
        refused = await post(client, "/message", envelope(), "write")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "NOT_READY", "1")
        droplet.may_start.set()
        await life.started.wait()
        assert (await client("GET", "/readyz")).status == 200
        assert (await client("GET", "/health")).json()["status"] == "active"

        async def work() -> None:
            answers.append(await post(client, "/message", envelope("wait", {}, message_type="command"), "write"))

        answers: list[served.Answer] = []
        tasks.start_soon(work)
        await until(lambda: droplet.ran == ["wait"])
        life.stop.set()
        await in_phase(client, "stopping")
        draining = await post(client, "/message", envelope(), "write")
        assert (draining.status, draining.code) == (503, "DRAINING")
        for path, body in (("/task", {"id": "a", "type": "work"}), ("/handle-chat", {"message": "x"})):
            assert (await post(client, path, body)).code == "DRAINING"
        # Cancels are still taken.
        cancel = envelope("cancel_trace", {}, message_type="command")
        cancel["payload"] = {"type": "cancel_trace", "trace_id": "0b9f8f5e-7c2e-4f7e-9d55-000000000000"}
        assert (await post(client, "/message", cancel, "write")).json()["data"] == {"cancelled": 0}
        assert (await client("GET", "/health")).json()["status"] == "inactive"
        assert not droplet.stopped
        droplet.go_on.set()
    assert [answer.json()["data"] for answer in answers] == ["done"]
    assert droplet.stopped
    assert life.messages[-1] == {"type": "lifespan.shutdown.complete"}
    assert (await client("GET", "/livez")).status == 200
    assert (await post(client, "/message", envelope(), "write")).code == "DRAINING"


async def test_shutdown_answers_first_and_then_drains(world: World) -> None:
    droplet = Slow()
    droplet.may_start.set()
    client = await world.serve(droplet)
    answer = await post(client, "/shutdown", {"delay_seconds": 0, "reason": "an upgrade"})
    body = answer.json()
    assert (answer.status, set(body)) == (200, {"shutdown_scheduled", "delay_seconds", "reason", "scheduled_at"})
    assert (body["shutdown_scheduled"], body["delay_seconds"], body["reason"]) == (True, 0, "an upgrade")
    await in_phase(client, "stopped")
    assert droplet.stopped
    # The host goes on: only the droplet has stopped.
    assert (await post(client, "/message", envelope(), "write")).code == "DRAINING"
    assert (await client("GET", "/health")).status == 200
    rows = (await client("GET", "/logs", bearer=token("read"))).json()["logs"]
    assert any("an upgrade" in row["message"] for row in rows)


async def test_a_shutdown_later_leaves_the_droplet_at_work_until_then(world: World) -> None:
    client = await world.serve(Sample())
    assert (await post(client, "/shutdown", {"delay_seconds": 300})).status == 200
    assert (await post(client, "/message", envelope(), "write")).json()["data"] == "hi"


async def test_the_emergency_stop_is_off_unless_enabled(world: World) -> None:
    ended: list[bool] = []
    client = await world.serve(Sample(), around(exit_process=lambda: ended.append(True)))
    answer = await post(client, "/emergency-stop", {})
    assert (answer.status, answer.code) == (404, "NOT_FOUND")
    assert ended == []


async def test_the_emergency_stop_answers_and_ends_the_process(world: World) -> None:
    ended: list[bool] = []
    droplet = Sample(config={"security.emergency_stop": True})
    client = await world.serve(droplet, around(exit_process=lambda: ended.append(True)))
    assert (await post(client, "/emergency-stop", {}, "write")).status == 403
    assert ended == []
    answer = await post(client, "/emergency-stop", {})
    assert answer.json()["stopping"] is True
    await until(lambda: bool(ended))
    assert ended == [True]


async def test_the_emergency_stop_comes_also_while_stopping_and_when_nobody_waits(world: World) -> None:
    ended: list[bool] = []
    droplet = Sample(config={"security.emergency_stop": True, "limits.grace_seconds": 20})
    client = await world.serve(droplet, around(exit_process=lambda: ended.append(True)))
    headers = {"authorization": f"Bearer {token('admin')}", "content-type": "application/json"}

    async def work() -> None:
        await post(client, "/message", envelope("wait", {}, message_type="command"), "write")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await until(lambda: droplet.ran == ["wait"])
        world.lives[0].stop.set()
        connection = Connection(world.app, http_scope("POST", "/emergency-stop", headers), [{"type": "http.request"}])
        connection.left.set()
        await in_phase(client, "stopping")
        await connection.run()
        assert ended == [True]
        droplet.go_on.set()


class TestReload:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "conf"
        folder.mkdir()
        served.config_file(folder, limits={"in_flight": 5})
        return folder

    async def start(self, world: World, folder: Path, **options: Any) -> served.Client:
        droplet = Sample(config={"config_dir": str(folder), "security.token": token("write"), **options})
        return await world.serve(droplet, around(config_file=folder / "udc_config.json"))

    async def test_peers_and_limits_come_into_use(self, world: World, folder: Path) -> None:
        client = await self.start(world, folder)
        asked = {"target": "Dead", "message_type": "event", "payload": {"event_type": "x"}, "retry_count": 0}
        assert (await post(client, "/send", asked)).status == 404
        served.config_file(folder, limits={"in_flight": 5, "max_body_bytes": 1000}, peers=served.dead_peer())
        answer = await post(client, "/reload-config", {})
        body = answer.json()
        assert (answer.status, body["reloaded"], body["changed"]) == (200, True, ["limits.max_body_bytes", "peers"])
        assert set(body) == {"reloaded", "changed", "timestamp"}
        assert (await post(client, "/send", asked)).json()["sent"] is False
        assert (await post(client, "/message", envelope("echo", {"text": "x" * 1000}), "write")).status == 413
        events = (await client("GET", "/events?event_type=config_reloaded", bearer=token("read"))).json()["events"]
        assert events[0]["detail"]["changed"] == ["limits.max_body_bytes", "peers"]
        proof = (await client("GET", "/proof", bearer=token("read"))).json()
        assert proof["action"] == "reload-config"

    async def test_nothing_new_changes_nothing(self, world: World, folder: Path) -> None:
        client = await self.start(world, folder)
        assert (await post(client, "/reload-config", {})).json()["changed"] == []
        assert (await client("POST", "/reload-config", bearer=token("admin"))).status == 200

    @pytest.mark.parametrize(
        "content",
        [
            "{broken",
            "[]",
            '{"limits": {"in_flight": 0}}',
            '{"limits": {"in_flight": "many"}, "log_level": "LOUD"}',
            '{"peers": [{"id": 15, "endpoint": "http://a.example"}, {"id": 15, "endpoint": "http://b.example"}]}',
            '{"peers": [{"endpoint": "http://a.example"}]}',
            '{"droplet": {"steward": ""}, "limits": {"in_flight": 3}, "server": {"port": 1}}',
        ],
    )
    async def test_an_invalid_file_changes_nothing(self, world: World, folder: Path, content: str) -> None:
        client = await self.start(world, folder)
        before = world.placed[0].hosted.parts.settings.config
        (folder / "udc_config.json").write_text(content)
        answer = await post(client, "/reload-config", {})
        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
        assert answer.json()["error"]["details"]["problems"]
        assert world.placed[0].hosted.parts.settings.config is before
        assert str(folder).encode() not in answer.body
        assert (await client("GET", "/proof", bearer=token("read"))).status == 404

    @pytest.mark.parametrize(
        "path", ["../other.json", "/etc/passwd", "sub/../../other.json", "link.json", "dir/other.json"]
    )
    async def test_a_path_outside_the_folder_is_refused(self, world: World, folder: Path, path: str) -> None:
        """Trap 42."""
        outside = folder.parent / "other.json"
        outside.write_text('{"limits": {"in_flight": 1}}')
        (folder / "link.json").symlink_to(outside)
        (folder / "dir").symlink_to(folder.parent)
        client = await self.start(world, folder)
        answer = await post(client, "/reload-config", {"config_path": path})
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
        assert b"passwd" not in answer.body
        assert world.placed[0].hosted.parts.settings.config.limits.in_flight == 5

    @pytest.mark.parametrize("path", ["nowhere.json", "a\x00b", "x" * 5000, ".", "loop.json"])
    async def test_a_path_that_cannot_be_read_is_the_callers_mistake(
        self, world: World, folder: Path, path: str
    ) -> None:
        (folder / "loop.json").symlink_to(folder / "loop.json")
        client = await self.start(world, folder)
        answer = await post(client, "/reload-config", {"config_path": path})
        assert answer.status in (400, 403), answer.body
        assert str(folder).encode() not in answer.body

    async def test_another_file_of_the_folder(self, world: World, folder: Path) -> None:
        (folder / "other.json").write_text('{"limits": {"in_flight": 1}, "log_level": "DEBUG"}')
        client = await self.start(world, folder)
        answer = await post(client, "/reload-config", {"config_path": "other.json"})
        assert answer.json()["changed"] == ["limits.in_flight", "log_level"]
        assert world.placed[0].hosted.parts.dispatcher.in_flight.limit == 1


class Streaming(Sample):
    """Has a stream that never ends by itself."""

    @endpoint("GET", "/forever", "public")
    async def forever(self, _: HttpRequest) -> HttpResponse:
        async def parts() -> Any:
            try:
                yield b"first"
                self.go_on.set()
                await anyio.sleep_forever()
            finally:
                self.closed.set()

        return HttpResponse(body=parts(), media_type="text/event-stream")


@served.socket_only
class TestUnderUvicorn:
    """A server of its own, whose lifespan starts and stops the droplet."""

    async def test_a_whole_life(self, world: World) -> None:
        droplet = Slow()
        droplet.may_start.set()
        async with served.uvicorn_serving(App(Placed(droplet, around())), lifespan="on") as (_, port):
            async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
                assert (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        assert droplet.stopped

    async def test_a_prefix(self, world: World) -> None:
        app = App(Placed(Sample(), around()))
        async with served.uvicorn_serving(app, lifespan="on", root_path="/api") as (_, port):
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False, trust_env=False) as client:
                assert (await client.get("/health")).status_code == 200

    async def test_an_open_stream_does_not_keep_the_server_alive(self, world: World) -> None:
        """Trap 6: with the server's own limit for open connections."""
        droplet = Streaming()
        async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
            with anyio.fail_after(5):
                async with served.uvicorn_serving(
                    App(Placed(droplet, around())), lifespan="on", timeout_graceful_shutdown=0
                ) as (_, port):
                    stream = client.stream("GET", f"http://127.0.0.1:{port}/forever")
                    answer = await stream.__aenter__()
                    assert answer.status_code == 200
                await droplet.closed.wait()

    async def test_a_failed_start_serves_nothing(self, world: World) -> None:
        import uvicorn

        config = uvicorn.Config(App(Sample(config={"droplet.id": -1})), port=0, lifespan="on", log_config=None)
        server = uvicorn.Server(config)
        with pytest.raises(SystemExit):
            await server._serve()
        assert not server.started


async def test_a_stream_ends_when_the_droplet_stops(world: World) -> None:
    """Trap 6 again: /shutdown under somebody else's server must not leave streams behind."""
    droplet = Streaming()
    client = await world.serve(droplet)
    async with anyio.create_task_group() as tasks:
        if world.server is None:
            connection = Connection(world.app, http_scope("GET", "/forever"), [{"type": "http.request"}])
            tasks.start_soon(connection.run)
            await connection.until_parts(1)
        else:

            async def listen() -> None:
                assert world.server is not None
                await world.server.client.get("/forever")

            tasks.start_soon(listen)
            await droplet.go_on.wait()
        await post(client, "/shutdown", {"delay_seconds": 0})
        with anyio.fail_after(5):
            await droplet.closed.wait()


class Crashing(Sample):
    """Its background work fails until it is told to work."""

    broken = True

    def __init__(self) -> None:
        super().__init__()

        @self.on.every(seconds=0.01, jitter=0)
        async def job() -> None:
            if self.broken:
                raise RuntimeError(served.SECRET_TEXT)


async def test_a_crashed_service_shows_in_health_until_it_is_back(world: World) -> None:
    """Trap 1: it goes on serving, and says that something is wrong."""
    droplet = Crashing()
    client = await world.serve(droplet)
    await in_status(client, "error")
    ready = await client("GET", "/readyz")
    assert (ready.status, ready.json()["phase"], len(ready.json()["reasons"])) == (200, "degraded", 1)
    assert (await client("GET", "/health")).json()["ok"] is False
    assert (await post(client, "/message", envelope(), "write")).json()["data"] == "hi"
    droplet.broken = False
    await in_status(client, "active")
    assert json.loads((await client("GET", "/readyz")).body)["reasons"] == []
