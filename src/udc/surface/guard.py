"""Who may pass: the bearer checked, the permission compared, failed attempts counted per address."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NoReturn
from urllib.parse import urlsplit

from udc.errors import Forbidden, RateLimited, Unauthorized
from udc.identity._base import Verifier, recall_of
from udc.identity.claims import Principal
from udc.identity.origin import is_loopback
from udc.instrument import AuthenticationFailed, Instrument
from udc.surface._base import Endpoint, HttpRequest
from udc.surface.rates import address_key

_MAX_ADDRESSES: Final = 10_000


class FailureLimit:
    """Counts failed authentications per address in a sliding window; bounded in addresses.

    Args:
        limit: how many failures an address may have in the window.
        window_seconds: its length.
        clock: monotonic seconds.
    """

    def __init__(self, *, limit: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window = window_seconds
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> float | None:
        """Count one failure; seconds to wait when the address is over its limit, else `None`."""
        now = self._clock()
        times = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        while times and times[0] <= now - self._window:
            times.popleft()
        if len(times) >= self._limit:
            return times[0] + self._window - now
        times.append(now)
        return None


class Guard:
    """Lets a request through to its endpoint, or raises what keeps it out (contract section 2).

    Args:
        host: the droplet's own, as its URL names it.
    """

    def __init__(
        self, *, verifier: Verifier, failures: FailureLimit, instrument: Instrument, host: str | None = None
    ) -> None:
        self._verifier = verifier
        self._local = host is None or is_loopback(host)
        self._recall = recall_of(verifier)
        self._failures = failures
        self._instrument = instrument

    def recall(self, endpoint: Endpoint, request: HttpRequest) -> Principal | None:
        """The verified caller, if it can be told at once and may use the endpoint; else ask `admit`."""
        if self._recall is None or endpoint.authenticate is not None:
            return None
        principal = self._recall(bearer_of(request).encode("latin-1", "replace"))
        if principal is None or principal.anonymous or not principal.may(endpoint.access):
            return None
        return principal

    async def admit(self, endpoint: Endpoint, request: HttpRequest) -> Principal:
        """The verified caller, who may use the endpoint.

        Raises:
            Unauthorized: no token, or one that is not valid here.
            RateLimited: the same, from an address that has failed too often.
            Forbidden: the token does not allow it.
            KeysUnavailable: there are no keys yet to check it with.
        """
        bearer = bearer_of(request)
        try:
            principal = await (
                endpoint.authenticate(request) if endpoint.authenticate else self._verifier.verify(bearer)
            )
            if principal.anonymous:
                self._check_nobody(request)
        except Unauthorized as error:
            refusal = _not_one_token() if "," in request.headers.get("authorization", "") else error
            if bearer:  # RFC 6750 section 3.1: only who sent a token is told what is wrong with it
                refusal.details = {"error": "invalid_token", **refusal.details}
            self._refuse(refusal, endpoint, request)
        if principal.may(endpoint.access) or (endpoint.scope is not None and endpoint.scope in principal.scopes):
            return principal
        wanted = endpoint.access if endpoint.scope is None else f"{endpoint.access} or scope {endpoint.scope}"
        raise Forbidden(
            f"{endpoint.method} {endpoint.path} needs {wanted}; the token has "
            f"{', '.join(sorted(principal.permissions)) or 'no permissions'}",
            details={"missing_permission": endpoint.access, "scope": endpoint.scope},
        )

    def expect(self, endpoint: Endpoint, request: HttpRequest) -> None:
        """Refuse at a glance who shows no token where one is needed; what a token says is not looked at.

        Raises:
            Unauthorized: there is none.
            RateLimited: the same, from an address that has failed too often.
        """
        guarded = endpoint.access != "public" and endpoint.authenticate is None
        if guarded and getattr(self._verifier, "needs_token", False) and not bearer_of(request):
            self._refuse(Unauthorized("there is no bearer token"), endpoint, request)

    def _check_nobody(self, request: HttpRequest) -> None:
        """Refuse web pages, which need no credential where nobody does.

        One of elsewhere is told by its origin. One that had its own name resolved to this machine (DNS rebinding) is
        of here to its browser, which names no origin; but it calls us by that name.

        Raises:
            Unauthorized: it is one.
        """
        if _from_a_page_elsewhere(request):
            raise Unauthorized("web pages of other machines need a token here")
        host = _host_of(request)
        if self._local and host and not is_loopback(host):
            raise Unauthorized(
                "without a token this droplet answers to the name of this machine only",
                hint="call it as localhost or 127.0.0.1",
            )

    def _refuse(self, refusal: Unauthorized, endpoint: Endpoint, request: HttpRequest) -> NoReturn:
        self._instrument.emit(AuthenticationFailed(client=request.client, route=endpoint.path, reason=refusal.message))
        wait = self._failures.note(address_key(request.client))
        if wait is None:
            raise refusal
        raise RateLimited(
            "too many failed authentications from this address",
            retry_after_seconds=wait,
            hint="get a valid token before trying again",
        ) from refusal


def _host_of(request: HttpRequest) -> str:
    """By which name we were called; an empty one when the caller does not say."""
    given = request.headers.get("host", "")
    try:
        return urlsplit(f"//{given}").hostname or ""
    except ValueError:
        return given


def _not_one_token() -> Unauthorized:
    """For headers that were sent twice, and joined: no token holds a comma (RFC 6750 section 2.1)."""
    return Unauthorized("the Authorization header is not one bearer token", hint="send it once, with one token")


def _from_a_page_elsewhere(request: HttpRequest) -> bool:
    """Whether a browser asks on behalf of a page that is not of this machine.

    Any page may have its reader's browser post to loopback, where nobody need prove who they are; with each such
    request the browser names the page's origin.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        return not is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return True


def bearer_of(request: HttpRequest) -> str:
    """The token of the Authorization header (RFC 6750 section 2.1); an empty one when there is none."""
    header = request.headers.get("authorization", "")
    if header.startswith("Bearer "):
        return header[7:].strip()
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
