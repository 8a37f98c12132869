"""Starts Postage and the bookshop, buys books, has another droplet ask for them, and stops both.

Ends with code 0 only when every answer was the expected one and both processes ended as they were asked to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from examples.two_droplets.caller import Caller
from examples.two_droplets.processes import listen, served
from udc.identity.keys import SigningKey

POSTAGE, STOCK = 62, 61


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leave no processes behind
    key = SigningKey.generate()
    with both_running(key) as shop, closing(Caller(key)) as droplet:
        with httpx2.Client(base_url=shop, trust_env=False, timeout=10) as customer:
            try:
                sell(customer, key)
                as_a_droplet(droplet, f"{shop}/stock")
                sold_out(customer, droplet, f"{shop}/stock")
                describe(customer)
            except httpx2.TransportError as error:
                sys.exit(f"The shop does not answer: {error}")  # why, it has said itself
    print("\nBoth were stopped. Read on: examples/fastapi_host/shop.py, docs/howto/attach-to-fastapi.md")


@contextmanager
def both_running(key: SigningKey) -> Iterator[str]:
    """The bookshop and Postage, each in its own process; gives the shop's URL."""
    with TemporaryDirectory(prefix="fastapi-host-") as name:
        directory = Path(name)
        key_file = directory / "signing-key.pem"
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.private_pem)
        (at_postage, postage), (at_shop, shop) = listen(), listen()
        trust = {"UDC_SECURITY__SIGNING_KEY_FILE": str(key_file)}
        peers = [{"id": POSTAGE, "name": "Postage", "endpoint": postage, "ours": True}]
        # The prefix is part of the droplet's URL.
        for_shop = {**trust, "DROPLET_URL": f"{shop}/stock", "UDC_PEERS": json.dumps(peers)}
        for_postage = {**trust, "DROPLET_URL": postage}
        with (
            served("examples.fastapi_host.postage:app", at_postage, for_postage, directory=directory),
            served("examples.fastapi_host.shop:app", at_shop, for_shop, directory=directory),
        ):
            yield shop


def sell(customer: httpx2.Client, key: SigningKey) -> None:
    print("1. The shop's own routes; one asks a droplet, one is for callers with a token:")
    listed = customer.get("/books")
    show("GET  /books", listed, 200, {"dune": 2})
    expect(listed.headers.get("x-shop") == "The Worm", "the shop's middleware should have passed it")
    show("POST /orders/dune", customer.post("/orders/dune"), 200, {"title": "dune", "left": 1, "cents": 1350})
    refused = customer.post("/books/dune")
    show("POST /books/dune", refused, 401, refused.json())
    expect(refused.json()["error"]["code"] == "UNAUTHORIZED", "it should be the contract's refusal")
    brought = customer.post("/books/dune", headers={"Authorization": f"Bearer {token(key)}"})
    show("POST /books/dune", brought, 200, {"title": "dune", "left": 2, "brought_by": 99})


def as_a_droplet(droplet: Caller, stock: str) -> None:
    print("\n2. Another droplet asks the shop's, and reserves a copy:")
    for kind, action, wanted in (("query", "left", 2), ("command", "reserve", 1)):
        answer = droplet.send(stock, STOCK, kind, action, {"title": "dune"})
        print(f"   {action:<18} -> {answer.status}  {answer.body.get('data')}")
        expect((answer.status, answer.body.get("data")) == (200, wanted), f"{wanted} copies should be left")


def sold_out(customer: httpx2.Client, droplet: Caller, stock: str) -> None:
    print("\n3. The last copy is gone: the shop says so in its own way, its droplet in the contract's:")
    show("POST /orders/dune", customer.post("/orders/dune"), 200, {"title": "dune", "left": 0, "cents": 1350})
    show("POST /orders/dune", customer.post("/orders/dune"), 410, {"sorry": "dune is sold out"})
    answer = droplet.send(stock, STOCK, "command", "reserve", {"title": "dune"})
    print(f"   {'reserve':<18} -> {answer.status}  {answer.body['error']['code']}: {answer.body['error']['message']}")
    expect((answer.status, answer.body["error"]["code"]) == (409, "SOLD_OUT"), "there should be none left")


def describe(customer: httpx2.Client) -> None:
    print("\n4. Its OpenAPI document has both:")
    paths = customer.get("/openapi.json").json()["paths"]
    for path in ("/orders/{title}", "/stock/message"):
        expect(path in paths, f"{path} should be in it")
        print(f"   {path}")


def token(key: SigningKey) -> str:
    """As the Registry of a mesh gives them; droplet 99 may write."""
    now = int(time.time())
    return key.sign(
        {
            "iss": "registry.fullpotential.ai",
            "aud": f"fullpotential.droplets/{STOCK}",
            "sub": "droplet-99",
            "droplet_id": 99,
            "permissions": ["write"],
            "iat": now,
            "exp": now + 60,
        }
    )


def show(what: str, answer: httpx2.Response, status: int, body: Any) -> None:
    told = answer.json()
    error = told.get("error")
    line = f"{error['code']}: {error['message']}" if error else json.dumps(told)
    print(f"   {what:<18} -> {answer.status_code}  {line}")
    expect((answer.status_code, told) == (status, body), f"{what} should give {status} and {json.dumps(body)}")


def expect(true: bool, otherwise: str) -> None:
    if not true:
        sys.exit(f"This did not go as it should: {otherwise}")


if __name__ == "__main__":
    main()
