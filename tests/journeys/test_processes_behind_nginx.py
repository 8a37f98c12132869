"""A real nginx with TLS before a real `udc run`, with the configuration of the how-to page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.journeys.processes import free_port
from tests.journeys.programs import SECONDS, Program, Programs, until
from udc.identity.keys import SigningKey

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "put-behind-a-proxy.md"
INSTALL = "nginx is not installed: apt-get install nginx-light"

DROPLET = """
import anyio
from udc import Droplet, HttpRequest, HttpResponse, endpoint, query

class Resizer(Droplet):
    id, name, steward = 14, "Resizer", "tests"

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

    @endpoint("GET", "/seen", "public")
    async def seen(self, request: HttpRequest) -> dict:
        return {"client": request.client, "scheme": request.scheme}

    @endpoint("GET", "/ticks", "public")
    async def ticks(self, request: HttpRequest) -> HttpResponse:
        async def parts():
            yield b"data: tick\\n\\n"
            await anyio.sleep_forever()
        return HttpResponse(body=parts(), media_type="text/event-stream")
"""


def nginx() -> str:
    """The program; without it a test is skipped, but not in CI."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None and os.environ.get("CI"):
        pytest.fail(INSTALL)
    if found is None:
        pytest.skip(INSTALL)
    return found


def blocks() -> list[str]:
    return re.findall(r"^```nginx\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class House:
    """The droplet behind its proxy.

    Attributes:
        base: what its URL has as path.
    """

    program: Program
    trust: ssl.SSLContext
    port: int
    plain_port: int
    token: str
    base: str

    @contextlib.contextmanager
    def connection(self, source: str = "127.0.0.1") -> Iterator[http.client.HTTPSConnection]:
        made = http.client.HTTPSConnection(
            "localhost", self.port, timeout=SECONDS, context=self.trust, source_address=(source, 0)
        )
        with contextlib.closing(made):
            yield made

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, source: str = "127.0.0.1", **headers: str
    ) -> Answer:
        with self.connection(source) as connection:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, self.base + path, body, sent)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())


@contextlib.contextmanager
def proxied(programs: Programs, *, prefix: bool) -> Iterator[House]:
    program_file, folder = nginx(), programs.folder
    port, plain_port, behind, base = free_port(), free_port(), free_port(), "/resizer" if prefix else ""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "fullchain.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    key = SigningKey.generate()
    (folder / "key.pem").write_text(key.private_pem)
    programs.write("resizer.py", DROPLET)
    site = _site(prefix=prefix, ports={"80": plain_port, "443": port, "8014": behind}, folder=folder)
    configuration = programs.write("nginx.conf", _whole(site, folder))
    log = (folder / "nginx.err").open("w")
    server = subprocess.Popen(
        [program_file, "-p", str(folder), "-e", "stderr", "-c", str(configuration), "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
        stderr=log,
        stdout=log,
    )
    try:
        until(lambda: _listens(port, server, folder))
        program = programs.udc(
            "run",
            "resizer.py",
            "--port",
            str(behind),
            "--json",
            DROPLET_URL=f"https://localhost:{port}{base}",
            UDC_SERVER__TRUSTED_PROXIES="127.0.0.1",
            UDC_SECURITY__SIGNING_KEY_FILE=str(folder / "key.pem"),
            UDC_LIMITS__GRACE_SECONDS="1",
        )
        assert program.first()["url"] == f"https://localhost:{port}{base}"
        yield House(program, trust, port, plain_port, _token(key), base)
    finally:
        server.terminate()
        server.wait(SECONDS)
        log.close()


def _site(*, prefix: bool, ports: dict[str, int], folder: Path) -> str:
    site, under_a_path = blocks()
    if prefix:
        site = re.sub(r"^    location / \{.*?^    \}\n", lambda _: under_a_path, site, flags=re.DOTALL | re.MULTILINE)
        assert "location /resizer/" in site
    site = site.replace("listen 80;", f"listen 127.0.0.1:{ports['80']};")
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{ports['443']} ssl;")
    site = site.replace("127.0.0.1:8014", f"127.0.0.1:{ports['8014']}")
    return site.replace("/etc/ssl/droplets.example", str(folder))


def _whole(site: str, folder: Path) -> str:
    paths = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    return (
        f"{user} worker_processes 1; pid {folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}\n{site}\n}}\n"
    )


def _listens(port: int, server: subprocess.Popen[bytes], folder: Path) -> bool:
    assert server.poll() is None, (folder / "nginx.err").read_text()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _token(key: SigningKey) -> str:
    now = int(time.time())
    claims = {"iss": "registry.fullpotential.ai", "aud": "fullpotential.droplets", "sub": "droplet-77"}
    return key.sign(
        {**claims, "droplet_id": 77, "permissions": ["read", "write"], "iat": now - 5, "exp": now + 600, "jti": "x"}
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("prefix", [False, True], ids=["root", "path"])
def test_a_droplet_behind_nginx(programs: Programs, prefix: bool) -> None:
    with proxied(programs, prefix=prefix) as house:
        _tells_browsers_to_stay_with_https(house)
        _takes_messages(house)
        _knows_where_callers_are_and_believes_only_the_proxy(house)
        _streams_pass_at_once(house)
        if not prefix:
            _plain_http_is_sent_to_https(house)
        code, _, err = house.program.stop()
    assert (code, "Traceback" in err) == (0, False)


def _tells_browsers_to_stay_with_https(house: House) -> None:
    health = house.ask("GET", "/health")
    assert (health.status, health.headers["strict-transport-security"]) == (200, "max-age=31536000")
    assert health.headers["x-content-type-options"] == "nosniff"


def _takes_messages(house: House) -> None:
    authorization = f"Bearer {house.token}"
    body = b'{"message_type":"query","payload":{"type":"echo","data":{"text":"hi"}}}'
    with house.connection() as connection:
        for _ in range(3):
            sent = {"Authorization": authorization, "Content-Type": "application/json"}
            connection.request("POST", f"{house.base}/message", body, sent)
            got = connection.getresponse()
            assert (got.status, b'"data":"hi"' in got.read()) == (200, True)
    large = house.ask("POST", "/message", b" " * (1024 * 1024 + 1), Authorization=authorization)
    assert (large.status, b"PAYLOAD_TOO_LARGE" in large.body) == (413, True)
    assert house.ask("OPTIONS", "/message").headers["allow"] == "OPTIONS, POST"
    assert house.ask("HEAD", "/health").body == b""


def _knows_where_callers_are_and_believes_only_the_proxy(house: House) -> None:
    seen = house.ask("GET", "/seen", source="127.0.0.2", X_Forwarded_For="10.9.9.9", X_Forwarded_Proto="http")
    assert json.loads(seen.body) == {"client": "127.0.0.2", "scheme": "https"}


def _streams_pass_at_once(house: House) -> None:
    with house.connection() as connection:
        connection.request("GET", f"{house.base}/ticks")
        got = connection.getresponse()
        assert got.read1() == b"data: tick\n\n"


def _plain_http_is_sent_to_https(house: House) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", house.plain_port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        got = connection.getresponse()
        assert (got.status, got.headers["Location"]) == (308, "https://droplets.example/health")
