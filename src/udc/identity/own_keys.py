"""The keys of an issuer's own: what it signs with, seen by its own verifier. Changes when they rotate."""

from __future__ import annotations

from collections.abc import Iterable

from jwt import PyJWK

from udc.errors import KeysUnavailable
from udc.identity.jwks import FixedKeys
from udc.identity.keys import SigningKey


class OwnKeys:
    """The public halves of signing keys held here (a `KeySet`); none until the first `replace`."""

    def __init__(self) -> None:
        self._keys: FixedKeys | None = None
        self.revision: int = 0

    def replace(self, keys: Iterable[SigningKey]) -> None:
        """Trust these from now on, and no others."""
        self._keys = FixedKeys({key.kid: key.public_pem for key in keys})
        self.revision += 1

    async def key(self, kid: str | None) -> PyJWK:
        """See `KeySet.key`; never suspends."""
        if self._keys is None:
            raise KeysUnavailable(retry_after_seconds=1)
        return await self._keys.key(kid)
