"""A caller in plain HTTP: what any program in any language must do to talk to a droplet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from udc.identity.keys import SigningKey

CALLER_ID = 99


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


class Caller:
    """Sends messages as droplet 99, with tokens that it signs itself."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        # No proxy of the environment: the droplets are on this machine.
        self._http = httpx2.Client(trust_env=False, timeout=10)

    def close(self) -> None:
        self._http.close()

    def health(self, url: str) -> dict[str, Any]:
        body: dict[str, Any] = self._http.get(f"{url}/health").json()
        return body

    def send(
        self, url: str, target: int, message_type: str, action: str, data: dict[str, Any], message_id: str | None = None
    ) -> Answer:
        envelope = {
            "trace_id": str(uuid4()),
            "source": CALLER_ID,
            "target": target,
            "message_type": message_type,
            "payload": {"type": action, "data": data},
            "message_id": message_id or str(uuid4()),
        }
        headers = {"Authorization": f"Bearer {self._token(target)}"}
        answer = self._http.post(f"{url}/message", json=envelope, headers=headers)
        return Answer(answer.status_code, answer.json())

    def _token(self, target: int) -> str:
        now = int(time.time())
        claims = {
            "iss": "registry.fullpotential.ai",
            "aud": f"fullpotential.droplets/{target}",  # for this one droplet: worthless anywhere else
            "sub": f"droplet-{CALLER_ID}",
            "droplet_id": CALLER_ID,
            "permissions": ["write"],
            "iat": now,
            "exp": now + 60,
        }
        return self._key.sign(claims)
