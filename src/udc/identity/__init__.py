"""Who calls, and how we prove who we are: the seams. Verification, keys and tokens lie in the modules beside."""

from udc.identity._base import Token, Tokens, TokenSource, Verifier

__all__ = ["Token", "TokenSource", "Tokens", "Verifier"]
