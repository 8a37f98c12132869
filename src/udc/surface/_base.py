"""The seam through which HTTP comes in: requests, responses, and tables of endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from udc._drafts import draft_of
from udc._frozen import dataclass
from udc._types import Access
from udc.errors import ContractError
from udc.identity.claims import Principal
from udc.surface._query import QueryParameter

T = TypeVar("T")


Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in order."""


class Standing(Headers):
    """Headers that many answers share: made once, and encoded once.

    Attributes:
        encoded: the same, in bytes, names in lower case.
    """

    encoded: tuple[tuple[bytes, bytes], ...]
    _forms: dict[Callable[[Standing], Any], Any]  # Any: whatever each makes

    def __new__(cls, headers: Headers = ()) -> Standing:
        made = super().__new__(cls, headers)
        made._forms = {}
        made.encoded = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in made)
        return made

    def form(self, make: Callable[[Standing], T]) -> T:
        """What that function makes of them, made once: the form in which a framework takes headers best."""
        made: T | None = self._forms.get(make)
        if made is None:
            made = self._forms[make] = make(self)
        return made


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request, its body already in memory and within the limit.

    Attributes:
        method: upper case.
        path: decoded, without the droplet's prefix, starting with `/`.
        query_string: as sent, without `?`.
        headers: names in lower case; of repeated ones the values joined with `, `.
        client: the caller's network address, when the server knows it.
        disconnected: returns when the caller has gone away; for long answers.
        params: values of the path template's names.
        principal: who calls; `None` on public endpoints.
        trace_id: of this request; in every log line and error.
        standing: headers that the answer gets anyway; an answer that has just these is not copied.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query_string: str = ""
    body: bytes = b""
    client: str | None = None
    scheme: str = "http"
    disconnected: Callable[[], Awaitable[None]] | None = None
    params: dict[str, str] = field(default_factory=dict[str, str])
    principal: Principal | None = None
    trace_id: str = ""
    standing: Headers = ()

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters, each with all its values in order."""
        values: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query_string, keep_blank_values=True):
            values.setdefault(name, []).append(value)
        return values

    @property
    def caller(self) -> Principal:
        """The verified caller.

        Raises:
            LookupError: the endpoint is public, so nobody was asked who they are.
        """
        if self.principal is None:
            raise LookupError(f"{self.method} {self.path} is public: its caller is unknown")
        return self.principal


_NO_PARAMS: Final[dict[str, str]] = {}


def requested(
    method: str, path: str, headers: Mapping[str, str], query_string: str, client: str | None, scheme: str
) -> HttpRequest:
    """An `HttpRequest` without a body yet, at a third of its constructor's price: for adapters."""
    request = object.__new__(HttpRequest)
    request.method = method
    request.path = path
    request.headers = headers
    request.query_string = query_string
    request.body = b""
    request.client = client
    request.scheme = scheme
    request.disconnected = None
    request.params = _NO_PARAMS
    request.principal = None
    request.trace_id = ""
    request.standing = ()
    return request


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """One HTTP response.

    Attributes:
        body: all of it, or an async iterator of its parts (server-sent events, long poll); the adapter
            closes the iterator when the caller goes away.
        headers: further headers; `content-type` comes from `media_type`. The surface adds those of security,
            unless they are there; adapters send all of them.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    media_type: str | None = "application/json"
    headers: Headers = ()


_ResponseDraft: Final = draft_of(HttpResponse)


def answered(body: bytes, headers: Headers) -> HttpResponse:
    """The response 200 with a JSON body, at a third of its constructor's price: for what is answered most."""
    draft = _ResponseDraft()
    draft.status = 200
    draft.body = body
    draft.media_type = "application/json"
    draft.headers = headers
    draft.__class__ = HttpResponse
    made: HttpResponse = draft
    return made


EndpointHandler: TypeAlias = Callable[..., Awaitable[Any]]
"""Takes the `HttpRequest`; returns an `HttpResponse`, or anything that can be made JSON (status 200)."""

Authenticate: TypeAlias = Callable[[HttpRequest], Awaitable[Principal]]
"""Finds out who calls; raises `Unauthorized`, which counts as a failed authentication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of an endpoint table.

    Attributes:
        method: upper case.
        path: a template, for example `/droplets/{id}`; a name takes one segment.
        access: what the caller's token must allow, or `public`.
        handler: called with the `HttpRequest`.
        scope: a scope that will do in place of `access`.
        summary: one line for OpenAPI.
        always: answered in every phase; the others take no new work before `ready` and while stopping.
        authenticate: finds out who calls, in place of the bearer check: a secret in a header, say. It is asked
            even where the access is `public`, so that the handler knows its caller.
        request_model, response_model: types of the JSON bodies, for OpenAPI.
        query: the parameters that its handler reads from the query, for OpenAPI.
    """

    method: str
    path: str
    access: Access
    handler: EndpointHandler
    scope: str | None = None
    summary: str = ""
    always: bool = False
    authenticate: Authenticate | None = None
    request_model: Any = None  # Any: whatever pydantic takes as a type
    response_model: Any = None  # Any: likewise
    query: tuple[QueryParameter, ...] = ()


class Shortcut(Protocol):
    """Answers messages that need no decision; adapters may ask it before they make an `HttpRequest`."""

    async def answer(self, token: bytes, body: bytes, scheme: str) -> bytes | HttpResponse | None:
        """The body of an answer 200, a refusal, or `None`: hand the request to the surface; nothing has happened.

        Args:
            token: what follows `Bearer ` in the only `Authorization` header of a `POST /message`.
            body: whole, within the limit; the request says that it is plain JSON.
            scheme: `http` or `https`.
        """
        ...

    def standing(self, scheme: str) -> Standing:
        """The headers of an answer 200."""
        ...


class Surface(Protocol):
    """What an adapter hands requests to."""

    @property
    def express(self) -> Shortcut | None:
        """A shorter way for messages that need no decision."""
        ...

    @property
    def max_body_bytes(self) -> int:
        """The largest body an adapter may read; a larger one goes to `refuse_body`."""
        ...

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer the request. Never raises but for cancellation."""
        ...

    @property
    def body_timeout_seconds(self) -> float:
        """How long an adapter may wait for a body; one that takes longer goes to `refuse_late`."""
        ...

    def turned_away(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a request whose body need not be waited for: nobody is there, or would be let in; else `None`.

        For bodies that have not arrived with their headers; `handle` asks all of it again.
        """
        ...

    def refuse_unread(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body could not be read for another reason."""
        ...

    def refuse_body(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body is over the limit (413)."""
        ...

    def refuse_late(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body did not arrive in time (408)."""
        ...
