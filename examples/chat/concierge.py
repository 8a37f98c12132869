"""Concierge talks to everybody, and passes on what others know better, whoever they are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from udc import ChatReply, Context, DeliveryError, Droplet, chat

TOPICS = {"train": "trains", "leave": "trains", "weather": "weather"}
"""Word → the capability of those who know."""


class Known(BaseModel):
    """Whom the conversation is with, and what each specialist wants to have back."""

    with_whom: str | None = None
    theirs: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Concierge(Droplet):
    id, name, steward = 61, "Concierge", "front-desk"
    wants = ("trains", "weather")

    @chat
    async def talk(self, message: str, ctx: Context, context: Known | None = None) -> ChatReply:
        """Answer one message of a conversation, or have it answered."""
        known = context or Known()
        topic = next((TOPICS[word] for word in TOPICS if word in message.lower()), known.with_whom)
        if topic is None:
            return ChatReply(response="Good morning! Ask me about trains, or the weather.", confidence=0.5)
        try:
            reply = await ctx.chat(topic, message, context=known.theirs.get(topic))
        except DeliveryError:  # nobody there has that capability, or they are away
            return ChatReply(
                response=f"Nobody is here who knows about {topic}.", confidence=0.1, context=known.model_dump()
            )
        known = Known(with_whom=topic, theirs={**known.theirs, topic: dict(reply.context)})
        return ChatReply(response=reply.response, confidence=reply.confidence, context=known.model_dump())
