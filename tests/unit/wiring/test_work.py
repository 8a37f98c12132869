"""Tasks, chats and cancellations on their way to the dispatcher and the messenger; settings and their reload."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract.served import config_file, settings
from udc._ids import seeded
from udc._wiring import work
from udc._wiring.outgoing import make_transports
from udc._wiring.settings import Settings
from udc._wiring.surroundings import Surroundings
from udc.context import Order
from udc.errors import ConfigError, InternalError, InvalidRequest, NoHandler, NotFound, PeerUnreachable
from udc.identity.claims import Principal
from udc.messages import Message, MessageType, Peer, Reply
from udc.models import ChatRequest, SendRequest, TaskRequest
from udc.surface._base import HttpRequest
from udc.surface.messages import read_string
from udc.surface.sending import Sending, error_object
from udc.surface.working import TraceCancel, Working, _reply, reserved
from udc.tasks.attempts import Assignment
from udc.tasks.reports import Report

AMBIENT = seeded(1, lambda: 1000.0)


def principal(droplet_id: int | None = 77, *permissions: str) -> Principal:
    return Principal(subject="someone", droplet_id=droplet_id, issuer="i", permissions=frozenset(permissions))


class Sender:
    """Keeps what it is asked to send."""

    def __init__(self, error: Exception | None = None) -> None:
        self.orders: list[Order] = []
        self.error = error

    async def send(self, order: Order) -> Reply:
        self.orders.append(order)
        if self.error is not None:
            raise self.error
        return Reply(peer=Peer(endpoint="http://b"), trace_id=order.lineage.trace_id, data={"n": 1}, result="queued")


def command(payload: dict[str, Any], **changes: Any) -> Message:
    return Message(
        message_type=MessageType.COMMAND,
        payload=payload,
        trace_id="tr",
        timestamp=datetime.now(UTC),
        source=77,
        hops=3,
        **changes,
    )


async def test_a_cancel_is_passed_on_and_an_absent_peer_told_no_more(caplog: pytest.LogCaptureFixture) -> None:
    for error in (None, PeerUnreachable("gone", peer=15)):
        sender = Sender(error)
        forward = work.forward_cancel(sender)
        payload = {"type": "cancel_trace", "trace_id": "tr"}
        await forward(Peer(id=15, name="B", endpoint="http://b"), command(payload))
        await forward(Peer(name="B", endpoint="http://b"), command(payload))
        assert [order.target for order in sender.orders] == [15, "B"]
        assert sender.orders[0].payload == payload
        assert (sender.orders[0].lineage.hops, sender.orders[0].timeout_seconds) == (4, 1.0)
    assert len(caplog.records) == 2


async def test_only_ones_own_work_is_cancelled_and_only_then_passed_on() -> None:
    asked: list[tuple[str, Any]] = []
    forwarded: list[Peer] = []
    count = 2

    def cancel(trace_id: str, by: Any) -> int:
        asked.append((trace_id, by))
        return count

    async def forward(peer: Peer, _: Message) -> None:
        forwarded.append(peer)

    peers = [Peer(endpoint="http://a"), Peer(endpoint="http://b")]
    traces = TraceCancel(cancel=cancel, pending=lambda _: peers, forward=forward)
    message = command({"trace_id": "tr"})
    assert await traces(message, principal(77, "write")) == {"cancelled": 2}
    assert len(forwarded) == 2
    assert await traces(message, principal(77, "admin")) == {"cancelled": 2}
    count = 0
    forwarded.clear()
    assert await traces(message, principal(77)) == {"cancelled": 0}
    assert forwarded == []
    assert asked == [("tr", 77), ("tr", None), ("tr", 77)]
    with pytest.raises(InvalidRequest, match=r"payload\.trace_id"):
        await traces(command({}), principal())


@pytest.mark.parametrize("data", [None, [], {}, {"a": 5}, {"a": ""}])
def test_a_string_that_is_missing_is_named(data: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"payload\.a"):
        read_string(data, "a")


async def test_cancel_task_goes_to_the_desk() -> None:
    class Desk:
        def cancel(self, task_id: str, *, by: Principal, orchestrator: Any) -> None:
            assert (task_id, by.droplet_id, orchestrator) == ("t-1", 77, 10)

    working = Working(Desk(), chat=None, orchestrator=10, me=14, proofs=None, ambient=AMBIENT)  # type: ignore[arg-type]  # only what is used
    traces = TraceCancel(cancel=lambda *_: 0, pending=lambda _: [], forward=work.forward_cancel(Sender()))
    actions = reserved(working, traces)
    assert set(actions) == {"cancel_task", "cancel_trace"}
    assert await actions["cancel_task"](command({"task_id": "t-1"}), principal()) == {"task_id": "t-1"}


def test_a_chat_reply() -> None:
    asked = ChatRequest(message="hi", context={"a": 1})
    assert _reply("yes", asked).model_dump() == {"response": "yes", "confidence": 1.0, "context": {"a": 1}}
    assert _reply("yes", ChatRequest(message="hi")).context == {}
    whole = _reply({"response": "r", "confidence": 0.5, "context": {}}, asked)
    assert whole.confidence == 0.5
    for bad in (None, 5, {"response": 5}, {"response": "a", "confidence": 2}):
        with pytest.raises(InternalError, match="neither a text nor a ChatReply"):
            _reply(bad, asked)


async def test_a_chat_without_a_droplet_is_from_its_subject() -> None:
    seen: list[Message] = []

    async def chat(message: Message, _: Principal) -> Any:
        seen.append(message)

        class Done:
            data = b'"yes"'

        return Done

    working = Working(None, chat=chat, orchestrator=10, me=14, proofs=None, ambient=AMBIENT)  # type: ignore[arg-type]  # only what is used
    for who in (principal(None), principal(77)):
        request = HttpRequest(method="POST", path="/", body=b'{"message": "hi"}', principal=who)
        await working.chat(request)
        assert request.trace_id == seen[-1].trace_id
    assert [message.source for message in seen] == ["someone", 77]
    nobody = Working(None, chat=None, orchestrator=10, me=14, proofs=None, ambient=AMBIENT)  # type: ignore[arg-type]  # likewise
    with pytest.raises(NotFound):
        await nobody.chat(HttpRequest(method="POST", path="/"))


async def test_sending_tells_how_it_went() -> None:
    sender = Sender()
    body = SendRequest(target="15", message_type="event", payload={"a": 1}, retry_count=2).model_dump_json().encode()
    for who, behalf in ((principal(77), 77), (principal(None), "someone")):
        request = HttpRequest(method="POST", path="/send", body=body, principal=who)
        result = await Sending(sender, ambient=AMBIENT)(request)
        assert (result.sent, result.result, result.data, result.error) == (True, "queued", {"n": 1}, None)
        order = sender.orders[-1]
        assert (order.target, order.payload, order.retries) == (15, {"a": 1}, 2)
        assert order.lineage.on_behalf_of == behalf
        assert result.trace_id == request.trace_id == order.lineage.trace_id
    url = HttpRequest(
        method="POST", path="/send", body=body.replace(b'"15"', b'"http://a.example"'), principal=principal()
    )
    with pytest.raises(InvalidRequest, match="not a URL"):
        await Sending(sender, ambient=AMBIENT)(url)


def test_the_peers_error_object() -> None:
    from udc.errors import CallTimeout, PeerError

    error = PeerError("full", peer="B", status=409, code="QUOTA_SPENT", details={"left": 0}, retryable=True)
    assert error_object(error) == {
        "code": "QUOTA_SPENT",
        "message": "full",
        "details": {"left": 0},
        "retryable": True,
        "status": 409,
    }
    assert error_object(CallTimeout("secret", peer="B"))["code"] == "TIMEOUT"
    assert "secret" not in str(error_object(CallTimeout("secret", peer="B")))


async def test_tasks_reach_the_dispatcher_as_tasks() -> None:
    class Table:
        def find(self, kind: str, name: str) -> object | None:
            return object() if (kind, name) == ("task", "work") else None

        def known(self, kind: str) -> list[str]:
            return [] if not self.names else ["work"]

        names = True

    seen: list[Message] = []

    class Dispatcher:
        async def dispatch(self, message: Message, _: Principal, *, kind: str, progress: Any) -> Any:
            assert kind == "task"
            seen.append(message)

            class Outcome:
                data = b"1"

            return Outcome

    table = Table()
    worker = work.TaskWorker(table, Dispatcher(), me=14, ambient=AMBIENT)  # type: ignore[arg-type]  # only what is used
    worker.knows("work")
    with pytest.raises(NoHandler, match="known: 'work'"):
        worker.knows("play")
    table.names = False
    with pytest.raises(NoHandler, match="known: none"):
        worker.knows("play")

    async def progress(percent: float, note: str) -> None: ...

    asked = TaskRequest(task_id="t", task_type="work", payload={"a": 1}, attempt=2)
    for who, source in ((principal(10), 10), (principal(None), "someone")):
        assignment = Assignment(
            task_id=asked.task_id,
            name=asked.task_type,
            data=asked.payload,
            trace_id="tr",
            attempt=asked.attempt,
            deadline=None,
            principal=who,
        )
        assert await worker.run(assignment, progress) == b"1"
        assert (seen[-1].source, seen[-1].message_id, seen[-1].attempt, seen[-1].action) == (source, "t", 2, "work")
    sender = Sender()
    report = Report(trace_id="tr", payload={"type": "task_acknowledged"}, message_id="m")
    await work.tell_orchestrator(sender, 10)(report)
    order = sender.orders[0]
    assert (order.target, order.lineage.trace_id, order.payload) == (10, "tr", report.payload)
    assert order.message_id == "m"


def around(file: Path | None = None) -> Surroundings:
    return Surroundings(config_file=file, sample_process=False)


def made(file: Path | None, **explicit: Any) -> Settings:
    own = {**settings(), "droplet.id": 14, "droplet.name": "A", "droplet.steward": "b", **explicit}
    return Settings(around(file), explicit=own, attributes={})


class TestSettings:
    def test_followers_hear_of_every_reload(self, tmp_path: Path) -> None:
        holder = made(config_file(tmp_path, limits={"in_flight": 5}))
        heard: list[int] = []
        holder.subscribe(lambda config: heard.append(config.limits.in_flight))
        config_file(tmp_path, limits={"in_flight": 6})
        assert holder.reload(None) == ("limits.in_flight",)
        assert (heard, holder.config.limits.in_flight) == ([6], 6)

    def test_what_needs_a_restart_is_refused_and_nothing_changes(self, tmp_path: Path) -> None:
        holder = made(config_file(tmp_path, limits={"in_flight": 5}))
        config_file(tmp_path, limits={"in_flight": 6, "sync_threads": 3}, environment="staging")
        with pytest.raises(ConfigError) as caught:
            holder.reload(None)
        assert [line.partition(":")[0] for line in caught.value.problems] == ["environment", "limits.sync_threads"]
        assert holder.config.limits.in_flight == 5

    def test_without_a_file_the_other_sources_are_read(self) -> None:
        holder = made(None)
        assert holder.reload(None) == ()

    def test_a_problem_without_a_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        holder = made(None)
        holder._explicit["limits.in_flight"] = -1
        with pytest.raises(ConfigError, match=r"limits\.in_flight"):
            holder.reload(None)

    def test_secrets_that_change_are_not_shown(self, tmp_path: Path) -> None:
        holder = made(config_file(tmp_path, droplet={"secret": "first-s3cr3t"}))
        config_file(tmp_path, droplet={"secret": "second-s3cr3t"})
        with pytest.raises(ConfigError) as caught:
            holder.reload(None)
        assert "s3cr3t" not in str(caught.value)


def test_the_surroundings_may_bring_their_own_transports() -> None:
    mine: dict[str, Any] = {"memory": object()}
    made_ = make_transports(Surroundings(make_transports=lambda *_: mine), None, None, None)  # type: ignore[arg-type]  # passed on
    assert made_ is mine
