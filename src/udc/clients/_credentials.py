"""What a call to a Registry shows: a token where one is at hand, else the secret."""

from __future__ import annotations

from typing import Protocol

from udc._http import HttpAnswer
from udc.clients._calls import Headers
from udc.errors import TokenError
from udc.identity._base import Token, Tokens


class Purse(Tokens, Protocol):
    """Tokens, and what is at hand without asking anybody. The token manager is one."""

    def held(self, audience: str | None) -> Token | None:
        """The token to use now, if there is one."""
        ...


class Shown(Protocol):
    """Sends the call with these headers."""

    async def __call__(self, headers: Headers, /) -> HttpAnswer:
        """The answer, whatever its status."""
        ...


class Credentials:
    """Calls with a token of one audience, or with a secret in a header.

    The secret does for changes whatever a token does, so a change never waits for a token to be fetched; a token is
    preferred, because it is of less use to who steals it.

    Args:
        tokens: where tokens are.
        audience: that of the Registry.
        secret: header and value; `None` = there is none.
    """

    def __init__(self, tokens: Purse, *, audience: str | None, secret: tuple[str, str] | None) -> None:
        self._tokens = tokens
        self._audience = audience
        self._secret: Headers = () if secret is None else (secret,)

    async def change(self, call: Shown) -> HttpAnswer:
        """Make a call that changes the Registry; once more with the secret when the token is refused."""
        token = self._tokens.held(self._audience)
        if token is None:
            return await call(self._secret or await self._fetched())
        answer = await call(_bearer(token))
        if answer.status != 401:
            return answer
        return await call(self._secret or await self._renewed(token))

    async def enrol(self, call: Shown) -> HttpAnswer:
        """Make the call that registers: the secret if there is one, since no token may be good any more."""
        return await (call(self._secret) if self._secret else self.change(call))

    async def read(self, call: Shown) -> HttpAnswer:
        """Make a call that reads; once more with a new token when the first is refused."""
        try:
            token = await self._tokens.get(self._audience)
        except TokenError:
            # The Registry itself says best what is missing, and a development mesh asks for nothing.
            return await call(self._secret)
        answer = await call(_bearer(token))
        return await call(await self._renewed(token)) if answer.status == 401 else answer

    async def _fetched(self) -> Headers:
        try:
            return _bearer(await self._tokens.get(self._audience))
        except TokenError:
            return ()

    async def _renewed(self, rejected: Token) -> Headers:
        try:
            return _bearer(await self._tokens.renew(self._audience, rejected))
        except TokenError:
            return self._secret


def _bearer(token: Token) -> Headers:
    return (("authorization", f"Bearer {token.value}"),)
