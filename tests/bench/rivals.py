"""What others make of the like call: each framework as its own documentation shows it, with the same answer.

Annotations are real here: FastAPI reads those of functions within functions.
"""

import os
from typing import Any

ISSUER, AUDIENCE = "registry.fullpotential.ai", "fullpotential.droplets"


def hand_written() -> Any:
    """A droplet as it is written by hand: FastAPI, `Depends(verify_jwt)`, python-jose; no counters, no limits."""
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
    from jose import JWTError, jwt
    from pydantic import BaseModel

    api, bearer, key = FastAPI(), HTTPBearer(), os.environ["UDC_SECURITY__PUBLIC_KEY"]

    class Envelope(BaseModel):
        trace_id: str
        source: int
        target: int
        message_type: str
        payload: dict[str, Any]
        timestamp: str
        message_id: str | None = None
        timeout_ms: int | None = None
        hops: int = 0
        priority: str = "normal"

    class Receipt(BaseModel):
        received: bool
        trace_id: str
        result: str
        data: Any

    def verify_jwt(credentials: HTTPAuthorizationCredentials = Depends(bearer)) -> dict[str, Any]:  # noqa: B008
        try:
            claims: dict[str, Any] = jwt.decode(
                credentials.credentials, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER
            )
        except JWTError as error:
            raise HTTPException(401, "invalid token") from error
        return claims

    async def message(envelope: Envelope, claims: dict[str, Any] = Depends(verify_jwt)) -> Receipt:  # noqa: B008
        data = f"Hello {envelope.payload['data']['who']}"
        return Receipt(received=True, trace_id=envelope.trace_id, result="success", data=data)

    api.post("/message")(message)
    return api


def fastmcp() -> Any:
    """A FastMCP server with one tool, without sessions and event streams: the cheapest way it has."""
    from fastmcp import FastMCP

    server: Any = FastMCP("Greeter")

    @server.tool  # type: ignore[untyped-decorator]  # the library's own typing
    async def greet(who: str) -> str:
        """Greet somebody."""
        return f"Hello {who}"

    return server.http_app(path="/message", stateless_http=True, json_response=True)


def a2a() -> Any:
    """An agent of a2a-sdk that answers a message with a message, with its task store in memory."""
    from a2a.helpers.proto_helpers import new_text_message
    from a2a.server.agent_execution import AgentExecutor
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_jsonrpc_routes
    from a2a.server.tasks import InMemoryTaskStore
    from a2a.types import AgentCapabilities, AgentCard
    from starlette.applications import Starlette

    class Greeter(AgentExecutor):  # type: ignore[misc]  # the library may not be there for type checkers
        async def execute(self, context: Any, event_queue: Any) -> None:
            await event_queue.enqueue_event(new_text_message(f"Hello {context.get_user_input()}"))

        async def cancel(self, context: Any, event_queue: Any) -> None:
            return None

    card = AgentCard(name="Greeter", description="Greets", version="1", capabilities=AgentCapabilities(streaming=False))
    handler = DefaultRequestHandler(agent_executor=Greeter(), task_store=InMemoryTaskStore(), agent_card=card)
    return Starlette(routes=create_jsonrpc_routes(handler, "/message"))
