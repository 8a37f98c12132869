"""`udc mesh` and the commands that speak to it: real processes on free ports."""

from __future__ import annotations

import json
import signal
import socket
import stat
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.journeys.programs import STOPPING, Program, Programs, meeting_point, request, until
from udc.cli.app import app

pytestmark = pytest.mark.timeout(60)

GREETER = '''
import anyio
from udc import Droplet, command, event, query

class Greeter(Droplet):
    id, name, steward = 21, "Greeter", "tests"
    capabilities = ["greeting"]

    @query("greet")
    async def greet(self, who: str, times: int = 1) -> str:
        """Greets somebody."""
        return " ".join([f"Hello {who}"] * times)

    @query("kinds")
    async def kinds(self, data: dict) -> dict:
        return {name: type(value).__name__ for name, value in data.items()}

    @command("hold")
    async def hold(self, port: int) -> str:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()
        return "held"

    @event("told")
    async def told(self, data: dict) -> None:
        pass
'''


def start_mesh(programs: Programs, *arguments: str, **variables: str) -> tuple[Program, dict[str, Any]]:
    program = programs.udc("mesh", "--port-base", "0", "--json", *arguments, **variables)
    return program, program.first()


def start_greeter(programs: Programs, **variables: str) -> tuple[Program, dict[str, Any]]:
    programs.write("greeter.py", GREETER)
    program = programs.udc("run", "greeter.py", "--port", "0", "--json", **variables)
    return program, program.first()


def rows(programs: Programs, registry: str) -> dict[int, dict[str, Any]]:
    """What the Registry lists, by id."""
    secret = (programs.folder / ".udc" / "secret").read_text().strip()
    token = request(registry, "/auth/token", {"droplet_id": 999, "secret": secret})[1]["token"]
    return {row["id"]: row for row in request(registry, "/droplets", token=token)[1]}


AUDIENCE = "fullpotential.droplets/21"


