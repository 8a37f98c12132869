"""Trains tells when trains leave. What it was asked before comes back to it in the conversation's context."""

from __future__ import annotations

from pydantic import BaseModel

from udc import ChatReply, Droplet, chat

TRAINS = {"Delft": ["08:04", "08:34", "09:04"], "Utrecht": ["08:11", "08:41"]}


class Asked(BaseModel):
    """What Trains remembers of a conversation; it travels with it, so that any instance can go on."""

    town: str | None = None
    told: int = 0


class Trains(Droplet):
    id, name, steward = 62, "Trains", "station"
    capabilities = ("trains",)

    @chat
    async def talk(self, message: str, context: Asked | None = None) -> ChatReply:
        """Answer one message of a conversation."""
        asked = context or Asked()
        town = next((each for each in TRAINS if each.lower() in message.lower()), None)
        asked = Asked(town=town) if town is not None else asked
        if asked.town is None:
            return ChatReply(response=f"Where to? I know {' and '.join(TRAINS)}.", confidence=0.3)
        left = TRAINS[asked.town][asked.told :]
        if not left:
            return ChatReply(response=f"That was the last one to {asked.town}.", context=asked.model_dump())
        known = Asked(town=asked.town, told=asked.told + 1)
        return ChatReply(response=f"To {asked.town} at {left[0]}.", context=known.model_dump())
