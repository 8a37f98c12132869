"""Status words, message types and times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from udc.errors import InvalidRequest
from udc.lifecycle import Status
from udc.messages import MessageType
from udc.wire.words import MESSAGE_TYPES, moment, status

NOON = datetime(2025, 1, 2, 12, 0, 0, tzinfo=UTC)

WORDS: dict[Status, list[object]] = {
    Status.ACTIVE: ["active", "healthy", "ok", "true", "running", "OK", " Healthy ", True],
    Status.INACTIVE: ["inactive", "degraded", "idle", "busy", "maintenance", "unknown"],
    Status.ERROR: ["error", "unhealthy", "down", "failed"],
}


@pytest.mark.parametrize(("word", "meant"), [(word, meant) for meant, words in WORDS.items() for word in words])
def test_status_words(word: object, meant: Status) -> None:
    assert status(word) is meant


@pytest.mark.parametrize("rubbish", ["", "fine", False, None, 1, ["ok"]])
def test_other_status_words_are_refused(rubbish: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^state: must be a status word"):
        status(rubbish, field="state")


@pytest.mark.parametrize(
    "spelling",
    [
        "2025-01-02T12:00:00Z",
        "2025-01-02T12:00:00.000Z",
        "2025-01-02T12:00:00",
        "2025-01-02 12:00:00",
        "2025-01-02T12:00:00+00:00",
        "2025-01-02T14:30:00+02:30",
        1735819200,
        1735819200.0,
    ],
)
def test_times(spelling: object) -> None:
    read = moment(spelling)
    assert read == NOON
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        "yesterday",
        "2025-13-01T00:00:00Z",
        True,
        None,
        [],
        {},
        1e20,
        -1e20,
        float("inf"),
        float("nan"),
        10**400,
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        1735819200000000,
    ],
)
def test_what_is_no_time_is_refused(rubbish: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        moment(rubbish, field="deadline")
    assert refusal.value.details == {"field": "deadline"}


@pytest.mark.parametrize(
    ("word", "kind"),
    [(kind.value, kind) for kind in MessageType]
    + [(word, MessageType.COMMAND) for word in ("task_assignment", "task")]
    + [
        (word, MessageType.EVENT)
        for word in ("status_update", "heartbeat", "data", "registry", "registration", "proof")
    ],
)
def test_message_types(word: str, kind: MessageType) -> None:
    assert MESSAGE_TYPES[word] is kind
