"""Prints a token for Hello that is good for an hour: `python -m examples.hello.token`."""

from __future__ import annotations

import time

from examples.hello.key import key_file
from udc.identity.keys import SigningKey


def token() -> str:
    """A token of this contract's form, signed with the key that Hello checks tokens with."""
    now = int(time.time())
    claims = {
        "iss": "registry.fullpotential.ai",  # security.jwt_issuer
        "aud": "fullpotential.droplets",  # security.jwt_audience
        "sub": "droplet-99",
        "droplet_id": 99,  # who you are, as far as Hello can tell
        "permissions": ["read", "write"],
        "iat": now,
        "exp": now + 3600,
    }
    return SigningKey.from_pem(key_file().read_bytes()).sign(claims)


if __name__ == "__main__":
    print(token())
