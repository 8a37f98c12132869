"""What follows from the Registry's answers: tokens to use, keys to fetch, a proof to show."""

from __future__ import annotations

from udc._ids import Ambient
from udc.clients._base import BeatAnswer, Registered
from udc.errors import ConfigError, TokenError
from udc.identity.followed import FollowedKeys
from udc.identity.tokens import TokenKeeper, received_token
from udc.instrument import Instrument, KeysFailed, TokenFailed
from udc.services.revocations import RevocationWatch
from udc.surface.facts import ProofBook


class Consequences:
    """What follows from the Registry's answers: tokens, keys, the proof.

    Args:
        audience: of the tokens that come with answers.
        mesh: the audience whose token is kept at hand, since it does for any peer while the Registry is away.
        follow_keys: the Registry tells where its keys are; else somebody else's are used.
        revocations: what reads the list of revoked tokens, where somebody checks tokens with it.
    """

    def __init__(
        self,
        *,
        audience: str,
        mesh: str,
        follow_keys: bool,
        revocations: RevocationWatch | None,
        tokens: TokenKeeper,
        keys: FollowedKeys | None,
        proofs: ProofBook,
        ambient: Ambient,
        instrument: Instrument,
    ) -> None:
        self._audience = audience
        self._mesh = mesh
        self._follow_keys = follow_keys
        self._revocations = revocations
        self._tokens = tokens
        self._keys = keys
        self._proofs = proofs
        self._ambient = ambient
        self._instrument = instrument
        self._keys_revision: str | None = None
        self._registered_before = False

    def accepted(self, answer: Registered) -> None:
        """A registration was taken."""
        self._adopt(answer.token, answer.expires_in)
        if answer.token is not None:
            self._tokens.want(self._mesh)
        self._proofs.note("register", trace_id=self._ambient.new_id())
        if answer.jwks_uri is not None and self._follow_keys:
            self._point_at(answer.jwks_uri)
        if self._registered_before:
            self._refresh_keys()  # it may have been away long enough to have new ones
        self._registered_before = True
        self._told(answer.keys_revision)
        if self._revocations is not None:
            self._revocations.registered(answer.revocations_revision)

    def answered(self, answer: BeatAnswer) -> None:
        """A beat was taken."""
        self._adopt(answer.token, answer.expires_in)
        self._told(answer.keys_revision)
        if self._revocations is not None:
            self._revocations.told(answer.revocations_revision)

    def _told(self, keys_revision: str | None) -> None:
        if keys_revision not in (None, self._keys_revision):
            # The first one too: the keys may have changed between our first fetch of them and this word.
            self._keys_revision = keys_revision
            self._refresh_keys()

    def _adopt(self, value: str | None, expires_in: float | None) -> None:
        if value is None:
            return
        try:
            token = received_token(value, now=self._ambient.wall(), expires_in=expires_in)
        except TokenError as error:
            self._instrument.emit(TokenFailed(audience=self._audience, error=str(error)))
        else:
            self._tokens.adopt(self._audience, token)

    def _point_at(self, url: str) -> None:
        if self._keys is None:
            return
        try:
            self._keys.point_at(url)
        except ConfigError as error:
            self._instrument.emit(KeysFailed(error=str(error), have_keys=True))

    def _refresh_keys(self) -> None:
        if self._keys is not None:
            self._keys.refresh_soon()
