"""What is measured of calls: per peer, bounded, and nothing while nobody wants to know."""

from __future__ import annotations

from typing import Any

from udc.instrument import Event, MessageHandled, SendFinished
from udc.services import telemetry
from udc.services.telemetry import CallRecords


def sent(peer: str = "Billing", peer_id: int | None = 15, **more: Any) -> SendFinished:
    facts: dict[str, Any] = {"attempts": 1, "seconds": 0.5, "trace_id": "a1", "action": "ask"} | more
    return SendFinished(peer=peer, peer_id=peer_id, message_type="query", **facts)


def records(*events: Event) -> CallRecords:
    made = CallRecords()
    made.wanted = True
    for event in events:
        made(event)
    return made


def test_nothing_is_kept_while_nobody_wants_it() -> None:
    idle = CallRecords()
    idle(sent())
    assert idle.take() == ([], [])


def test_calls_by_peer_with_the_percentile_of_real_durations() -> None:
    made = records(*(sent(seconds=number / 100) for number in range(1, 101)), sent("Ada", None, error="PeerError"))
    assert made.take()[0] == [
        {"peer": 15, "count": 100, "errors": 0, "p95_ms": 950.0},
        {"peer": "Ada", "count": 1, "errors": 1, "p95_ms": 500.0},
    ]
    assert made.take() == ([], [])


def test_what_is_sent_of_itself_does_not_count() -> None:
    assert records(sent(action="metrics_update")).take() == ([], [])


def test_all_is_bounded() -> None:
    made = records(*(sent(str(number), number, trace_id="0") for number in range(1000)))
    calls, spans = made.take()
    assert (len(calls), calls[-1]["peer"], calls[-1]["count"]) == (telemetry._PEERS + 1, "other", 800)
    assert len(spans) == 50


def test_spans_are_of_one_trace_in_sixteen() -> None:
    def handled(trace_id: str) -> MessageHandled:
        return MessageHandled(
            message_type="query", action="ask", source=14, seconds=0.25, trace_id=trace_id, error_code="TIMEOUT"
        )

    made = records(handled("b0"), handled("b1"), sent(trace_id="c0", error="CallTimeout"))
    told = {"message_type": "query", "action": "ask"}
    assert made.take()[1] == [
        {"trace_id": "b0", "kind": "handled", "peer": 14, "ms": 250.0, "error": "TIMEOUT", **told},
        {"trace_id": "c0", "kind": "sent", "peer": 15, "ms": 500.0, "error": "CallTimeout", **told},
    ]
