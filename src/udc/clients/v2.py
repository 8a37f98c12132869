"""A Registry of the v2 style: a key that gets a token, and then both with every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from udc._http import HttpAnswer
from udc._ids import Ambient
from udc.clients import _answers, _foreign
from udc.clients._base import Beat, BeatAnswer, Changes, Listing, Registered, Registration, RevocationList
from udc.clients._calls import Calls, Headers
from udc.clients._credentials import Purse
from udc.errors import TokenError, UdcError
from udc.identity._base import Token
from udc.identity.tokens import received_token

KEY_HEADER = "x-registry-key"


class V2Tokens:
    """Tokens for a registry key. Implements `TokenSource`.

    No life is told with them: their own `exp` is read, and there is no call that refreshes one.

    Args:
        calls: to the Registry.
        key: shown for a token.
        host_name: who we are, in the form of a host name.
        ambient: our wall clock.
    """

    def __init__(self, calls: Calls, *, key: str, host_name: str, ambient: Ambient) -> None:
        self._calls = calls
        self._key = key
        self._path = f"/auth/token?droplet_id={quote(host_name, safe='')}"
        self._ambient = ambient

    async def fetch(self, audience: str | None) -> Token:
        """A new token; they are the same for every audience.

        Raises:
            TokenError: none came; says why.
        """
        asked_at = self._ambient.wall()
        try:
            answer = await self._calls.ask("POST", self._path, headers=((KEY_HEADER, self._key),))
            value = _answers.text(_answers.opened(self._calls.read(answer)).get("token"))
        except UdcError as error:
            raise TokenError(str(error)) from error
        if value is None:
            raise TokenError(f"{self._calls.place.url}/auth/token answered without a token")
        return received_token(value, now=asked_at)

    def __repr__(self) -> str:
        return f"V2Tokens({self._calls.place.url!r})"


class V2Registry:
    """The v2 style. Implements `RegistryClient`.

    Args:
        calls: to the Registry.
        key: shown with every call.
        tokens: ours, where there are some; shown beside the key.
        host_name: who we are, in the form of a host name.
    """

    def __init__(self, calls: Calls, *, key: str | None, tokens: Purse, host_name: str) -> None:
        self._calls = calls
        self._key: Headers = () if key is None else ((KEY_HEADER, key),)
        self._tokens = tokens
        self._host_name = host_name

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`."""
        status = _foreign.health_word(registration.body["status"])
        body = _foreign.superset(registration, droplet_id=self._host_name, fqdn=self._host_name, status=status)
        answer = await self._send("POST", "/registry/register", body)
        self._calls.check(answer, "POST", "/registry/register")
        return Registered(
            record=_answers.registered(self._calls.read(answer)).record,
            beat_every_seconds=_foreign.BEAT_SECONDS,
            lease_ttl_seconds=_foreign.LEASE_SECONDS,
        )

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`."""
        await self._tell(_foreign.health_word(beat.status), beat.in_flight)
        return BeatAnswer()

    async def deregister(self) -> None:
        """See `RegistryClient.deregister`: this style knows no leaving, so it is told that we are down."""
        answer = await self._beat("down", 0)
        if answer.status != 404:
            self._calls.check(answer, "POST", "/registry/heartbeat")

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        return _foreign.listing(self._calls, await self._send("GET", "/registry/droplets"), "/registry/droplets")

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """`None`: this style has no watch."""
        return None

    async def revocations(self) -> RevocationList | None:
        """`None`: this style has no list of revoked tokens."""
        return None

    async def _tell(self, status: str, load: int) -> None:
        answer = await self._beat(status, load)
        _foreign.check_beat(self._calls, answer, "POST", "/registry/heartbeat")

    async def _beat(self, status: str, load: int) -> HttpAnswer:
        return await self._send(
            "POST", "/registry/heartbeat", {"droplet_id": self._host_name, "load": load, "status": status}
        )

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,  # Any: JSON values
    ) -> HttpAnswer:
        """With the key and the token; once more with a new token when that one is refused."""
        try:
            token = await self._tokens.get(None)
        except TokenError:
            return await self._calls.send(method, path, body=body, headers=self._key)
        answer = await self._calls.send(method, path, body=body, headers=self._both(token))
        if answer.status != 401:
            return answer
        try:
            token = await self._tokens.renew(None, token)
        except TokenError:
            return answer
        return await self._calls.send(method, path, body=body, headers=self._both(token))

    def _both(self, token: Token) -> Headers:
        return (*self._key, ("authorization", f"Bearer {token.value}"))
