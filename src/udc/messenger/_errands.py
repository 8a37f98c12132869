"""Requests to peers' own endpoints: the token of a message, the answer's JSON or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from udc._http import HttpAnswer
from udc._ids import Ambient
from udc._types import UNSET, DropletId
from udc.clients.peer_http import PeerHttp
from udc.context import Errand
from udc.directory import Directory
from udc.errors import CallTimeout, ConfigError, InvalidReply, InvalidRequest, PeerError, PeerUnreachable
from udc.messages import Peer
from udc.wire import json_text
from udc.wire.faults import decode_error
from udc.wire.trace import HOPS_HEADER, TIMEOUT_HEADER, header_value, traceparent

_INSTANCES: Final = 5
_SUCCESS: Final = frozenset({200, 201, 202, 204})


class Errands:
    """Runs errands over HTTP (implements `Courier`).

    Args:
        directory: finds the peer.
        http: sends requests with the token of their peer.
        timeout_seconds: a request's limit when neither the errand nor its lineage sets an earlier one.
        unreachable: told of each droplet that could not be reached.
    """

    def __init__(
        self,
        directory: Directory,
        http: PeerHttp,
        *,
        ambient: Ambient,
        timeout_seconds: float,
        unreachable: Callable[[DropletId | None], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._http = http
        self._ambient = ambient
        self._timeout_seconds = timeout_seconds
        self._unreachable = unreachable

    async def run(self, errand: Errand) -> Any:  # Any: a JSON value
        """See `Courier.run`.

        Raises:
            PeerError: the peer answered with an error.
            PeerUnreachable: nothing was sent: refused by all, the instance is not there, or a token may not go there.
            ConnectionLost, CallTimeout, UnknownPeer, InvalidReply, TokenError: as for messages.
            TypeError: the body cannot be made JSON.
        """
        allowed = self._timeout_seconds if errand.timeout_seconds is None else errand.timeout_seconds
        deadline = anyio.current_time() + allowed
        if errand.lineage.deadline is not None:
            deadline = min(deadline, errand.lineage.deadline)
        with anyio.CancelScope(deadline=deadline):
            if anyio.current_time() < deadline:
                return await self._anywhere(errand, deadline)
        raise CallTimeout(f"{errand.target} did not answer {errand.method} {errand.path} in time", peer=errand.target)

    async def _anywhere(self, errand: Errand, deadline: float) -> Any:  # Any: a JSON value
        """At one instance after the other until one takes the connection."""
        *others, last = await self._wanted(errand)
        for peer in others:
            try:
                return await self._at(peer, errand, deadline)
            except PeerUnreachable:
                self._directory.avoid(peer)
        try:
            return await self._at(last, errand, deadline)
        except PeerUnreachable as error:
            if not isinstance(error.__cause__, ConfigError):  # what our own configuration forbids says nothing of it
                self._unreachable(last.id)
            raise

    async def _wanted(self, errand: Errand) -> Sequence[Peer]:
        if errand.instance_id is None:
            return (await self._directory.candidates(errand.target))[:_INSTANCES]
        peer = await self._directory.instance(errand.target, errand.instance_id)
        if peer is None:
            raise PeerUnreachable(f"instance {errand.instance_id} of {errand.target} is not there", peer=errand.target)
        return (peer,)

    async def _at(self, peer: Peer, errand: Errand, deadline: float) -> Any:  # Any: a JSON value
        trace_id = errand.lineage.trace_id
        left = max(1, round((deadline - anyio.current_time()) * 1000))
        headers = (
            (HOPS_HEADER, str(errand.lineage.hops)),
            (TIMEOUT_HEADER, str(left)),
            ("x-trace-id", header_value(trace_id)),
            ("traceparent", traceparent(trace_id, new_span=self._ambient.chance)),
        )
        body = None if errand.body is UNSET else errand.body
        return _read(await self._http.request(peer, errand.method, errand.path, body=body, headers=headers), peer)


def _read(answer: HttpAnswer, peer: Peer) -> Any:  # Any: a JSON value
    """What a success holds.

    Raises:
        PeerError: it is none.
        InvalidReply: it is no JSON.
    """
    if answer.status not in _SUCCESS:
        raise _refusal(answer, peer)
    if not answer.body:
        return None
    try:
        return json_text.parse(answer.body)
    except InvalidRequest as error:
        raise InvalidReply(f"{peer.label} answered {answer.status} with what is no JSON", peer=peer.label) from error


def _refusal(answer: HttpAnswer, peer: Peer) -> PeerError:
    return decode_error(answer.body, status=answer.status, headers=answer.headers, peer=peer.label)
