"""The rings: bounded, filtered, one droplet's own, and without a secret in them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udc._ids import seeded
from udc.context import Context, Lineage, current_context
from udc.dispatch.contexts import Contexts
from udc.instrument import (
    AuthenticationFailed,
    Instrument,
    PhaseChanged,
    RequestAnswered,
    SendAttempted,
    ServiceCrashed,
    ServiceRecovered,
)
from udc.lifecycle import Phase
from udc.rings import EventRing, LogRing, current_droplet, mask

AMBIENT = seeded(1, lambda: 0.0)


class Nobody:
    """Sends nothing."""

    async def send(self, order: object) -> Any: ...

    def spread(self, *_: object, **__: object) -> Any: ...


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


headers = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "cty"]), st.text(max_size=20), min_size=1)
spacing = st.sampled_from([(None, ""), (None, " "), (None, "\n"), (1, ""), (None, "\r\n\t")])


@st.composite
def tokens(draw: st.DrawFn) -> str:
    indent, blank = draw(spacing)
    header = "{" + blank + json.dumps(draw(headers), indent=indent)[1:]
    parts = draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=3))
    last = draw(st.binary(max_size=60))
    return ".".join([encoded(header.encode()), *map(encoded, parts), encoded(last)])


@given(tokens(), st.text(max_size=20), st.text(max_size=20))
def test_no_jwt_ever_survives(token: str, before: str, after: str) -> None:
    masked = mask(f"{before}{token} {after}")
    header, payload = token.split(".")[:2]
    assert f"{header}.{payload}" not in masked
    assert "***" in masked


@given(st.text(max_size=200))
def test_masking_twice_is_masking_once_and_never_fails(text: str) -> None:
    assert isinstance(mask(text), str)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nothing to hide", "nothing to hide"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz", "basic ***"),
        ("bearer of news", "bearer of news"),
        ("password=hunter2&user=sam", "password=***&user=sam"),
        ("Password : hunter2, user", "Password : ***, user"),
        ('{"password": "two words, and"}', '{"password": ***}'),
        ("{'passwd': 'it\\'s', 'a': 1}", "{'passwd': ***, 'a': 1}"),
        ('{\\"token\\": \\"a b\\", \\"c\\": 1}', '{\\"token\\": ***, \\"c\\": 1}'),
        ('secret="never closed', "secret=***"),
        ("secret='never closed\\", "secret=***"),
        ("client_secret_value: x", "client_secret_value: ***"),
        ("X-Droplet-Secret: a/b+c", "X-Droplet-Secret: ***"),
        ("X-Registry-Key: abc", "X-Registry-Key: ***"),
        ("api-key=abc private_key=def", "api-key=*** private_key=***"),
        ("amqp://sam:pass@host:5672/a", "amqp://sam:***@host:5672/a"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("version 3.2.1 of example.com.au", "version 3.2.1 of example.com.au"),
        ("the tokens are out", "the tokens are out"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 300_000,
        "token" * 200_000,
        "token" + "\\" * 500_000,
        "eyJhbGciOiJ9." * 80_000,
        "a." * 500_000,
        "password='" + "\\'" * 400_000,
        "-----BEGIN " * 90_000,
        "://" * 300_000,
        "bearer " * 150_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_masking_takes_linear_time(text: str) -> None:
    """A caller's text may be a megabyte of whatever costs most; the test's own time limit is what fails."""
    mask(text)


def test_a_private_key_is_masked_even_when_it_is_cut_off() -> None:
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----"
    assert mask(f"key {pem} end") == "key ***key*** end"
    assert mask(f"key {pem[:40]}") == "key ***key***"


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    assert mask("say s3cr3t twice: s3cr3t", ["", "s3cr3t"]) == "say *** twice: ***"


class TestEvents:
    def test_rows(self) -> None:
        ring = EventRing(ambient=AMBIENT, secrets=["s3cr3t"])
        ring(ServiceCrashed(service="/s3cr3t", error="password=abc", restart_in_seconds=1.0))
        assert ring.last(5) == [
            {
                "timestamp": "1970-01-01T00:00:00.000Z",
                "event_type": "service_crashed",
                "detail": {"service": "/***", "error": "password=***", "restart_in_seconds": 1.0},
            }
        ]

    def test_what_happens_at_every_message_is_left_out(self) -> None:
        ring = EventRing(ambient=AMBIENT)
        ring(RequestAnswered(method="GET", route="", status=200, seconds=0, trace_id=""))
        ring(SendAttempted(peer="", message_type="", action=None, attempt=1, seconds=0, trace_id=""))
        ring(AuthenticationFailed(client="192.0.2.7", route="/state", reason="bad"))  # an attacker's to cause
        assert (ring.total, ring.last(5)) == (0, [])

    def test_bounded_limited_and_filtered(self) -> None:
        ring = EventRing(ambient=AMBIENT, size=3)
        Instrument([ring]).emit(PhaseChanged(before=Phase.STARTING, after=Phase.READY))
        for name in "abc":
            ring(ServiceRecovered(service=name))
        assert ring.total == 4
        assert [row["detail"]["service"] for row in ring.last(10)] == ["a", "b", "c"]
        assert [row["detail"]["service"] for row in ring.last(2, "service_recovered")] == ["b", "c"]
        assert ring.last(5, "phase_changed") == []
        assert ring.last(0) == []


@pytest.fixture
def ring() -> Iterator[LogRing]:
    ring = LogRing(instance_id="me", secrets=["s3cr3t"], size=3)
    logger = logging.getLogger("test.rings")
    logger.addHandler(ring)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield ring
    logger.removeHandler(ring)
    logger.propagate = True


LOG = logging.getLogger("test.rings")


class TestLogs:
    def test_rows(self, ring: LogRing) -> None:
        LOG.warning("the %s is out", "s3cr3t", extra={"trace_id": "t-1"})
        (row,) = ring.last(5)
        assert row.pop("timestamp").endswith("Z")
        assert row == {"level": "WARNING", "logger": "test.rings", "message": "the *** is out", "trace_id": "t-1"}

    def test_bounded_limited_and_by_level(self, ring: LogRing) -> None:
        for level in (logging.DEBUG, logging.INFO, logging.ERROR, 25):
            LOG.log(level, "at %d", level)
        assert ring.total == 4
        assert [row["message"] for row in ring.last(10)] == ["at 20", "at 40", "at 25"]
        assert [row["message"] for row in ring.last(10, "warning")] == ["at 40", "at 25"]  # unknown levels are shown
        assert [row["message"] for row in ring.last(1)] == ["at 25"]
        assert ring.last(0) == []

    def test_lines_of_another_droplet_are_not_taken_those_of_nobody_are(self, ring: LogRing) -> None:
        for owner in ("other", "me", None):
            token = current_droplet.set(owner)
            LOG.info("by %s", owner)
            current_droplet.reset(token)
        assert [row["message"] for row in ring.last(5)] == ["by me", "by None"]

    def test_lines_of_a_handler_are_its_own_droplets_whoever_has_called_it(self, ring: LogRing) -> None:
        for owner, caller in (("me", "other"), ("other", "me"), (None, "me"), (None, "other")):
            context = Context(Contexts(sender=Nobody(), ambient=AMBIENT, instance_id=owner))
            droplet, handler = current_droplet.set(caller), current_context.set(context)
            LOG.info("%s within %s", owner, caller)
            current_context.reset(handler)
            current_droplet.reset(droplet)
        assert [row["message"] for row in ring.last(5)] == ["me within other", "None within me"]

    @pytest.mark.parametrize("arguments", [("%d", "x"), ("%(a)s", {"b": 1}), ("%s",)])
    def test_a_line_that_cannot_be_made_harms_nobody(
        self, ring: LogRing, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging, "raiseExceptions", False)
        LOG.info(*arguments)
        assert ring.total == (1 if len(arguments) == 1 else 0)

    def test_an_argument_that_cannot_be_shown_harms_nobody(
        self, ring: LogRing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Sour:
            def __str__(self) -> str:
                raise LookupError("no")

        monkeypatch.setattr(logging, "raiseExceptions", False)
        LOG.info("%s", Sour())
        assert ring.total == 0

    def test_rows_can_always_be_written_as_json(self, ring: LogRing) -> None:
        LOG.info("file \udcff", extra={"trace_id": 17})
        (row,) = ring.last(5)
        assert row["message"] == "file ?"
        assert row["trace_id"] == "17"
        json.dumps(row).encode()

    def test_the_trace_is_that_of_the_running_handler(self, ring: LogRing) -> None:
        for lineage, expected in ((Lineage(trace_id="t-9"), "t-9"), (None, None)):
            context = Context(Contexts(sender=Nobody(), ambient=AMBIENT), lineage=lineage)
            token = current_context.set(context)
            LOG.info("x")
            current_context.reset(token)
            assert ring.last(1)[0]["trace_id"] == expected
