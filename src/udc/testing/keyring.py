"""The keys that a Registry publishes, which need not be those that it signs with."""

from __future__ import annotations

from jwt import PyJWK

from udc.identity.jwks import FixedKeys
from udc.identity.keys import SigningKey
from udc.testing.keys import Keys


class Keyring:
    """Published keys, oldest first (implements `udc.identity.jwks.KeySet`)."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._published: list[SigningKey] = []
        self._revision = 0
        self._fixed: FixedKeys | None = None

    @property
    def published(self) -> list[SigningKey]:
        """What the JWKS lists; the first key is made when it is first asked for."""
        if not self._published:
            self._published.append(self._keys.current)
        return self._published

    @property
    def revision(self) -> int:
        """Rises with every change."""
        return self._revision

    async def key(self, kid: str | None) -> PyJWK:
        """The published key of that name; never suspends.

        Raises:
            Unauthorized: there is none.
        """
        return await self._set().key(kid)

    def rotate(self, *, publish: bool, drop_old: bool) -> None:
        """Sign with a new key; see `FakeRegistry.rotate_keys`."""
        published = self.published
        self._keys.rotate()
        if drop_old:
            published.clear()
        if publish or drop_old:
            self.publish()

    def publish(self) -> None:
        """Publish the key that signs now."""
        if self._keys.current not in self.published:
            self.published.append(self._keys.current)
        self._fixed = None
        self._revision += 1

    def _set(self) -> FixedKeys:
        if self._fixed is None:
            self._fixed = FixedKeys({key.kid: key.public_pem for key in self.published})
        return self._fixed
