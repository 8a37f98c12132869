"""What a droplet that only serves does without: each of these would take memory of every droplet on a machine.

A process of its own puts the droplet through its start and one message with a token, over bare ASGI, and says what it
has loaded by then. Servers load more, which is theirs to know.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from udc.identity.keys import SigningKey

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = """
import json, sys
import anyio
from udc import Context, Droplet, query
from udc.asgi import app

class Greeter(Droplet):
    id, name, steward = 21, "Greeter", "tests"

    @query("greet")
    async def greet(self, who: str, ctx: Context) -> str:
        return f"Hello {who}"

async def main(token, config):
    served = app(Greeter(config={"droplet.url": "http://127.0.0.1:8000", **config}))
    to_life, to_say = anyio.create_memory_object_stream(8), anyio.create_memory_object_stream(8)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(served, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}},
                         to_life[1].receive, to_say[0].send)
        await to_life[0].send({"type": "lifespan.startup"})
        said = await to_say[1].receive()
        assert said == {"type": "lifespan.startup.complete"}, said
        print(json.dumps({"answer": await asked(served, token), "modules": sorted(sys.modules)}))
        await to_life[0].send({"type": "lifespan.shutdown"})

async def asked(served, token):
    body = json.dumps({"trace_id": "5e1b9f4e-1d5f-4c7d-9b5a-0d5f2f6c7a10", "source": 77, "target": 21,
                       "message_type": "query", "payload": {"type": "greet", "data": {"who": "Ada"}},
                       "timestamp": "2026-11-20T10:00:00.000Z"}).encode()
    headers = [(b"authorization", b"Bearer " + token.encode()), (b"content-type", b"application/json"),
               (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": "/message", "raw_path": b"/message", "query_string": b"", "root_path": "", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)}
    answer = b""
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        nonlocal answer
        answer += message.get("body", b"")
    await served(scope, receive, send)
    return json.loads(answer)

anyio.run(main, sys.argv[1], json.loads(sys.argv[2]))
"""
IDLE = {
    # Who calls nobody.
    *("httpx2", "httpcore2", "idna", "h11", "http.cookiejar", "tenacity", "udc._http.lines"),
    # Who keeps nothing on a disk, and whose system tells what the process uses.
    *("sqlite3", "_sqlite3", "udc._sqlite"),
    *(("psutil",) if sys.platform == "linux" else ()),
    # Who has no Registry and no Orchestrator, and so speaks no style of them.
    *(f"udc.clients.{style}" for style in ("contract", "plain", "v2", "sqlite", "services")),
    *("udc.clients.orchestrator", "udc.clients.orchestrator_polled", "udc._wiring.polled", "udc.services.polling"),
    # What only products need.
    *("udc.testing", "udc.mesh", "udc.cli", "udc._serve", "typer", "click", "rich", "pytest"),
    *("uvicorn", "fastapi", "starlette", "aiohttp", "trio", "pydantic_settings", "dotenv", "difflib"),
}
"""What must not be loaded."""


def loaded(folder: Path, **config: object) -> set[str]:
    key = SigningKey.generate()
    now = int(time.time())
    claims = {"iss": "registry.fullpotential.ai", "aud": "fullpotential.droplets", "sub": "droplet-77"}
    token = key.sign({**claims, "droplet_id": 77, "permissions": ["write"], "iat": now, "exp": now + 600})
    environment = {
        "PYTHONPATH": str(SOURCE),
        "PATH": os.environ.get("PATH", ""),
        "UDC_SECURITY__PUBLIC_KEY": key.public_pem,
    }
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, token, json.dumps(config)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["answer"]["data"] == "Hello Ada"
    return set(told["modules"])


def test_a_droplet_that_only_serves_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    modules = loaded(tmp_path)
    assert modules & IDLE == set()
    assert {"pydantic", "jwt", "cryptography", "udc._wiring.compose"} <= modules


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        ({"peers": [{"id": 5, "endpoint": "http://127.0.0.1:9"}]}, {"httpx2", "udc._http.lines"}),
        ({"registry.url": "http://127.0.0.1:9"}, {"httpx2", "sqlite3", "udc.clients.contract"}),
        ({"orchestrator.style": "v2", "orchestrator.url": "http://127.0.0.1:9"}, {"httpx2", "udc.services.polling"}),
    ],
    ids=["peers", "registry", "orchestrator"],
)
def test_what_will_be_used_is_loaded_before_the_droplet_serves(
    config: dict[str, object], needed: set[str], tmp_path: Path
) -> None:
    """Else the first call would stop the event loop for as long as loading takes."""
    assert needed <= loaded(tmp_path, **config)
