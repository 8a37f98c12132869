"""`udc run` tells when its droplet cannot register."""

from __future__ import annotations

import pytest

from udc._wiring.nearby import NOT_IN_SIGHT
from udc.cli.standing import Standing
from udc.instrument import RegistrationAccepted, RegistrationFailed

ACCEPTED = RegistrationAccepted(beat_every_seconds=3.0, lease_ttl_seconds=9.0)


def failed(error: str) -> RegistrationFailed:
    return RegistrationFailed(error=error, retry_in_seconds=1.0)


def test_only_the_first_of_a_row_of_failures_is_told_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    standing = Standing()
    for event in (ACCEPTED, failed("refused"), failed("refused again"), ACCEPTED, ACCEPTED, failed("away")):
        standing(event)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "udc: not registered: refused; it keeps trying",
        "udc: registered now",
        "udc: not registered: away; it keeps trying",
    ]


@pytest.mark.parametrize("error", [NOT_IN_SIGHT, "phase is starting"])
def test_what_is_no_trouble_or_was_told_before_is_not_told(error: str, capsys: pytest.CaptureFixture[str]) -> None:
    standing = Standing()
    standing(failed(error))
    standing(ACCEPTED)

    assert capsys.readouterr().err == ""
