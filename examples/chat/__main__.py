"""Starts a mesh, Trains and Concierge, holds a conversation with Concierge, and stops them all.

Ends with code 0 only when every answer was the expected one and every process ended as it was asked to.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from examples.mesh.processes import SECONDS, ask, started, wait_for

HERE = Path(__file__).parent


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leave no processes behind
    with TemporaryDirectory(prefix="chat-") as name, ExitStack() as running:
        directory = Path(name)  # the data directory is .udc there: droplets find the mesh by it
        running.enter_context(started("mesh", "--port-base", "0", directory=directory))
        running.enter_context(started("run", str(HERE / "trains.py"), "--port", "0", directory=directory))
        run = started("run", str(HERE / "concierge.py"), "--port", "0", directory=directory)
        concierge = running.enter_context(run)
        print(f"Concierge listens at {concierge['url']}/handle-chat:\n")
        wait_for({"Trains", "Concierge"}, directory=directory)
        _, token, _ = ask("token", "--droplet-id", "999", "--raw", directory=directory)
        session(concierge["url"], token)
    print("\nAll processes were stopped. Read on: examples/chat/, docs/tutorial/third-tasks.md")


def session(url: str, token: str) -> None:
    context: dict[str, Any] = {}
    for message, wanted in (
        ("Good morning!", "Ask me about trains"),
        ("When does a train leave for Delft?", "To Delft at 08:04."),
        ("And the next one?", "To Delft at 08:34."),
        ("How is the weather?", "Nobody is here who knows about weather."),
        ("And to Utrecht?", "To Utrecht at 08:11."),
    ):
        reply = post(f"{url}/handle-chat", token, {"message": message, "context": context})
        print(f"  you:        {message}\n  Concierge:  {reply['response']}")
        if wanted not in reply["response"]:
            sys.exit(f"This did not go as it should: {wanted!r} was expected")
        context = reply["context"]


def post(url: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    """What any website's backend does."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(url, data=json.dumps(body).encode(), headers=headers)
    with urlopen(request, timeout=SECONDS) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


if __name__ == "__main__":
    main()