def asked(programs: Programs, *arguments: str) -> tuple[int, str, str]:
    """The `udc` command in this process, which saves its start: exit code, stdout, stderr."""
    given = () if "--data" in arguments else ("--data", str(programs.folder / ".udc"))
    result = CliRunner().invoke(app, [*arguments, *given], env={"COLUMNS": "200"}, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A mesh with one droplet, for tests that only ask."""
    programs = Programs(tmp_path_factory.mktemp("world"))
    try:
        registry = start_mesh(programs)[1]["registry"]
        start_greeter(programs)
        until(lambda: rows(programs, registry).get(21, {}).get("status") == "active")
        yield programs
    finally:
        programs.end()


def test_the_mesh_says_where_it_is(programs: Programs) -> None:
    mesh, told = start_mesh(programs, "--data", "here")
    data = programs.folder / "here"
    written = json.loads((data / "mesh.json").read_text())
    secret = (data / "secret").read_text()
    health = request(told["registry"], "/health")[1]
    orchestrator = request(told["orchestrator"], "/health")[1]
    code, out, _ = mesh.stop()

    urls = {"registry": told["registry"], "orchestrator": told["orchestrator"], "dashboard": None}
    assert told == {**urls, "data": str(data)}
    assert told["registry"].startswith("http://127.0.0.1:")
    assert {name: written[name] for name in (*urls, "pid")} == {**urls, "pid": mesh.pid}
    assert (orchestrator["id"], orchestrator["status"]) == (10, "active")
    assert (health["id"], health["status"]) == (1, "active")
    assert [stat.S_IMODE((data / name).stat().st_mode) for name in (".", "secret")] == [0o700, 0o600]
    assert (code, out) == (0, "")
    assert not (data / "mesh.json").exists()

    assert start_mesh(programs, "--data", "here")[1]["data"] == str(data)
    assert (data / "secret").read_text() == secret


def test_the_ports_are_chosen_one_by_one(programs: Programs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        port, second = free.getsockname()[1], other.getsockname()[1]
    chosen = ("--registry-port", str(port), "--orchestrator-port", str(second))
    mesh = programs.udc("mesh", "--port-base", "0", *chosen, UDC_DROPLET__ID="50", PORT="9")

    assert mesh.line() == f"Registry serves at http://127.0.0.1:{port}\n"
    assert mesh.line() == f"Orchestrator serves at http://127.0.0.1:{second}\n"
    assert mesh.line().startswith(f"the data directory is {programs.folder / '.udc'}")
    assert request(f"http://127.0.0.1:{port}", "/health")[1]["id"] == 1
    mesh.signal(signal.SIGINT)
    assert mesh.end()[0] == 0


def test_one_data_directory_holds_one_mesh(programs: Programs) -> None:
    mesh, told = start_mesh(programs)

    code, out, err = programs.ask("mesh", "--port-base", "0", "--json")

    assert (code, out) == (2, "")
    assert f"a mesh runs from {programs.folder / '.udc'} already at {told['registry']} (process {mesh.pid})" in err
    assert request(told["registry"], "/health")[0] == 200


def test_a_port_in_use_is_told(programs: Programs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, out, err = programs.ask("mesh", "--registry-port", str(other.getsockname()[1]), "--json")

    assert (code, out) == (2, "")
    assert "is in use; stop what listens there, or choose others with --port-base (0 = any free ones)" in err
    assert not (programs.folder / ".udc" / "mesh.json").exists()


def test_a_droplet_joins_the_mesh_when_it_comes_and_when_it_comes_back(programs: Programs) -> None:
    droplet, there = start_greeter(programs)
    assert droplet.complaint() == "udc: no mesh in sight, it serves alone; start one with 'udc mesh' and it joins\n"
    assert request(there["url"], "/readyz")[1]["presence"] == "unregistered"

    mesh, told = start_mesh(programs)
    row = until(lambda: rows(programs, told["registry"]).get(21))
    assert (row["endpoint"], row["instances"][0]["instance_id"]) == (there["url"], there["instance_id"])
    assert programs.ask("call", "Greeter", "greet", "who=ada") == (0, "Hello ada\n", "")

    assert mesh.stop()[0] == 0
    assert request(there["url"], "/health")[1]["status"] == "active"
    _, again = start_mesh(programs)
    until(lambda: rows(programs, again["registry"]).get(21, {}).get("status") == "active")
    assert programs.ask("call", "Greeter", "greet", "who=ada") == (0, "Hello ada\n", "")


def test_a_droplet_that_is_taken_without_a_secret_is_told_what_it_lacks(programs: Programs) -> None:
    """`REGISTRY_URL` alone: the secret in the data directory is shown to the mesh of that directory only."""
    _, told = start_mesh(programs)
    droplet, _ = start_greeter(programs, REGISTRY_URL=told["registry"])
    line = droplet.complaint()
    enrolled, there = start_greeter(programs, REGISTRY_URL=told["registry"], DROPLET_SECRET_FILE=".udc/secret")
    wrong, _ = start_greeter(programs, REGISTRY_URL=told["registry"], DROPLET_SECRET="another-meshs-secret")
    refused = wrong.complaint()

    assert "registered, but without a secret it gets no tokens: it is found and answers, but can call nobody" in line
    assert line.endswith("if .udc/secret is of that mesh: DROPLET_SECRET_FILE=.udc/secret\n")
    assert "not registered: " in refused
    assert "check droplet.secret" in refused
    until(lambda: request(there["url"], "/readyz")[1]["presence"] == "registered")
    assert enrolled.stop()[2] == STOPPING


def test_it_drains_in_the_registry_and_leaves(programs: Programs) -> None:
    _, told = start_mesh(programs)
    droplet, there = start_greeter(programs)
    until(lambda: 21 in rows(programs, told["registry"]))
    with meeting_point() as server:
        call = programs.udc("call", "21", "hold", f"port={server.getsockname()[1]}", "--type", "command")
        with server.accept()[0] as handler:
            droplet.signal()
            until(lambda: request(there["url"], "/readyz")[0] == 503)
            until(lambda: rows(programs, told["registry"])[21]["instances"][0]["state"] == "draining")
            handler.send(b"!")
            assert call.end() == (0, "held\n", "")

    assert droplet.end()[0] == 0
    assert 21 not in rows(programs, told["registry"])


def test_with_mesh_runs_both_in_one_process(programs: Programs) -> None:
    programs.write("greeter.py", GREETER)
    both = programs.udc("run", "greeter.py", "--port", "0", "--with-mesh", "--json", REGISTRY_URL="http://127.0.0.1:9")

    told = both.first()
    assert both.complaint().startswith("udc: the mesh runs in this process: Registry http://127.0.0.1:")
    registry = json.loads((programs.folder / ".udc" / "mesh.json").read_text())["registry"]
    until(lambda: rows(programs, registry).get(21, {}).get("status") == "active")
    assert rows(programs, registry)[21]["endpoint"] == told["url"]
    code, out, err = both.stop()

    assert (code, out, err) == (0, "", STOPPING)
    assert not (programs.folder / ".udc" / "mesh.json").exists()
    # The droplet ended before its Registry, which could still be told.
    assert 21 not in rows(programs, start_mesh(programs)[1]["registry"])


def test_ls_shows_the_rows_of_the_registry(world: Programs) -> None:
    code, out, err = world.ask("ls", "--json")
    table = asked(world, "ls")[1].splitlines()

    listed = {row["id"]: row for row in json.loads(out)}
    assert (code, err) == (0, "")
    assert {1, 21} <= listed.keys()
    assert listed[21]["capabilities"] == ["greeting"]
    assert table[0].split() == ["ID", "NAME", "STATUS", "INSTANCES", "VERSION", "ENDPOINT", "CAPABILITIES"]
    assert table[-1].split() == ["21", "Greeter", "active", "ready", "0.1.0", listed[21]["endpoint"], "greeting"]


def test_ls_filters(world: Programs) -> None:
    found = json.loads(asked(world, "ls", "--json", "--capability", "greeting", "--status", "active")[1])

    assert [row["id"] for row in found] == [21]
    assert "no droplets" in asked(world, "ls", "--name", "nobody")[1]


def test_a_token_opens_doors(world: Programs) -> None:
    registry = json.loads((world.folder / ".udc" / "mesh.json").read_text())["registry"]

    code, raw, err = asked(world, "token", "--droplet-id", "14", "--permissions", "read", "--raw")
    told = json.loads(
        asked(world, "token", "--droplet-id", "14", "--scope", "udc:send", "--audience", AUDIENCE, "--json")[1]
    )
    shown = asked(world, "token", "--droplet-id", "14", "--permissions", "read,write")[1].splitlines()

    assert (code, err) == (0, "")
    assert request(registry, "/droplets", token=raw.strip())[0] == 200
    assert (told["droplet_id"], told["scope"], told["audience"]) == (14, "udc:send", AUDIENCE)
    assert told["token"].count(".") == 2
    assert shown[1].split() == ["permissions", "read,", "write"]
    assert shown[-1].count(".") == 2


def test_inspect_tells_everything(world: Programs) -> None:
    found = json.loads(asked(world, "inspect", "greeter", "--json")[1])
    shown = asked(world, "inspect", "21")[1]

    assert (found["id"], found["name"], found["health"]["status"]) == (21, "Greeter", "active")
    assert {action["name"] for action in found["capabilities"]["actions"]} == {"greet", "kinds", "hold", "told"}
    for line in ("HEALTH", "CAPABILITIES", "STATE", "DEPENDENCIES", "VERSION"):
        assert f"{line}\n" in shown
    assert "greet   who, times" in shown
    assert "Greets somebody." in shown


def test_call_prints_what_comes_back(world: Programs) -> None:
    code, out, err = asked(world, "call", "Greeter", "greet", "who=ada", "times=2", "--json")
    kinds = asked(world, "call", "21", "kinds", "n=3", "t=ada", 'q="3"', 'o:={"a": [1]}', "z=null")[1]
    whole = asked(world, "call", "21", "greet", "--body", '{"who": "x=y"}')[1]

    receipt = json.loads(out)
    assert (code, err) == (0, "")
    assert (receipt["peer"], receipt["data"], receipt["handled"]) == ("Greeter", "Hello ada Hello ada", True)
    assert json.loads(kinds) == {"n": "int", "t": "str", "q": "str", "o": "dict", "z": "NoneType"}
    assert whole == "Hello x=y\n"


def test_a_capability_is_called_as_handlers_call_it(world: Programs) -> None:
    assert asked(world, "call", "greeting", "greet", "who=ada") == (0, "Hello ada\n", "")
    assert json.loads(asked(world, "inspect", "greeting", "--json")[1])["id"] == 21


def test_send_prints_the_receipt(world: Programs) -> None:
    told = asked(world, "send", "Greeter", "told", "what=news")
    unheard = asked(world, "send", "Greeter", "unheard", "--json")

    assert (told[0], told[2]) == (0, "")
    assert told[1].startswith("Greeter took it (success, handled); trace ")
    assert json.loads(unheard[1])["handled"] is False


def test_what_a_handler_would_pass_over_is_not_sent(world: Programs) -> None:
    """A slip in a key; the data as a whole is the caller's own business."""
    wrong = asked(world, "call", "Greeter", "greet", "who=ada", "tmies=2")
    wrong_event = asked(world, "send", "Greeter", "greet", "who=ada", "tmies=2", "--type", "query")
    whole = asked(world, "call", "Greeter", "greet", "--body", '{"who": "ada", "tmies": 2}')
    any_key = asked(world, "send", "Greeter", "told", "anything=1")

    told = (
        "udc: query 'greet' takes no 'tmies' there, but who, times; nothing was sent (what stands in --body is sent as "
        "it is)\n"
    )
    assert (wrong, wrong_event) == ((2, "", told), (2, "", told))
    assert whole == (0, "Hello ada\n", "")
    assert any_key[0] == 0


def test_what_is_sent_as_another_type_than_it_is_says_how(world: Programs) -> None:
    command = asked(world, "call", "Greeter", "hold", "port=1")
    event = asked(world, "call", "Greeter", "told")
    query = asked(world, "send", "Greeter", "greet", "who=ada")

    assert command[2].splitlines()[-1] == "udc: 'hold' is a command there: --type command"
    assert event[2].splitlines()[-1] == "udc: 'told' is an event there: udc send --type event"
    assert (command[0], event[0], query[0]) == (1, 1, 0)
    assert query[2] == "udc: 'greet' is a query there: --type query\n"
    assert "nobody there handles it" in query[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("call", "Greeter", "nothing"), 1, "404 NO_HANDLER: no handler for query 'nothing'; known: 'greet', 'kinds'"),
        (("call", "Nobody", "greet"), 1, "no peer is called 'Nobody'"),
        (("inspect", "77"), 1, "no peer is called '77'"),
        (("ls", "--registry", "http://127.0.0.1:1"), 1, "could not be reached"),
        (("token", "--droplet-id", "5", "--registry", "http://127.0.0.1:1"), 1, "127.0.0.1:1"),
        (("ls", "--registry", "http://example.org"), 2, "neither https nor loopback"),
        (("ls", "--data", "nowhere"), 2, "start one with 'udc mesh'"),
        (("ls", "--registry", "http://127.0.0.1:1", "--data", "nowhere"), 2, "no secret for http://127.0.0.1:1"),
        (("ls", "--registry", "nonsense"), 2, "registry.url: 'nonsense' from argument"),
        (("call", "Greeter", "greet", "who"), 2, "'who' is no key=value"),
        (("token", "--droplet-id", "5", "--permissions", "root"), 2, "wanted some of read, write and admin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_goes_wrong_is_told_in_a_line(world: Programs, arguments: tuple[str, ...], code: int, words: str) -> None:
    found, out, err = asked(world, *arguments)

    assert (found, out) == (code, "")
    assert err.startswith("udc: ")
    assert words in err
    assert "Traceback" not in err


def test_a_wrong_secret_is_refused(world: Programs, tmp_path: Any) -> None:
    registry = json.loads((world.folder / ".udc" / "mesh.json").read_text())["registry"]
    other = Programs(tmp_path)
    (tmp_path / ".udc").mkdir(mode=0o700)
    other.write(".udc/secret", "not-the-secret-of-this-mesh").chmod(0o600)

    code, out, err = other.ask("ls", "--registry", registry)

    assert (code, out) == (1, "")
    assert "does not take the secret" in err
    assert "next attempt" not in err, "a command makes none"


def test_the_operator_can_be_another(world: Programs) -> None:
    assert asked(world, "call", "Greeter", "greet", "who=x", "--as", "500")[:2] == (0, "Hello x\n")
