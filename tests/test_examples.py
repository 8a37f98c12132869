"""The examples do what they say: in memory, and as processes over sockets from a directory of their own."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from examples.two_droplets.billing import Billing
from examples.two_droplets.resizer import Resizer
from fastapi.testclient import TestClient

from tests.contract.served import key, token
from udc import Droplet, PeerError
from udc.testing import mesh

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.timeout(60)
"""Whole processes are started here, each of which imports everything: slow where many share a machine."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a shell in a strange directory would give, and settings there that are none of the example's business."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "UDC_DATA": str(tmp_path / "data"),
    }


def run(module: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


class TestTwoDropletsInMemory:
    async def test_resizing_is_charged_until_the_balance_is_spent(self) -> None:
        async with mesh(Resizer(), Billing()) as world:
            job = {"image": "cat.png", "steward": "ada"}
            assert await world.client.query("Resizer", "quota", {"steward": "ada"}) == 3
            for left in (2, 1, 0):
                assert (await world.client.command("Resizer", "resize", job))["images_left"] == left
            with pytest.raises(PeerError, match="BALANCE_SPENT"):
                await world.client.command("Billing", "charge", {"steward": "ada"})

    async def test_a_lost_answer_charges_only_once(self) -> None:
        async with mesh(Resizer(), Billing()) as world:
            world.faults.lose_answers("Billing")
            await world.client.command("Resizer", "resize", {"image": "cat.png", "steward": "ada"})
            assert await world.client.query("Resizer", "quota", {"steward": "ada"}) == 2

    async def test_resizer_says_that_billing_is_away(self) -> None:
        async with mesh(Resizer(), Billing()) as world:
            world.faults.crash("Billing")
            with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
                await world.client.query("Resizer", "quota", {"steward": "ada"})


class TestTwoDroplets:
    def test_it_shows_what_it_promises_and_leaves_nothing(self, environment: dict[str, str], tmp_path: Path) -> None:
        strays = {"UDC_SERVER__PORT": "none", "DROPLET_ID": "none", "REGISTRY_URL": "none", "PORT": "none"}
        done = run("examples.two_droplets", {**environment, **strays}, tmp_path)

        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for line in (
            r"  Billing  droplet 15  http://127\.0\.0\.1:\d+  active",
            r"   quota  -> 200  3",
            r"   resize -> 200  .*\(duplicate\)",
            r"   quota  -> 200  2",
            r"   quota  -> 401  UNAUTHORIZED: .*",
        ):
            assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout
        assert list(tmp_path.iterdir()) == []
        for port in re.findall(r"http://127\.0\.0\.1:(\d+)", done.stdout):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(port))) != 0

    @pytest.mark.parametrize(
        ("was", "instead", "told"),
        [
            pytest.param('{"ada": 3}', '{"ada": 4}', "ada should have 3 images", id="another answer"),
            pytest.param(
                'id, name, steward = 15, "Billing"', 'id, name, steward = 15, ""', "droplet.name", id="no start"
            ),
        ],
    )
    def test_it_fails_when_anything_is_otherwise(
        self, environment: dict[str, str], tmp_path: Path, was: str, instead: str, told: str
    ) -> None:
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        billing = tmp_path / "examples" / "two_droplets" / "billing.py"
        source = billing.read_text("utf-8")
        assert was in source
        billing.write_text(source.replace(was, instead), "utf-8")
        done = run("examples.two_droplets", {**environment, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}, tmp_path)

        assert done.returncode != 0
        assert told in done.stderr


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The bookshop, in memory and alone; imported anew, since an application that has served takes no droplet."""
    for name in ("shop", "shelf"):
        monkeypatch.delitem(sys.modules, f"examples.fastapi_host.{name}", raising=False)
    monkeypatch.setenv("UDC_SECURITY__PUBLIC_KEY", key().public_pem)
    monkeypatch.setenv("DROPLET_URL", "http://127.0.0.1:8061/stock")
    monkeypatch.setenv("UDC_PEERS", '[{"id": 62, "name": "Postage", "endpoint": "http://127.0.0.1:9", "ours": true}]')
    with TestClient(importlib.import_module("examples.fastapi_host.shop").app) as client:
        yield client


class TestFastApiHostInMemory:
    def test_what_was_there_works_as_before(self, shop: TestClient) -> None:
        listed = shop.get("/books")
        assert (listed.json(), listed.headers["x-shop"]) == ({"dune": 2}, "The Worm")
        assert shop.get("/nowhere").json() == {"detail": "Not Found"}

    def test_the_droplet_stands_in_front_of_it(self, shop: TestClient) -> None:
        health = shop.get("/stock/health")
        assert (health.json()["name"], "x-shop" in health.headers) == ("Stock", False)

    @pytest.mark.parametrize(("permissions", "status"), [((), 403), (("read",), 403), (("write",), 200)])
    def test_who_may_bring_books(self, shop: TestClient, permissions: tuple[str, ...], status: int) -> None:
        answer = shop.post("/books/emma?copies=3", headers={"Authorization": f"Bearer {token(*permissions)}"})
        assert answer.status_code == status
        assert shop.get("/books").json().get("emma", 0) == (3 if status == 200 else 0)

    def test_without_postage_nothing_is_sold(self, shop: TestClient) -> None:
        answer = shop.post("/orders/dune")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DEPENDENCY_UNAVAILABLE")
        assert shop.get("/books").json() == {"dune": 2}


class TestFastApiHost:
    def test_it_shows_what_it_promises_and_leaves_nothing(self, environment: dict[str, str], tmp_path: Path) -> None:
        done = run("examples.fastapi_host", {**environment, "DROPLET_ID": "none", "PORT": "none"}, tmp_path)

        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for line in (
            r'   POST /orders/dune  -> 200  {"title": "dune", "left": 1, "cents": 1350}',
            r"   POST /books/dune   -> 401  UNAUTHORIZED: .*",
            r"   reserve            -> 200  1",
            r'   POST /orders/dune  -> 410  {"sorry": "dune is sold out"}',
            r"   reserve            -> 409  SOLD_OUT: dune is sold out",
            r"   /stock/message",
        ):
            assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout
        assert list(tmp_path.iterdir()) == []

    def test_it_fails_when_anything_is_otherwise(self, environment: dict[str, str], tmp_path: Path) -> None:
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        postage = tmp_path / "examples" / "fastapi_host" / "postage.py"
        postage.write_text(postage.read_text("utf-8").replace("return 250", "return 251"), "utf-8")
        done = run("examples.fastapi_host", {**environment, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}, tmp_path)

        assert done.returncode != 0
        assert 'POST /orders/dune should give 200 and {"title": "dune", "left": 1, "cents": 1350}' in done.stderr


@contextmanager
def hello(environment: dict[str, str], cwd: Path) -> Iterator[httpx2.Client]:
    """Hello as a stranger starts it, on a port of its own; a connection waits until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "examples.hello:app", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=8) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=8)


