"""Changes of tasks as they happen: server-sent events that go on after a broken connection (contract section 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio

from udc._frozen import dataclass
from udc.clients.orchestrator_records import TaskRecord, task_record
from udc.clients.peer_http import PeerHttp
from udc.errors import ConnectionLost, InvalidReply, InvalidRequest, PeerError, UdcError
from udc.messages import Peer
from udc.wire import json_text
from udc.wire.faults import decode_error
from udc.wire.server_sent import Event, EventReader

if TYPE_CHECKING:
    from udc._http.stream import HttpStream

PATIENCE_SECONDS: Final = 60.0
"""How long it tries to reach an Orchestrator that is away before it gives up."""

_SILENCE_SECONDS: Final = 45.0
"""Three keep-alives that did not come: the connection is dead although nothing says so."""
_ANSWER_SECONDS: Final = 10.0
_BASE_SECONDS: Final = 0.2
_CAP_SECONDS: Final = 5.0
_MAX_ERROR_BYTES: Final = 1024 * 1024
_MAY_PASS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """A task changed.

    Attributes:
        seq: of the event; `None` from an Orchestrator that does not number them.
        task: the task after the change, without its history.
    """

    seq: int | None
    task: TaskRecord


@dataclass(frozen=True, slots=True)
class Missed:
    """Some changes were missed, because the connection was away for longer than the Orchestrator remembers."""


class TaskEvents:
    """An asynchronous iterator of `TaskEvent` and `Missed`. Use it in `async with`, which closes the connection.

    Ends with the terminal state where one task was asked for; else never.

    Raises, while it is iterated:
        PeerError: the Orchestrator says no.
        DeliveryError, TokenError: it has been away for 60 s.
    """

    def __init__(
        self,
        http: PeerHttp,
        peer: Peer,
        path: str,
        *,
        until_terminal: bool,
        after: int | None,
        chance: Callable[[], float],
    ) -> None:
        self._http = http
        self._peer = peer
        self._path = path
        self._until_terminal = until_terminal
        self._last_id = None if after is None else str(after)
        self._chance = chance
        self._stream: HttpStream | None = None
        self._reader = EventReader()
        self._waiting: deque[Event] = deque()
        self._failures = 0
        self._away_since: float | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskEvent | Missed:
        while not self._over:
            while self._waiting:
                found = self._read(self._waiting.popleft())
                if found is not None:
                    return found
            try:
                self._waiting.extend(await self._more())
            except UdcError as error:
                await self._lost(error)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection; the iterator is over. Twice is harmless."""
        self._over = True
        await self._hang_up()

    async def _more(self) -> list[Event]:
        if self._stream is None:
            self._stream = await self._connected()
        with anyio.move_on_after(_SILENCE_SECONDS):
            part = await self._stream.part()
            if not part:
                raise ConnectionLost(f"{self._peer.label} ended the stream of events", peer=self._peer.label)
            self._failures, self._away_since = 0, None
            return self._fed(part)
        raise ConnectionLost(f"{self._peer.label} said nothing for {_SILENCE_SECONDS:g} s", peer=self._peer.label)

    def _fed(self, part: bytes) -> list[Event]:
        try:
            return self._reader.feed(part)
        except InvalidRequest as error:
            raise InvalidReply(f"{self._peer.label} sent no readable events: {error}", peer=self._peer.label) from error

    async def _connected(self) -> HttpStream:
        self._reader = EventReader()
        resume = () if self._last_id is None else (("last-event-id", self._last_id),)
        headers = (("accept", "text/event-stream"), *resume)
        with anyio.move_on_after(_ANSWER_SECONDS):
            stream = await self._http.stream(self._peer, "GET", self._path, headers=headers)
            if stream.status == HTTPStatus.OK:
                return stream
            async with stream:
                body = await stream.rest(max_bytes=_MAX_ERROR_BYTES)
            raise decode_error(body, status=stream.status, headers=stream.headers, peer=self._peer.label)
        raise ConnectionLost(f"{self._peer.label} did not answer in {_ANSWER_SECONDS:g} s", peer=self._peer.label)

    async def _lost(self, error: UdcError) -> None:
        """Wait before the next try; raises what will not pass."""
        await self._hang_up()
        now = anyio.current_time()
        self._away_since = now if self._away_since is None else self._away_since
        final = isinstance(error, InvalidReply) or (isinstance(error, PeerError) and not _may_pass(error))
        if final or now - self._away_since > PATIENCE_SECONDS:
            self._over = True
            raise error
        ceiling = min(_CAP_SECONDS, _BASE_SECONDS * float(2 ** min(self._failures, 10)))
        self._failures += 1
        await anyio.sleep(ceiling * (0.5 + self._chance() / 2))

    async def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _read(self, event: Event) -> TaskEvent | Missed | None:
        if event.id is not None:
            self._last_id = event.id
        if event.kind == "reset":
            return Missed()
        if event.kind != "task":
            return None
        try:
            told = json_text.parse_object(event.data)
        except InvalidRequest as error:
            raise InvalidReply(f"{self._peer.label} sent an event that is no JSON", peer=self._peer.label) from error
        task = task_record(json_text.as_mapping(told.get("task")), peer=self._peer.label)
        self._over = self._over or (self._until_terminal and task.terminal)
        seq = told.get("seq")
        return TaskEvent(seq=seq if type(seq) is int else None, task=task)


def _may_pass(error: PeerError) -> bool:
    return error.status in _MAY_PASS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
