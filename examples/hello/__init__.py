"""The smallest droplet. Serve it, and greet somebody from a second terminal:

    uvicorn examples.hello:app

    curl http://127.0.0.1:8000/message \
        -H "Authorization: Bearer $(python -m examples.hello.token)" \
        -H "Content-Type: application/json" \
        -d '{"message_type": "query", "payload": {"type": "greet", "who": "Ada"}}'

The first run makes a key of this machine's own, `.udc/hello.pem`, that nobody but you can read. The droplet takes
only tokens signed with it, and `examples.hello.token` signs one. There is no default secret.
`curl http://127.0.0.1:8000/health` needs no token.
"""

from __future__ import annotations

import udc.asgi
from examples.hello.key import key_file
from udc import Droplet, query


class Hello(Droplet):
    id, name, steward = 21, "Hello", "you"

    @query("greet")
    async def greet(self, who: str = "world") -> str:
        """Greet somebody."""
        return f"Hello, {who}!"


app = udc.asgi.app(Hello(config={"security.signing_key_file": key_file()}))
