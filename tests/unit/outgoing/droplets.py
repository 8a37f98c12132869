"""The other side of a call: a surface that speaks real bytes, and a purse of tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from udc import _ids
from udc._ids import iso_utc
from udc.errors import ContractError, TokenError, Unauthorized
from udc.identity._base import Token
from udc.messages import Message
from udc.surface._base import HttpRequest, HttpResponse
from udc.wire.canonical import canonical_json
from udc.wire.envelope import decode_message
from udc.wire.faults import answer_for, encode_error
from udc.wire.receipts import encode_receipt

AMBIENT = _ids.system()

Handler = Callable[[Message], Awaitable[Any]]


async def echo(message: Message) -> Any:
    """Answer with what came."""
    return message.data


class Droplet:
    """A surface with one endpoint, `/message`: decodes, hands on, encodes. Keeps every request."""

    max_body_bytes = 10_000
    express: None = None
    body_timeout_seconds = 30.0

    def __init__(self, handler: Handler = echo, *, me: int = 14, path: str = "/message") -> None:
        self.handler = handler
        self.me = me
        self.path = path
        self.requests: list[HttpRequest] = []
        self.messages: list[Message] = []
        self.refused_tokens: set[str] = set()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        try:
            return await self._answer(request)
        except Exception as error:  # noqa: BLE001 - a border
            return self._refusal(answer_for(error))

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        assert (request.method, request.path) == ("POST", self.path)
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token in self.refused_tokens:
            raise Unauthorized
        message = decode_message(request.body, me=self.me, ambient=AMBIENT)
        self.messages.append(message)
        value = await self.handler(message)
        if isinstance(value, HttpResponse):
            return value
        at, data = iso_utc(AMBIENT.now()).encode(), canonical_json(value)
        return HttpResponse(body=encode_receipt(message.trace_id, at, data=data, message_id=message.message_id))

    def refuse_late(self, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError

    def refuse_unread(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError

    def turned_away(self, request: HttpRequest) -> HttpResponse | None:
        raise NotImplementedError

    def refuse_body(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=413, body=b'{"status":"error","error":{"code":"PAYLOAD_TOO_LARGE","message":"big"}}')

    def _refusal(self, error: ContractError) -> HttpResponse:
        status, headers, body = encode_error(error, trace_id=None, now=AMBIENT.now())
        return HttpResponse(status=status, headers=headers, body=body)


class Purse:
    """Tokens that say for whom they are and the how manieth."""

    def __init__(self) -> None:
        self.generation = 1
        self.asked: list[str | None] = []
        self.renewed: list[str] = []
        self.empty = False
        self.stuck = False

    def _token(self, audience: str | None) -> Token:
        return Token(value=f"{audience}#{self.generation}", issued_at=0, expires_at=1)

    async def get(self, audience: str | None) -> Token:
        self.asked.append(audience)
        if self.empty:
            raise TokenError(f"no token for {audience}")
        return self._token(audience)

    async def renew(self, audience: str | None, rejected: Token) -> Token:
        self.renewed.append(rejected.value)
        if self.stuck:
            raise TokenError(f"no new token for {audience}")
        self.generation += 1
        return self._token(audience)
