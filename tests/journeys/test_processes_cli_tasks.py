"""`udc tasks` against a mesh of real processes: given, listed, followed to the end, cancelled."""

from __future__ import annotations

import json
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.journeys.programs import Programs, meeting_point, until
from udc.cli.app import app

pytestmark = pytest.mark.timeout(60)
"""The first test starts the processes of all: slow where many share a machine."""

WORKER = '''
import anyio
from udc import BusinessError, Context, Droplet, task

class Worker(Droplet):
    id, name, steward = 24, "Worker", "tests"
    capabilities = ("add", "refuse", "hold", "strength")

    @task("add")
    async def add(self, numbers: list[int], ctx: Context) -> int:
        await ctx.progress(50, "half \\x1b[31mway")
        return sum(numbers)

    @task("refuse")
    async def refuse(self) -> None:
        raise BusinessError("TOO_LATE", "it is too late", status=409)

    @task("hold")
    async def hold(self, port: int, ctx: Context) -> str:
        """Say that it has begun, and go on when the other side answers."""
        await ctx.progress(10, "begun")
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()
        return "held"

    @task("lift")
    async def lift(self) -> str:
        return "lifted"
'''


def asked(programs: Programs, *arguments: str) -> tuple[int, str, str]:
    """The `udc tasks` command in this process, which saves its start: exit code, stdout, stderr."""
    given = ("tasks", *arguments, "--data", str(programs.folder / ".udc"))
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"}, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def told(programs: Programs, *arguments: str) -> Any:
    """What it puts as JSON."""
    code, out, err = asked(programs, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("tasks"))
    try:
        programs.udc("mesh", "--port-base", "0", "--json").first()
        programs.write("worker.py", WORKER)
        programs.udc("run", "worker.py", "--port", "0", "--json").first()
        until(lambda: "Worker" in programs.ask("ls", "--name", "Worker")[1])
        yield programs
    finally:
        programs.end()


def test_a_task_is_given_and_its_result_awaited(world: Programs) -> None:
    code, out, err = asked(world, "create", "add", "numbers:=[1, 2]", "--wait", "--title", "one and two")

    assert (code, out) == (0, "3\n")
    assert all(line.startswith("udc: task ") for line in err.splitlines())
    listed = told(world, "ls", "--type", "add", "--status", "completed", "--limit", "1000")
    (found,) = (task for task in listed if task["title"] == "one and two")
    assert found["result"] == 3
    assert "state_history" not in found


def test_all_that_is_given_arrives(world: Programs) -> None:
    made = told(
        world, "create", "lift", "--body", '{"kilos": 5}', "--capability", "strength", "--priority", "2",
        "--deadline", "10m", "--max-retries", "1", "--wait",
    )  # fmt: skip

    assert made["payload"] == {"kilos": 5}
    assert (made["required_capability"], made["priority"], made["max_retries"]) == ("strength", 2, 1)
    assert 590 < (datetime.fromisoformat(made["deadline"]) - datetime.now(UTC)).total_seconds() <= 600
    assert (made["status"], made["result"], made["assigned_droplet_id"]) == ("completed", "lifted", 24)


def test_a_task_that_fails_is_code_1_and_says_why(world: Programs) -> None:
    code, out, err = asked(world, "create", "refuse", "--max-retries", "0", "--wait")

    assert (code, out) == (1, "")
    assert "failed  TOO_LATE: it is too late" in err.splitlines()[-1]
    (task,) = told(world, "ls", "--status", "failed", "--type", "refuse")
    assert asked(world, "watch", task["task_id"])[:2] == (1, "failed  TOO_LATE: it is too late\n")


def test_a_type_that_nobody_offers_is_told(world: Programs) -> None:
    """A slip in the type would else be waited for without a word."""
    code, out, err = asked(world, "create", "ad", "numbers:=[1]")

    assert (code, "is pending" in out) == (0, True)
    assert err == "udc: no droplet offers 'ad' now; the task waits for one that does\n"
    assert asked(world, "cancel", out.split()[1])[0] == 0
    assert asked(world, "create", "ad", "--capability", "add", "--max-retries", "0")[2] == ""


def test_the_beginning_of_an_id_will_do_where_it_is_the_only_one(world: Programs) -> None:
    task_id = told(world, "create", "add", "numbers:=[4]", "--wait")["task_id"]
    others = [task["task_id"] for task in told(world, "ls", "--limit", "1000") if task["task_id"] != task_id]
    short = next(task_id[:n] for n in range(1, 37) if not any(each.startswith(task_id[:n]) for each in others))

    shown = asked(world, "show", short)[1]

    assert task_id in shown
    assert "state_history" in told(world, "show", short)
    for status in ("pending", "assigned", "in_progress", "completed"):
        assert status in shown.partition("AT ")[2]
    assert asked(world, "watch", short)[:2] == (0, "completed  4\n")


