"""Starts a mesh, Shrinker and Album, gives two orders, withdraws one, and stops them all.

Ends with code 0 only when everything went as it should and every process ended as it was asked to.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.mesh.processes import ask, started, wait_for

HERE = Path(__file__).parent


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leave no processes behind
    with TemporaryDirectory(prefix="tasks-") as name, ExitStack() as running:
        directory = Path(name)  # the data directory is .udc there: droplets find the mesh by it
        mesh = running.enter_context(started("mesh", "--port-base", "0", directory=directory))
        print(f"An Orchestrator at {mesh['orchestrator']}, and two droplets that do not know each other:\n")
        for droplet in ("shrinker", "album"):
            running.enter_context(started("run", str(HERE / f"{droplet}.py"), "--port", "0", directory=directory))
        wait_for({"Orchestrator", "Shrinker", "Album"}, directory=directory)
        session(directory)
    print("\nAll processes were stopped. Read on: examples/tasks/, docs/tutorial/third-tasks.md")


def session(directory: Path) -> None:
    small = order(["cat", "dog", "owl", "bee"], directory)
    say(
        "tasks",
        "watch",
        small,
        wanted='completed  ["cat-small", "dog-small", "owl-small", "bee-small"]',
        directory=directory,
    )
    say("call", "Album", "state", f"task_id={small}", wanted='"bee-small"', directory=directory)

    large = order([f"holiday{number}" for number in range(500)], directory)
    say("call", "Album", "withdraw", f"task_id={large}", "--type", "command", wanted="cancelled", directory=directory)
    say("tasks", "watch", large, wanted="cancelled", code=1, directory=directory)
    say("tasks", "ls", wanted="500 pictures", directory=directory)


def order(pictures: list[str], directory: Path) -> str:
    """Have pictures made small; the task's id."""
    call = ("call", "Album", "publish", f"pictures:={json.dumps(pictures)}", "--type", "command")
    return str(json.loads(say(*call, wanted='"task_id"', directory=directory))["task_id"])


def say(*arguments: str, wanted: str = "", code: int = 0, directory: Path) -> str:
    """Give a `udc` command and show what it said; returns that."""
    print(f"$ udc {shown(' '.join(arguments))}")
    ended, out, err = ask(*arguments, directory=directory)
    print("\n".join(filter(None, (out, err))))
    if ended != code or wanted not in out + err:
        sys.exit(f"This did not go as it should: code {code} and {wanted!r} were expected, not code {ended}")
    return out


def shown(command: str) -> str:
    return command if len(command) < 120 else f"{command[:80]} ..."


if __name__ == "__main__":
    main()