def curl(client: httpx2.Client, docstring: str, token: str) -> Any:
    """Send what the example's docstring has curl send."""
    body = re.search(r"-d '(\{.*\})'", docstring)
    assert body
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return client.post("/message", content=body[1], headers=headers)


@pytest.fixture
def hello_droplet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Droplet]:
    """The class, imported anew: importing the example makes its key."""
    monkeypatch.setenv("UDC_DATA", str(tmp_path))
    monkeypatch.delitem(sys.modules, "examples.hello", raising=False)
    found: type[Droplet] = importlib.import_module("examples.hello").Hello
    return found


class TestHelloInMemory:
    async def test_it_greets(self, hello_droplet: type[Droplet]) -> None:
        async with mesh(hello_droplet()) as world:
            assert await world.client.query("Hello", "greet", {"who": "Ada"}) == "Hello, Ada!"
            assert await world.client.query("Hello", "greet") == "Hello, world!"


class TestHello:
    def test_it_greets_whoever_has_a_token_of_this_machine(self, environment: dict[str, str], tmp_path: Path) -> None:
        source = (ROOT / "examples" / "hello" / "__init__.py").read_text("utf-8")
        with hello(environment, tmp_path) as client:
            assert client.get("/health").json()["name"] == "Hello"
            token = run("examples.hello.token", environment, tmp_path).stdout.strip()
            assert curl(client, source, token).json()["data"] == "Hello, Ada!"
            assert curl(client, source, "nonsense").status_code == 401
            elsewhere = {**environment, "UDC_DATA": str(tmp_path / "elsewhere")}
            stranger = run("examples.hello.token", elsewhere, tmp_path).stdout.strip()
            assert curl(client, source, stranger).status_code == 401

    def test_the_key_is_for_its_owner_only_and_stays(self, environment: dict[str, str], tmp_path: Path) -> None:
        run("examples.hello.token", environment, tmp_path)
        key = tmp_path / "data" / "hello.pem"
        made = key.read_bytes()
        run("examples.hello.token", environment, tmp_path)

        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700
        assert key.read_bytes() == made
