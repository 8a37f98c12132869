"""A mesh of processes: droplets join, follow their Registry when it moves, and are told clearly what is wrong."""

from __future__ import annotations

import http.client
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.processes import Caller, House, Lag, Measured, always, seconds_until, served, until
from tests.journeys.programs import meeting_point, message, request

pytestmark = pytest.mark.timeout(60)


def test_droplets_started_before_their_registry_join_it_when_it_comes(house: House, measured: Measured) -> None:
    echo, asker = served(house.droplet("Echo"), house.droplet("Asker"))
    assert [each.presence for each in (echo, asker)] == ["unregistered", "unregistered"]

    mesh = house.mesh().serving()
    with Lag() as lag:
        joined = seconds_until(lambda: echo.has("registered") and asker.has("registered"))
    caller = Caller(asker.url, always(house.token(mesh.url)))
    called = caller.one()
    rows = house.ask("ls", "--json")

    measured(joined=joined)
    assert called, caller.failures
    assert joined < 4 + 10 * lag.seconds
    found = {row["id"]: (row["status"], row["endpoint"]) for row in rows}
    assert [found[each] for each in (1, 21, 22)] == [("active", each.url) for each in (mesh, echo, asker)]


def test_one_that_met_its_registry_late_keeps_its_receipts_too(house: House) -> None:
    """kill -9, restarted: what was done more than a second ago is not done again."""
    echo = house.droplet("Echo").serving()
    port = echo.port
    mesh = house.mesh().serving()
    token = house.token(mesh.url)
    until(lambda: echo.has("registered"))
    sent = {**message("command", "note", number=7), "message_id": "7a1f0c52-55a4-4c5e-9f0e-d53d0e3c1f11"}
    kept = house.data.root / "droplets" / "21" / "0" / "receipts.db"

    assert request(echo.url, "/message", sent, token=token)[1]["data"] == 7
    until(lambda: kept.exists() and _rows(kept) == 1)
    echo.kill()
    again = house.droplet("Echo", port=port).serving()
    after = until(lambda: _answered(again.url, sent, token))

    assert (after["data"], after["duplicate"]) == (7, True)
    assert house.done() == [7]


def _rows(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        try:
            count: int = connection.execute("SELECT count(*) FROM receipts").fetchone()[0]
        except sqlite3.OperationalError:  # the table is being made
            return 0
        return count


def _answered(url: str, sent: dict[str, object], token: str) -> dict[str, object] | None:
    status, answer, _ = request(url, "/message", sent, token=token)
    return answer if status == 200 else None


def test_droplets_follow_a_registry_that_moves_to_another_port(house: House, measured: Measured) -> None:
    """The same data directory, another port, stopped once and killed once: `mesh.json` says where; no call fails."""
    # Leases of a third of the usual length: a Registry counts as lost when one has run out.
    with_leases = partial(house.mesh, UDC_REGISTRY__LEASE_SECONDS="3")
    mesh, echo, asker = served(with_leases(), house.droplet("Echo"), house.droplet("Asker"))
    until(lambda: echo.has("registered") and asker.has("registered"))
    caller = Caller(asker.url, always(house.token(mesh.url)))

    with caller.calling():
        until(lambda: caller.made > 3)
        for end in ("stopped", "killed"):
            before = mesh.url
            mesh.stop() if end == "stopped" else mesh.kill()
            lost = seconds_until(lambda: echo.has("lost") and asker.has("lost"))
            mesh = with_leases().serving()
            back = seconds_until(lambda: echo.has("registered") and asker.has("registered"))
            measured(**{f"lost_{end}": lost, f"back_{end}": back})
            assert mesh.url != before
            caller.token = always(house.token(mesh.url))
            caller.goes_on(10)
            rows = house.rows(mesh.url, caller.token())
            assert {each: rows[each]["endpoint"] for each in (21, 22)} == {21: echo.url, 22: asker.url}

    measured(calls=caller.made)
    assert caller.failures == []


def test_a_second_droplet_on_the_same_port_is_refused(house: House) -> None:
    echo = house.droplet("Echo").serving()
    port = echo.port

    second = house.droplet("Echo", port=port)

    assert second.end() == 2
    assert (
        f"server.port: 127.0.0.1:{port} is in use; stop what listens there, or choose another" in second.log.read_text()
    )
    assert echo.presence == "unregistered"


def test_a_second_signal_ends_a_member_at_once(house: House) -> None:
    mesh = house.mesh().serving()
    echo = house.droplet("Echo").serving()
    until(lambda: echo.has("registered"))
    token = house.token(mesh.url)

    with meeting_point() as server, ThreadPoolExecutor(1) as pool:
        sent = message("command", "meet", port=server.getsockname()[1])
        call = pool.submit(request, echo.url, "/message", sent, token=token)
        with server.accept()[0]:
            echo.signal()
            until(lambda: echo.presence is None)
            echo.signal(signal.SIGINT)
            ended = seconds_until(lambda: call.done())
        code = echo.end()
        broken = call.exception()

    assert code == 130
    assert ended < 1
    assert isinstance(broken, OSError | http.client.HTTPException)
