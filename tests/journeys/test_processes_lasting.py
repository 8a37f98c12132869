"""What lasts: leases of the usual length, tokens that end while the Registry is away, registrations that were accepted."""

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

LEASE = 9.0
"""In a mesh of less than 50 droplets."""


@pytest.mark.timeout(30)
def test_the_usual_lease_outlasts_a_slow_registry_and_not_a_killed_droplet(house: House, measured: Measured) -> None:
    """Answers take 5 s for one droplet, which stays registered; another is killed, and is out within 9 + 1 s."""
    mesh = house.mesh().serving()
    with closing(Moody(mesh.url)) as moody:
        victim, echo, asker = served(
            house.droplet("Echo"), house.droplet("Echo"), house.droplet("Asker", registry=moody.url)
        )
        until(lambda: all(each.has("registered") for each in (victim, echo, asker)))
        token = house.token(mesh.url)
        until(lambda: len(house.rows(mesh.url, token)[21]["instances"]) == 2)
        assert Caller(asker.url, always(token)).one()
        presences = set()

        def states() -> dict[str, str]:
            presences.add(asker.presence)
            rows = house.rows(mesh.url, token)
            assert rows[22]["instances"][0]["state"] == "ready"
            return {one["instance_id"]: one["state"] for one in rows[21]["instances"]}

        with (caller := Caller(asker.url, always(token))).calling():
            moody.mood, killed = "slow", time.monotonic()
            victim.kill()
            out = seconds_until(lambda: states().get(victim.instance_id) != "ready", since=killed, seconds=LEASE + 3)
            until(lambda: time.monotonic() > killed + LEASE + 1.5 and states())
        moody.mood = "well"
        house.close()

    measured(out=out, calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
    assert out <= LEASE + 1
    assert presences == {"registered"}
    assert caller.failures == []


@pytest.mark.timeout(40)
def test_tokens_last_to_their_end_while_the_registry_is_away(house: House, measured: Measured) -> None:
    """Calls go on until the last token has ended, then say why not, and go on again when the Registry is back."""
    life = 8
    registry = house.registry(TOKEN_SECONDS=str(life)).serving()
    port = int(registry.url.rpartition(":")[2])
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


@pytest.mark.timeout(30)
def test_no_accepted_registration_is_lost_when_the_registry_is_killed(house: House, measured: Measured) -> None:
    registry = house.registry().serving()
    port = int(registry.url.rpartition(":")[2])
    accepted: list[int] = []

    def register(first: int) -> None:
        for number in range(first, first + 100_000):
            record = {
                "id": number,
                "name": f"Droplet{number}",
                "steward": "tests",
                "endpoint": f"http://127.0.0.1:{number}",
                "capabilities": [],
                "version": "1",
                "status": "active",
            }
            try:
                status = request(registry.url, "/register", record, headers={"X-Droplet-Secret": house.secret})[0]
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
