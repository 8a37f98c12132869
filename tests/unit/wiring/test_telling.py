"""What the log says of a droplet's standing, and where it says it when nobody has set logging up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.served import key
from udc._wiring.facts import capture
from udc._wiring.nearby import NOT_IN_SIGHT, look_out
from udc._wiring.settings import Settings
from udc._wiring.surroundings import Surroundings
from udc._wiring.telling import Standing, tell_of_other_keys
from udc.datadir import DataDirectory, MeshFile
from udc.instrument import Event, PresenceChanged, RegistrationAccepted, RegistrationFailed
from udc.rings import LogRing

ACCEPTED = RegistrationAccepted(beat_every_seconds=3.0, lease_ttl_seconds=9.0)
LOST = PresenceChanged(before="registered", after="lost", reason="no answer")
BACK = PresenceChanged(before="lost", after="registered")


def failed(error: str) -> RegistrationFailed:
    return RegistrationFailed(error=error, retry_in_seconds=1.0)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [ACCEPTED, failed("refused"), failed("refused again"), ACCEPTED, ACCEPTED, failed("away")],
            [
                ("WARNING", "not registered: refused; it keeps trying"),
                ("WARNING", "registered now"),
                ("WARNING", "not registered: away; it keeps trying"),
            ],
        ),
        (
            [ACCEPTED, LOST, failed("refused"), LOST, ACCEPTED, BACK],
            [
                ("WARNING", "lost its Registry: no answer; it goes on serving, and keeps trying"),
                ("WARNING", "registered now"),
            ],
        ),
        (
            [LOST, BACK],
            [
                ("WARNING", "lost its Registry: no answer; it goes on serving, and keeps trying"),
                ("WARNING", "registered now"),
            ],
        ),
        (
            [failed(NOT_IN_SIGHT), failed(NOT_IN_SIGHT), ACCEPTED],
            [("INFO", f"not registered: {NOT_IN_SIGHT}"), ("INFO", "registered now")],
        ),
        ([failed("phase is starting"), ACCEPTED], []),
        (
            [failed("it says:\nall is well\x1b[2J")],
            [("WARNING", "not registered: it says: all is well [2J; it keeps trying")],
        ),
    ],
)
def test_each_change_is_said_once(
    events: list[Event], said: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    standing = Standing()
    with caplog.at_level(logging.INFO, "udc"):
        for event in events:
            standing(event)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == said


def test_what_was_announced_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    standing = Standing(announced=True)
    with caplog.at_level(logging.INFO, "udc"):
        for event in (failed(NOT_IN_SIGHT), ACCEPTED):
            standing(event)
    assert not caplog.records


class Quiet:
    """Settings, as far as the capture asks for them."""

    class config:  # noqa: N801 - a value's attribute
        log_level = "INFO"

    def subscribe(self, _: Any) -> None:
        pass


@contextmanager
def bare() -> Iterator[logging.Logger]:
    """Nobody has set logging up, not even pytest."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        yield root
    finally:
        root.handlers = handlers


async def test_where_nobody_set_logging_up_warnings_are_still_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rings = [LogRing(instance_id=each, secrets=()) for each in "ab"]
    settings: Any = Quiet()
    heard: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: heard.append(record.getMessage()))
    with bare() as root:
        async with capture(rings[0], settings), capture(rings[1], settings):
            Standing()(failed("refused"))
            logging.getLogger("udc.x").info("nothing that must be seen")
            assert capsys.readouterr().err == "not registered: refused; it keeps trying\n"

            logging.getLogger("udc").addHandler(handler)
            try:
                Standing()(failed("again"))
            finally:
                logging.getLogger("udc").removeHandler(handler)
            assert (heard, capsys.readouterr().err) == (["not registered: again; it keeps trying"], "")
        assert root.handlers == []


@pytest.mark.parametrize("left", [True, False])
async def test_a_leftover_key_that_keeps_a_droplet_out_of_the_mesh_is_named_once(
    left: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key_file = tmp_path / "old.pem"
    key_file.write_text(key().private_pem)
    environ = {"UDC_SECURITY__SIGNING_KEY_FILE": str(key_file)} if left else {}
    about = {"droplet.id": 14, "droplet.name": "A", "droplet.steward": "t", "droplet.url": "http://127.0.0.1:8014"}
    settings = Settings(Surroundings(environ=environ, explicit={**about, "data": tmp_path}), explicit={}, attributes={})
    data = DataDirectory(tmp_path)
    data.make_secret()
    nearby = look_out(settings)
    assert nearby is not None
    tell_of_other_keys(settings, nearby)
    assert nearby.look() is None

    data.write_mesh(MeshFile(registry="http://127.0.0.1:8000", pid=os.getpid()))
    nearby._look_at = 0.0
    for _ in range(3):
        assert nearby.look() is not None

    said = [each.getMessage() for each in caplog.records if "tokens are not taken" in each.message]
    assert len(said) == (1 if left else 0)
    for line in said:
        assert "http://127.0.0.1:8000" in line
        assert "UDC_SECURITY__SIGNING_KEY_FILE" in line
        assert "PRIVATE" not in line
