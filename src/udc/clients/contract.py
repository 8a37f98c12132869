"""A Registry that speaks the contract (section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from udc._http import HttpAnswer
from udc._types import DropletId
from udc.clients import _answers
from udc.clients._base import Beat, BeatAnswer, Changes, Listing, Registered, Registration, RevocationList
from udc.clients._calls import NO_SUCH_PATH, Calls, Headers, error_details
from udc.clients._credentials import Credentials
from udc.errors import InstanceRetired, InvalidRequest, UnknownInstance
from udc.identity.origin import same_origin
from udc.wire.records import read_records


class ContractRegistry:
    """The contract's calls. Implements `RegistryClient`.

    Args:
        calls: to the Registry.
        credentials: what they show.
        droplet_id, instance_id: who we are.
    """

    def __init__(self, calls: Calls, *, credentials: Credentials, droplet_id: DropletId, instance_id: str) -> None:
        self._calls = calls
        self._credentials = credentials
        self._droplet_id = droplet_id
        self._instance_id = instance_id

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`. A Registry that answers 409 gets the same as a change of our record.

        `jwks_uri` is `None` where it names another origin than the Registry's own: keys never come from there.
        """
        answer = await self._credentials.enrol(partial(self._send, "POST", "/register", registration.body))
        if answer.status == HTTPStatus.CONFLICT:
            answer = await self._update(answer, registration)
        self._calls.check(answer, "POST", "/register")
        accepted = _answers.registered(self._calls.read(answer))
        own = accepted.jwks_uri is not None and same_origin(accepted.jwks_uri, self._calls.place.url)
        return accepted if own else replace(accepted, jwks_uri=None)

    async def _update(self, refused: HttpAnswer, registration: Registration) -> HttpAnswer:
        if retired_by := _retired_by(refused):
            raise InstanceRetired(_retired_text(retired_by), retired_by=retired_by)
        path = f"/droplets/{quote(str(self._droplet_id), safe='')}"
        answer = await self._credentials.enrol(partial(self._send, "PATCH", path, registration.body))
        return answer if answer.status < 300 else refused

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`."""
        answer = await self._credentials.change(partial(self._send, "POST", "/heartbeat", asdict(beat)))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise unknown(answer)
        if answer.status == HTTPStatus.CONFLICT:
            retired_by = _retired_by(answer)
            raise InstanceRetired(_retired_text(retired_by), retired_by=retired_by)
        self._calls.check(answer, "POST", "/heartbeat")
        return _answers.beaten(self._calls.read(answer))

    async def deregister(self) -> None:
        """See `RegistryClient.deregister`."""
        body = {"droplet_id": self._droplet_id, "instance_id": self._instance_id}
        answer = await self._credentials.change(partial(self._send, "POST", "/deregister", body))
        if answer.status != HTTPStatus.NOT_FOUND:
            self._calls.check(answer, "POST", "/deregister")

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        answer = await self._credentials.read(partial(self._send, "GET", "/droplets", None))
        self._calls.check(answer, "GET", "/droplets")
        try:
            records = read_records(answer.body)
        except InvalidRequest as error:
            raise self._calls.unreadable(error) from error
        return Listing(
            records=tuple(records),
            revision=answer.headers.get("x-udc-revision") or None,
            warming=_answers.warming(answer.headers),
        )

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """See `RegistryClient.changes`; `None` also from a Registry that answers with its whole list."""
        path = f"/droplets?since={quote(since, safe='')}&wait={max(0, int(wait_seconds))}"
        answer = await self._credentials.read(partial(self._send, "GET", path, None))
        self._calls.check(answer, "GET", path)
        if answer.body.lstrip()[:1] == b"[":
            return None
        return _answers.changes(self._calls.read(answer), warming=_answers.warming(answer.headers))

    async def revocations(self) -> RevocationList | None:
        """See `RegistryClient.revocations`; `None` also from a Registry that has no such path."""
        answer = await self._credentials.read(partial(self._send, "GET", "/auth/revocations", None))
        if answer.status in NO_SUCH_PATH:
            return None
        self._calls.check(answer, "GET", "/auth/revocations")
        try:
            return _answers.revocations(self._calls.read(answer))
        except InvalidRequest as error:
            raise self._calls.unreadable(error) from error

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,  # Any: JSON values
        headers: Headers,
    ) -> HttpAnswer:
        return await self._calls.send(method, path, body=body, headers=headers)


def unknown(answer: HttpAnswer) -> UnknownInstance:
    """What a 404 to a beat means, whatever its body says."""
    told = error_details(answer).details.get("spread_seconds")
    return UnknownInstance("the Registry does not know this instance", spread_seconds=_answers.seconds(told) or 0.0)


def _retired_by(answer: HttpAnswer) -> str | None:
    return _answers.text(error_details(answer).details.get("retired_by"))


def _retired_text(retired_by: str | None) -> str:
    return f"instance {retired_by or 'unknown'} has taken this one's place at the Registry"
