"""The process that serves under `udc run --reload`: started by that one, with what it was asked for as JSON."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import typer

from udc._serve.kept import KeptSocket, Lodger
from udc.cli import running
from udc.cli.faults import told


def main(asked: dict[str, Any]) -> int:  # Any: JSON values
    """Serve to the end; returns the exit code."""
    kept = asked["kept"]
    lodger = Lodger(
        socket.socket(fileno=asked["keeper"]),
        KeptSocket(socket.socket(fileno=kept["socket"]), kept["host"], kept["port"]) if kept else None,
    )
    lodger.end_with_keeper()
    data = None if asked["data"] is None else Path(asked["data"])
    return running.run(
        asked["target"],
        host=asked["host"],
        port=asked["port"],
        data=data,
        with_mesh=False,
        as_json=asked["as_json"],
        lodger=lodger,
    )


def told_main(text: str) -> int:
    """`main` with what it was asked as JSON; problems are told as every command tells them."""
    try:
        with told():
            return main(json.loads(text))
    except typer.Exit as ending:
        return ending.exit_code


if __name__ == "__main__":
    sys.exit(told_main(sys.argv[1]))
