"""What lasts: leases of the usual length, tokens that end in an outage, registrations that were accepted."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import closing

import pytest

from tests.journeys.processes import (
    SHORT_LEASE,
    Caller,
    House,
    Measured,
    Moody,
    always,
    seconds_until,
    served,
    until,
)
from tests.journeys.programs import request

pytestmark = pytest.mark.timeout(60)

USUAL_LEASE = 9.0
"""In a mesh of less than 50 droplets."""


def test_a_registry_that_takes_5_seconds_to_answer_loses_nobody(house: House, measured: Measured) -> None:
    """For longer than a lease of the usual length, nobody is lost, and calls take no longer."""
    mesh = house.mesh().serving()
    with closing(Moody(mesh.url)) as moody:
        echo, asker = served(*(house.droplet(each, registry=moody.url) for each in ("Echo", "Asker")))
        until(lambda: echo.has("registered") and asker.has("registered"))
        token = house.token(mesh.url)
        until((caller := Caller(asker.url, always(token))).one)
        seen: set[object] = set()

        def watched() -> bool:
            rows = house.rows(mesh.url, token)
            seen.update((echo.presence, asker.presence, *(rows[each]["instances"][0]["state"] for each in (21, 22))))
            return time.monotonic() > began + USUAL_LEASE + 1

        with caller.calling():
            moody.mood, began = "slow", time.monotonic()
            until(watched, seconds=USUAL_LEASE + 4)
        house.close()

    measured(calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
    assert seen == {"registered", "ready"}
    assert caller.failures == []


def test_tokens_last_to_their_end_while_the_registry_is_away(house: House, measured: Measured) -> None:
    """Calls go on until the last token has ended, then say why not, and go on again when the Registry is back."""
    life = 6
    registry = house.registry(TOKEN_SECONDS=str(life)).serving()
    port = registry.port
    echo, asker = served(*(house.droplet(each, registry=registry.url) for each in ("Echo", "Asker")))
    until(lambda: echo.has("registered") and asker.has("registered"))
    caller = Caller(asker.url, always(house.token(registry.url)))  # good for 30 s more: clocks may differ that much
    assert caller.one()

    registry.kill()
    killed = time.monotonic()
    until(lambda: not caller.one(), seconds=life + 2)
    lasted = caller.failures[0].at - killed
    house.registry(port=port, TOKEN_SECONDS=str(life)).serving()
    caller.token = always(house.token(registry.url))
    back = seconds_until(caller.one, seconds=20)

    measured(lasted=lasted, back=back)
    error = caller.failures[0].answer["error"]
    assert lasted > 0.4 * life
    assert (caller.failures[0].status, error["code"]) == (503, "DEPENDENCY_UNAVAILABLE")
    assert echo.log.read_text().count("Traceback") == 0


def test_no_accepted_registration_is_lost_when_the_registry_is_killed(house: House, measured: Measured) -> None:
    registry = house.registry().serving()
    port = registry.port
    accepted: list[int] = []

    def register(first: int) -> None:
        for number in range(first, first + 100_000):
            record = {
                "id": number,
                "name": f"Droplet{number}",
                "steward": "tests",
                "endpoint": "http://127.0.0.1:9",
                "capabilities": [],
                "version": "1",
                "status": "active",
            }
            try:
                status = request(registry.url, "/register", record, secret=house.secret)[0]
            except (OSError, ValueError, http.client.HTTPException):
                return
            if status == 200:
                accepted.append(number)

    threads = [threading.Thread(target=register, args=(each * 100_000,)) for each in (1, 2, 3)]
    for thread in threads:
        thread.start()
    until(lambda: len(accepted) >= 60)
    registry.kill()
    for thread in threads:
        thread.join(SHORT_LEASE + 8)
    house.registry(port=port).serving()

    rows = house.rows(registry.url, house.token(registry.url))
    measured(accepted=len(accepted))
    assert set(accepted) <= rows.keys()
    assert len(rows) <= 1 + len(accepted) + len(threads), "and nobody who did not ask"
