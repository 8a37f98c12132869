"""What an answer of a droplet says of whether it took a task; and how long it is tried to stop one. Virtual time."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import AMBIENT, Finder, Registry, record
from tests.unit.mesh.orchestrator.test_machine import task
from udc.context import Context
from udc.errors import CallTimeout, ConnectionLost, PeerError, PeerUnreachable, TokenError, UnknownPeer
from udc.mesh.orchestrator.pushing import Pushing, Refusal, Unclear
from udc.mesh.orchestrator.task import Holder

pytestmark = virtual_time

HOLDER = Holder(droplet_id=14, attempt=2, instance_id="i-id", endpoint="http://i")
GONE = Holder(droplet_id=99, attempt=2, instance_id="i", endpoint="http://d99")


def said(status: int, code: str, **options: Any) -> PeerError:
    return PeerError("no", peer="x", status=status, code=code, **options)


class Mesh:
    """Answers as it is told; notes what it was asked."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    async def request(self, target: Any, method: str, path: str, body: Any = None, **options: Any) -> Any:
        self.asked.append((target, method, path, body, options.get("instance_id")))
        return self._answer()

    async def send(self, target: Any, kind: str, payload: Any, **options: Any) -> Any:
        self.asked.append((target, kind, payload))
        return self._answer()

    def _answer(self) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer


async def pushing(mesh: Mesh, *records: Any) -> Pushing:
    finder = Finder(Registry(*(records or [record(14)])))
    await finder.discovery.refresh()

    async def payload(task_id: str) -> str:
        return '{"n":1}'

    way = cast("Context", mesh)
    return Pushing(lambda: way, finder.discovery, payload=payload, ambient=AMBIENT, clock=anyio.current_time)


async def test_a_task_as_it_is_given() -> None:
    mesh = Mesh(None)
    await (await pushing(mesh)).give(task(deadline=1e9), HOLDER)
    [(target, method, path, body, instance_id)] = mesh.asked
    assert (target, method, path, instance_id) == (14, "POST", "/task", "i-id")
    assert (body["task_id"], body["task_type"], body["payload"], body["attempt"]) == ("t", "resize", {"n": 1}, 2)
    assert body["deadline"] == "2001-09-09T01:46:40.000Z"


@pytest.mark.parametrize(
    ("error", "seconds", "outdated"),
    [
        (said(503, "OVERLOADED", retryable=True, retry_after_seconds=7), 7, False),
        (said(503, "DRAINING", retryable=True), 2, False),
        (said(404, "NO_HANDLER"), 60, False),
        (said(403, "FORBIDDEN"), 60, False),
        (said(409, "CONFLICT"), 60, True),
        (PeerUnreachable("refused", peer="x"), 2, False),
        (UnknownPeer("nobody", peer="x"), 2, False),
        (TokenError("none"), 2, False),
    ],
)
async def test_what_says_that_it_was_not_taken(error: Exception, seconds: float, outdated: bool) -> None:
    with pytest.raises(Refusal) as raised:
        await (await pushing(Mesh(error))).give(task(), HOLDER)
    assert (raised.value.avoid_seconds, raised.value.outdated) == (seconds, outdated)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("broke", peer="x"),
        CallTimeout("late", peer="x"),
        said(504, "TIMEOUT"),
        said(500, "INTERNAL_ERROR"),
        said(503, "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_what_leaves_it_open(error: Exception) -> None:
    with pytest.raises(Unclear):
        await (await pushing(Mesh(error))).give(task(), HOLDER)


async def test_a_stop_is_tried_until_it_is_heard() -> None:
    busy = said(503, "OVERLOADED", retryable=True), said(429, "RATE_LIMITED", retryable=True)
    mesh = Mesh(ConnectionLost("broke", peer="x"), *busy, None)
    there = record(14, instances=[("i", "draining")])
    await (await pushing(mesh, there)).stop(task(), HOLDER)
    assert len(mesh.asked) == 4
    target, method, path, body, instance_id = mesh.asked[-1]
    assert (target, method, path, instance_id) == (14, "POST", "/message", "i-id")
    assert body["payload"] == {"type": "cancel_task", "task_id": "t"}


async def test_a_foreign_droplet_is_told_in_its_own_form() -> None:
    mesh = Mesh(None)
    await (await pushing(mesh, record(14, metadata={}))).stop(task(), HOLDER)
    assert mesh.asked == [(14, "command", {"type": "cancel_task", "task_id": "t"})]


@pytest.mark.parametrize(
    ("answer", "holder", "tries"),
    [
        (said(404, "NOT_FOUND"), HOLDER, 1),
        (PeerUnreachable("refused", peer="x"), GONE, 1),
        (None, Holder(droplet_id=14, attempt=1, polls=True), 0),
    ],
)
async def test_a_stop_that_nobody_needs(answer: Exception | None, holder: Holder, tries: int) -> None:
    mesh = Mesh(answer)
    await (await pushing(mesh)).stop(task(), holder)
    assert len(mesh.asked) == tries


async def test_a_stop_is_given_up_after_a_minute() -> None:
    mesh = Mesh(PeerUnreachable("refused", peer="x"))
    stranger = Holder(droplet_id=14, attempt=1)
    began = anyio.current_time()
    await (await pushing(mesh)).stop(task(), stranger)
    assert 60 <= anyio.current_time() - began <= 62
