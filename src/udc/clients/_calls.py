"""One HTTP call to a Registry, and what an answer that is no success means."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from udc._frozen import dataclass
from udc._http import HttpAnswer, HttpClient
from udc.errors import InvalidReply, InvalidRequest, PeerError, RegistryRefused, UdcError
from udc.identity.origin import require_secure
from udc.wire import json_text
from udc.wire.faults import decode_error

PEER: Final = "the Registry"
"""How errors call it."""

Headers = tuple[tuple[str, str], ...]

_MAX_BYTES: Final = 64 * 1024 * 1024
NO_SUCH_PATH: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""What a server says that does not know a path."""

_NOT_US: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Registry as the configuration names it.

    Attributes:
        url: its base URL.
        style: the dialect it speaks, as `registry.style` calls it.
        credential: the setting that proves who we are, for the text of a refusal.
    """

    url: str
    style: str
    credential: str


class Calls:
    """Sends JSON to a Registry and reads JSON back. Follows no redirects.

    Args:
        place: where it is.
        client: sends the requests; open as long as calls are made.
        secrets: secrets or tokens go with the calls, so the URL must be secure.
        insecure_hosts: hosts that may be spoken to over plain http all the same.

    Raises:
        ConfigError: secrets would travel over plain http.
    """

    def __init__(
        self, place: Place, *, client: HttpClient, secrets: bool = True, insecure_hosts: frozenset[str] = frozenset()
    ) -> None:
        if secrets:
            require_secure(place.url, insecure_hosts)
        self.place = place
        self._base = place.url.rstrip("/")
        self._client = client

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,  # Any: JSON values
        headers: Headers = (),
    ) -> HttpAnswer:
        """The answer, whatever its status.

        Raises:
            DeliveryError: there is none.
        """
        content = None if body is None else json_text.write(body)
        typed: Headers = () if body is None else (("content-type", "application/json"),)
        return await self._client.request(
            method,
            self._base + path,
            headers=(*headers, ("accept", "application/json"), *typed),
            content=content,
            max_bytes=_MAX_BYTES,
            peer=PEER,
        )

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,  # Any: JSON values
        headers: Headers = (),
    ) -> HttpAnswer:
        """The answer of a call that succeeded.

        Raises:
            RegistryRefused: it says no; see `refusal`.
            DeliveryError: no answer, a failure that may pass, or a failure inside a 200.
        """
        answer = await self.send(method, path, body=body, headers=headers)
        self.check(answer, method, path)
        return answer

    def check(self, answer: HttpAnswer, method: str, path: str) -> None:
        """Raise what an answer that is no success means; see `ask`."""
        if not is_success(answer):
            raise self.refusal(answer, method, path)

    def refusal(self, answer: HttpAnswer, method: str, path: str) -> UdcError:
        """What a failed call means: `RegistryRefused` for a no, `PeerError` for what may pass by itself."""
        error = decode_error(answer.body, status=answer.status, headers=answer.headers, peer=PEER)
        if answer.status < 300 or (answer.status >= 500 and answer.status not in NO_SUCH_PATH):
            return error
        if answer.status in _LATER:
            return error
        said = "" if error.message == "no reason given" else f" ({error.message})"
        happened = f"registry.url is {self.place.url}; {method} {path.partition('?')[0]} answered {answer.status}{said}"
        return RegistryRefused(
            f"{happened}: {self._advice(answer)}",
            status=answer.status,
            retry_after_seconds=error.retry_after_seconds,
        )

    def _advice(self, answer: HttpAnswer) -> str:
        if answer.status < 400:
            return "a redirect, which is not followed; write the address it leads to into registry.url"
        if answer.status in NO_SUCH_PATH:
            return f"is registry.style {self.place.style!r} right?"
        if answer.status in _NOT_US:
            return f"it does not take us for who we are; check {self.place.credential}"
        return "it does not take what we sent"

    def read(self, answer: HttpAnswer) -> dict[str, Any]:  # Any: JSON values
        """The JSON object of an answer; an empty one for an empty body.

        Raises:
            InvalidReply: something else, so that is no Registry.
        """
        if not answer.body.strip():
            return {}
        try:
            return json_text.parse_object(answer.body)
        except InvalidRequest as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: InvalidRequest) -> InvalidReply:
        """The answer is not what a Registry of this style says."""
        return InvalidReply(
            f"registry.url is {self.place.url}; its answer is none of a Registry ({error.message}): "
            f"are registry.url and registry.style {self.place.style!r} right?",
            peer=PEER,
        )


def is_success(answer: HttpAnswer) -> bool:
    """Whether the call succeeded: a 2xx may still hold an error (a habit of the field)."""
    if not 200 <= answer.status < 300:
        return False
    try:
        body = json_text.as_mapping(json_text.parse(answer.body)) if answer.body[:1] == b"{" else {}
    except InvalidRequest:
        return True  # whoever reads the body will say so
    return (
        body.get("message_type") != "error"
        and all(body.get(key) is not False for key in ("ok", "sent", "success", "received"))
        and not body.get("error")
    )


def error_details(answer: HttpAnswer) -> PeerError:
    """The error of an answer, read for what a program needs of it."""
    return decode_error(answer.body, status=answer.status, headers=answer.headers, peer=PEER)
