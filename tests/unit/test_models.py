"""The bodies of contract section 2: names, types, and how they are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from udc import models
from udc.errors import InvalidRequest
from udc.messages import Priority

WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)

FIELDS: dict[type[models.Body], str] = {
    models.Health: "id name steward status endpoint proof cost_usd yield_usd updated_at",
    models.Capabilities: "version features dependencies udc_version metadata actions fingerprint",
    models.ActionInfo: "name message_type description input_schema output_schema idempotent scope",
    models.State: "cpu_percent memory_mb uptime_seconds requests_total requests_per_minute errors_last_hour"
    " last_restart",
    models.Dependencies: "required optional missing",
    models.DependencyInfo: "id name status",
    models.SendRequest: "target message_type payload priority retry_count",
    models.SendResult: "sent trace_id target timestamp result data error",
    models.VersionInfo: "version build_date commit_hash environment deployed_by",
    models.LogPage: "logs total droplet_id",
    models.LogEntry: "timestamp level logger message trace_id",
    models.EventPage: "events total droplet_id",
    models.EventEntry: "timestamp event_type detail",
    models.Proof: "action timestamp trace_id droplet_id instance_id signature",
    models.ReloadRequest: "config_path",
    models.ReloadResult: "reloaded changed timestamp",
    models.ShutdownRequest: "delay_seconds reason",
    models.ShutdownResult: "shutdown_scheduled delay_seconds reason scheduled_at",
    models.TaskRequest: "task_id task_type payload deadline priority trace_id attempt",
    models.TaskAccepted: "status task_id",
    models.ChatRequest: "message session_id context metadata",
    models.ChatReply: "response confidence context",
    models.MessageBody: "message_type payload trace_id source target timestamp message_id correlation_id timeout_ms "
    "deadline attempt hops on_behalf_of priority reply_to udc_version",
    models.ReceiptBody: "received trace_id processed_at result data message_id handled duplicate",
    models.ErrorBody: "code message details retryable retry_after_seconds hint",
    models.ErrorAnswer: "status error timestamp trace_id",
    models.Live: "ok instance_id",
    models.Ready: "ready phase presence reasons",
}


def test_every_public_model_has_its_row() -> None:
    assert {model.__name__ for model in FIELDS} | {"Body", "read"} == set(models.__all__)


@pytest.mark.parametrize(("model", "names"), FIELDS.items())
def test_the_names_are_the_contracts(model: type[models.Body], names: str) -> None:
    assert list(model.model_fields) == names.split()
    for mode in ("validation", "serialization"):
        schema = model.model_json_schema(mode=mode)
        assert list(schema["properties"]) == names.split()
    assert all(field.description for field in model.model_fields.values())
    assert model.__doc__
    assert model.model_config["frozen"]


def read(model: type[models.Body], value: object) -> Any:
    return models.read(model, json.dumps(value).encode())


TASK = {"task_id": "t-1", "task_type": "resize"}
SEND = {"target": 4, "message_type": "query", "payload": {"type": "x"}}


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (models.SendRequest, {**SEND, "target": True}, "target"),
        (models.SendRequest, {**SEND, "target": 0}, "target"),
        (models.SendRequest, {**SEND, "target": ""}, "target"),
        (models.SendRequest, {**SEND, "target": None}, "target"),
        (models.SendRequest, {"message_type": "query", "payload": {}}, "target"),
        (models.SendRequest, {**SEND, "message_type": "response"}, "message_type"),
        (models.SendRequest, {**SEND, "payload": []}, "payload"),
        (models.SendRequest, {**SEND, "payload": "text"}, "payload"),
        (models.SendRequest, {**SEND, "priority": "urgent"}, "priority"),
        (models.SendRequest, {**SEND, "retry_count": True}, "retry_count"),
        (models.SendRequest, {**SEND, "retry_count": "3"}, "retry_count"),
        (models.SendRequest, {**SEND, "retry_count": 3.5}, "retry_count"),
        (models.SendRequest, {**SEND, "retry_count": 11}, "retry_count"),
        (models.SendRequest, {**SEND, "retry_count": -1}, "retry_count"),
        (models.TaskRequest, {"task_type": "resize"}, "task_id"),
        (models.TaskRequest, {"task_id": "t"}, "task_type"),
        (models.TaskRequest, {**TASK, "task_id": True}, "task_id"),
        (models.TaskRequest, {**TASK, "task_id": ""}, "task_id"),
        (models.TaskRequest, {**TASK, "task_id": "x" * 129}, "task_id"),
        (models.TaskRequest, {**TASK, "task_type": ""}, "task_type"),
        (models.TaskRequest, {**TASK, "priority": 0}, "priority"),
        (models.TaskRequest, {**TASK, "priority": 11}, "priority"),
        (models.TaskRequest, {**TASK, "priority": True}, "priority"),
        (models.TaskRequest, {**TASK, "attempt": 0}, "attempt"),
        (models.TaskRequest, {**TASK, "attempt": True}, "attempt"),
        (models.TaskRequest, {**TASK, "deadline": "soon"}, "deadline"),
        (models.TaskRequest, {**TASK, "deadline": True}, "deadline"),
        (models.TaskRequest, {**TASK, "trace_id": ""}, "trace_id"),
        (models.ShutdownRequest, {"delay_seconds": True}, "delay_seconds"),
        (models.ShutdownRequest, {"delay_seconds": 301}, "delay_seconds"),
        (models.ShutdownRequest, {"delay_seconds": -1}, "delay_seconds"),
        (models.ReloadRequest, {"config_path": 5}, "config_path"),
        (models.ChatRequest, {}, "message"),
        (models.ChatRequest, {"message": "hi", "context": []}, "context"),
        (models.ChatReply, {"response": "hi", "confidence": True}, "confidence"),
        (models.ChatReply, {"response": "hi", "confidence": 1.5}, "confidence"),
        (models.Capabilities, {"version": "1", "actions": [{"name": "x"}]}, "actions.0.message_type"),
    ],
)
def test_a_wrong_body_is_refused_by_name(model: type[models.Body], body: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(model, body)
    assert str(refusal.value.details["field"]).startswith(field)
    assert refusal.value.message.startswith(field)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"payload": {"a": 1e999}}'])
def test_a_body_that_is_no_json(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        models.read(models.TaskRequest, body)
    assert refusal.value.details == {"field": "body"}


def test_all_problems_are_in_the_details() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(models.ShutdownRequest, {"delay_seconds": "secret value", "reason": 5})
    assert refusal.value.details == {"field": "delay_seconds", "fields": ["delay_seconds", "reason"]}
    assert "secret value" not in refusal.value.message


def test_unknown_keys_are_ignored_and_an_empty_body_is_an_empty_object() -> None:
    assert read(models.ShutdownRequest, {"x": 1}) == models.read(models.ShutdownRequest, b"")
    assert models.read(models.ShutdownRequest, b"") == models.ShutdownRequest(delay_seconds=10, reason="")


@pytest.mark.parametrize(
    "body",
    [
        {"id": "t-1", "type": "resize"},
        {"task_id": "t-1", "type": "resize"},
        {"task_id": "t-1", "id": "other", "task_type": "resize", "type": "other"},
    ],
)
def test_a_task_in_both_spellings(body: dict[str, Any]) -> None:
    assert read(models.TaskRequest, body) == models.TaskRequest(task_id="t-1", task_type="resize")


def test_a_whole_task() -> None:
    task = read(
        models.TaskRequest,
        {**TASK, "id": 7, "payload": '{"a": 1}', "deadline": 1735787045, "priority": 1, "trace_id": "x", "attempt": 2},
    )
    assert (task.payload, task.deadline, task.priority, task.trace_id, task.attempt) == ({"a": 1}, WHEN, 1, "x", 2)
    assert read(models.TaskRequest, {"id": 7, "type": "x"}).task_id == "7"
    assert (task.model_dump()["task_id"], task.model_dump()["task_type"]) == ("t-1", "resize")


def test_a_whole_send() -> None:
    send = read(models.SendRequest, {**SEND, "target": "billing", "priority": "high", "retry_count": 0})
    assert (send.target, send.priority, send.retry_count) == ("billing", Priority.HIGH, 0)
    assert read(models.SendRequest, SEND).retry_count == 3
    assert read(models.SendRequest, {**SEND, "retry_count": 3.0}).retry_count == 3  # JSON knows one kind of number


@pytest.mark.parametrize(
    "spelling",
    [WHEN, datetime(2025, 1, 2, 3, 4, 5), "2025-01-02T03:04:05", "2025-01-02T04:04:05+01:00", 1735787045.0],  # noqa: DTZ001
)
def test_times_are_aware_and_written_with_z(spelling: Any) -> None:
    result = models.ReloadResult(reloaded=True, timestamp=spelling)
    assert result.timestamp == WHEN
    assert json.loads(result.model_dump_json())["timestamp"] == "2025-01-02T03:04:05.000Z"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "x"])
def test_numbers_are_finite_and_no_booleans(value: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        models.ChatReply(response="hi", confidence=value)


def test_models_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        models.Live(instance_id="i").instance_id = "j"


@pytest.mark.parametrize("target", [True, "", -1, 1.5, [], {}])
def test_a_refused_union_is_named_as_its_sender_knows_it(target: object) -> None:
    body = json.dumps({"target": target, "message_type": "query", "payload": {}}).encode()
    with pytest.raises(InvalidRequest) as caught:
        models.read(models.SendRequest, body)
    assert caught.value.details["field"] == "target"
