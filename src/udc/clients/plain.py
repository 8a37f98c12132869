"""A Registry of the plain style: no credentials, no heartbeats, records that are looked up and patched."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from udc._http import HttpAnswer
from udc._types import DropletId, JsonObject
from udc.clients import _answers, _foreign
from udc.clients._base import Beat, BeatAnswer, Changes, Listing, Registered, Registration, RevocationList
from udc.clients._calls import Calls
from udc.errors import InvalidRequest, RegistryRefused
from udc.wire.ids import same_droplet
from udc.wire.records import base_url, read_record, record_id

_REGISTER_PATHS: Final = ("/droplets", "/register")
_NO_SUCH_PATH: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


class PlainRegistry:
    """The plain style. Implements `RegistryClient`.

    Args:
        calls: to the Registry.
        droplet_id, name: who we are.
    """

    def __init__(self, calls: Calls, *, droplet_id: DropletId, name: str) -> None:
        self._calls = calls
        self._droplet_id = droplet_id
        self._name = name
        self._path: str | None = None
        self._known_as: int | str | None = None
        self._told_status = ""

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`. A record that is there already (409) is looked up by name and changed."""
        if not isinstance(self._droplet_id, int):
            # It would answer 500, which tells nobody what to do.
            text = f"a Registry of the plain style takes numbers as ids, and droplet.id is {self._droplet_id!r}"
            raise RegistryRefused(text, status=400)
        path, answer = await self._post(_foreign.superset(registration))
        if answer.status == HTTPStatus.CONFLICT:
            self._known_as = await self._patch_ours(registration)
            accepted = Registered()
        else:
            self._calls.check(answer, "POST", path)
            body = _answers.opened(self._calls.read(answer))
            self._known_as = _foreign.given_id(body)
            accepted = _answers.registered(body)
        self._path, self._told_status = path, str(registration.body["status"])
        return Registered(
            record=accepted.record,
            beat_every_seconds=_foreign.BEAT_SECONDS,
            lease_ttl_seconds=_foreign.LEASE_SECONDS,
        )

    async def _post(self, body: JsonObject) -> tuple[str, HttpAnswer]:
        """Register at whichever of the two paths is there; the one that worked last is asked first."""
        first, second = _REGISTER_PATHS
        if self._path != second:
            answer = await self._calls.send("POST", first, body=body)
            if self._path == first or answer.status not in _NO_SUCH_PATH:
                return first, answer
        return second, await self._calls.send("POST", second, body=body)

    async def _patch_ours(self, registration: Registration) -> int | str | None:
        path = f"/droplets/name/{quote(self._name, safe='')}"
        found = await self._calls.ask("GET", path)
        try:
            record = read_record(found.body)
            number = record_id(record)
        except InvalidRequest as error:
            raise self._calls.unreadable(error) from error
        told = registration.body
        if not same_droplet(number, self._droplet_id) and base_url(record) != told["endpoint"]:
            text = f"at {self._calls.place.url} the name {self._name!r} belongs to droplet {number}: take another name"
            raise RegistryRefused(text, status=HTTPStatus.CONFLICT)
        known_as = _foreign.given_id(record)
        change = {"status": told["status"], "endpoint": told["endpoint"]}
        superset = _foreign.superset(registration)
        await self._calls.ask("PATCH", self._row(known_as), body={**change, "metadata": superset["metadata"]})
        return known_as

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`. Looks whether our record is still there; changes it when the status has."""
        if beat.status != self._told_status:
            await self._patch({"status": beat.status})
            self._told_status = beat.status
        else:
            path = self._row(self._known_as)
            _foreign.check_beat(self._calls, await self._calls.send("GET", path), "GET", path)
        return BeatAnswer()

    async def deregister(self) -> None:
        """See `RegistryClient.deregister`: the record stays, as inactive."""
        path = self._row(self._known_as)
        answer = await self._calls.send("PATCH", path, body={"status": "inactive"})
        if answer.status != HTTPStatus.NOT_FOUND:
            self._calls.check(answer, "PATCH", path)

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        return _foreign.listing(self._calls, await self._calls.send("GET", "/droplets"), "/droplets")

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """`None`: this style has no watch."""
        return None

    async def revocations(self) -> RevocationList | None:
        """`None`: this style has no list of revoked tokens."""
        return None

    async def _patch(self, change: dict[str, Any]) -> None:  # Any: JSON values
        path = self._row(self._known_as)
        _foreign.check_beat(self._calls, await self._calls.send("PATCH", path, body=change), "PATCH", path)

    def _row(self, known_as: int | str | None) -> str:
        return f"/droplets/{quote(str(self._droplet_id if known_as is None else known_as), safe='')}"
