"""Starts Billing and Resizer, sends them messages over HTTP, shows what came back, and stops them.

Ends with code 0 only when every answer was the expected one and both processes ended as they were asked to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx2

from examples.two_droplets.caller import Answer, Caller
from examples.two_droplets.processes import listen, served
from udc.identity.keys import SigningKey

BILLING, RESIZER = 15, 14


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leave no processes behind
    key = SigningKey.generate()
    with both_running(key) as (billing, resizer):
        with told_plainly(), closing(Caller(key)) as caller, closing(Caller(SigningKey.generate())) as stranger:
            introduce(caller, billing, resizer)
            ask_across(caller, resizer)
            do_once(caller, resizer)
            refuse(stranger, resizer)
    print("Both droplets were stopped. Read on: examples/two_droplets/, docs/tutorial/first-droplet.md")


@contextmanager
def both_running(key: SigningKey) -> Iterator[tuple[str, str]]:
    """Both droplets, each in its own process; gives their URLs."""
    with TemporaryDirectory(prefix="two-droplets-") as name:
        directory = Path(name)
        key_file = directory / "signing-key.pem"
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.private_pem)
        (at_billing, billing), (at_resizer, resizer) = listen(), listen()
        # One key for both: each signs its own tokens with it, and checks the other's with its public half.
        trust = {"UDC_SECURITY__SIGNING_KEY_FILE": str(key_file)}
        peers = [{"id": BILLING, "name": "Billing", "endpoint": billing, "ours": True}]
        for_resizer = {**trust, "DROPLET_URL": resizer, "UDC_PEERS": json.dumps(peers)}
        with (
            served(
                "examples.two_droplets.billing:app",
                at_billing,
                {**trust, "DROPLET_URL": billing},
                directory=directory,
            ),
            served("examples.two_droplets.resizer:app", at_resizer, for_resizer, directory=directory),
        ):
            yield billing, resizer


@contextmanager
def told_plainly() -> Iterator[None]:
    """A droplet that has died has said why itself; a traceback of ours would only hide it."""
    try:
        yield
    except httpx2.TransportError as error:
        sys.exit(f"A droplet does not answer: {error}")


def introduce(caller: Caller, *urls: str) -> None:
    print("Two droplets, each in a process of its own, with one issued key:")
    for url in urls:
        health = caller.health(url)
        print(f"  {health['name']:<8} droplet {health['id']}  {url}  {health['status']}")
        expect(health["status"] == "active", f"{url} is not active: {health}")


def ask_across(caller: Caller, resizer: str) -> None:
    print("\n1. A query to Resizer, which asks Billing before it answers:")
    answer = caller.send(resizer, RESIZER, "query", "quota", {"steward": "ada"})
    show("quota", answer)
    expect(answer.status == 200 and answer.body["data"] == 3, "ada should have 3 images")


def do_once(caller: Caller, resizer: str) -> None:
    print("\n2. A command, sent twice under one message_id: it is done once.")
    message_id = str(uuid4())
    job = {"image": "cat.png", "steward": "ada"}
    first = caller.send(resizer, RESIZER, "command", "resize", job, message_id)
    show("resize", first)
    again = caller.send(resizer, RESIZER, "command", "resize", job, message_id)
    show("resize", again)
    left = caller.send(resizer, RESIZER, "query", "quota", {"steward": "ada"})
    show("quota", left)
    expect(first.body["data"] == {"image": "small-cat.png", "images_left": 2}, "the image should be resized")
    expect(again.body["data"] == first.body["data"] and again.body.get("duplicate") is True, "it should be a duplicate")
    expect(left.body["data"] == 2, "ada should have been charged once")


def refuse(stranger: Caller, resizer: str) -> None:
    print("\n3. The same query with a token that somebody else has signed:")
    answer = stranger.send(resizer, RESIZER, "query", "quota", {"steward": "ada"})
    show("quota", answer)
    expect(answer.status == 401 and answer.body["error"]["code"] == "UNAUTHORIZED", "it should be refused")


def show(action: str, answer: Answer) -> None:
    if "error" in answer.body:
        told = f"{answer.body['error']['code']}: {answer.body['error']['message']}"
    else:
        told = json.dumps(answer.body["data"]) + ("  (duplicate)" if answer.body.get("duplicate") else "")
    print(f"   {action:<6} -> {answer.status}  {told}")


def expect(true: bool, otherwise: str) -> None:
    if not true:
        sys.exit(f"This did not go as it should: {otherwise}")


if __name__ == "__main__":
    main()