def test_an_id_that_several_or_none_have_is_told(world: Programs) -> None:
    double = ""
    while not double:  # 17 tasks at most
        told(world, "create", "add", "numbers:=[]", "--wait")
        counts = Counter(task["task_id"][0] for task in told(world, "ls", "--limit", "1000"))
        double = next((digit for digit, count in counts.items() if count > 1), "")

    several = asked(world, "show", double)
    none = asked(world, "show", "nope")
    unknown = asked(world, "cancel", str(uuid.UUID(int=0)))

    assert several[0] == 2
    assert f"tasks have ids that begin with '{double}': " in several[2]
    assert none == (1, "", "udc: no task's id begins with 'nope'; 'udc tasks ls' lists them\n")
    assert unknown[0] == 1
    assert "404" in unknown[2]


def test_a_task_is_cancelled_while_it_is_watched(world: Programs) -> None:
    with meeting_point() as server:
        made = told(world, "create", "hold", f"port={server.getsockname()[1]}")
        watch = world.udc("tasks", "watch", made["task_id"])
        with server.accept()[0]:
            until(lambda: "begun" in watch.line())
            code, out, _ = asked(world, "cancel", made["task_id"])
            ended, lines, _ = watch.end()

    assert (code, out) == (0, f"{made['task_id'][:8]}  hold  cancelled\n")
    assert (ended, lines.splitlines()[-1]) == (1, "cancelled")
    assert asked(world, "cancel", made["task_id"])[0] == 0  # a second time changes nothing


def test_what_has_ended_cannot_be_cancelled(world: Programs) -> None:
    task_id = told(world, "create", "add", "numbers:=[]", "--wait")["task_id"]

    code, out, err = asked(world, "cancel", task_id)

    assert (code, out) == (1, "")
    assert "409" in err


def test_ctrl_c_leaves_a_task_that_is_awaited_running(world: Programs) -> None:
    with meeting_point() as server:
        wait = world.udc("tasks", "create", "hold", f"port={server.getsockname()[1]}", "--wait")
        with server.accept()[0] as handler:
            until(lambda: "begun" in wait.complaint())
            wait.signal(signal.SIGINT)
            code, out, err = wait.end()
            task_id = err.split()[2]
            assert (code, out, err) == (
                130,
                "",
                f"udc: task {task_id} goes on; follow it with: udc tasks watch {task_id[:8]}\n",
            )
            assert told(world, "show", task_id)["status"] == "in_progress"
            handler.send(b"!")
            assert asked(world, "watch", task_id)[1].splitlines()[-1] == 'completed  "held"'


def test_all_changes_are_watched_until_ctrl_c(world: Programs) -> None:
    watch = world.udc("tasks", "watch")
    ids = []

    def seen() -> bool:  # nothing tells when the watch has begun, but that it shows something
        ids.append(told(world, "create", "add", "numbers:=[7]", "--wait")["task_id"][:8])
        return not watch._out._queue.empty()

    until(seen)
    line = watch.line()
    watch.signal(signal.SIGINT)
    code, rest, err = watch.end()

    assert {each.split()[0] for each in (line + rest).splitlines()} <= set(ids)
    assert "  add  " in line
    assert code == 130
    assert "Traceback" not in err


def test_control_characters_of_a_worker_do_not_reach_the_terminal(world: Programs) -> None:
    task_id = told(world, "create", "add", "numbers:=[]", "--wait")["task_id"]

    for command in ("show", "watch"):
        assert "\x1b" not in asked(world, command, task_id)[1]


def test_the_list_is_cut_and_says_so(world: Programs) -> None:
    for _ in range(2):
        told(world, "create", "add", "numbers:=[]", "--wait")
    code, out, err = asked(world, "ls", "--limit", "1")

    assert code == 0
    assert out.splitlines()[0].split()[:4] == ["ID", "TYPE", "STATUS", "PROGRESS"]
    assert len(out.splitlines()) == 2
    assert "of" in err
    assert "--limit shows more" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "add", "--deadline", "soon"), "wanted a span like 90s"),
        (("create", "add", "--body", "[1]"), "a task's payload is a JSON object"),
        (("create", "add", "numbers"), "'numbers' is no key=value"),
        (("ls", "--registry", "nonsense"), "registry.url"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_told_and_nothing_is_done(world: Programs, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = asked(world, *arguments)

    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("udc: ")


def test_a_mesh_without_orchestrator_is_told(world: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDC_ORCHESTRATOR__ID", "77")
    code, out, err = asked(world, "ls")

    assert (code, out) == (1, "")
    assert "knows no Orchestrator (droplet 77)" in err
