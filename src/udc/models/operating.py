"""What operators ask of a droplet: logs, events, proof, reload and shutdown (contract section 2)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from udc._types import DropletId
from udc.models._fields import Body, Int, Time, Whole


class LogEntry(Body):
    """One log line, secrets masked."""

    timestamp: Time = Field(description="When.")
    level: str = Field(description="DEBUG to CRITICAL.")
    logger: str = Field(description="The logger's name.")
    message: str = Field(description="The line.")
    trace_id: str | None = Field(default=None, description="The trace it belongs to.")


class LogPage(Body):
    """Answer of `GET /logs`."""

    logs: tuple[LogEntry, ...] = Field(description="The latest lines that were asked for.")
    total: Int = Field(description="How many lines match in all.")
    droplet_id: DropletId = Field(description="Whose they are.")


class EventEntry(Body):
    """One thing that happened in a droplet, secrets masked."""

    timestamp: Time = Field(description="When.")
    event_type: str = Field(description="What kind.")
    detail: Any = Field(default=None, description="More of it.")  # Any: a JSON value


class EventPage(Body):
    """Answer of `GET /events`."""

    events: tuple[EventEntry, ...] = Field(description="The latest that were asked for.")
    total: Int = Field(description="How many match in all.")
    droplet_id: DropletId = Field(description="Whose they are.")


class Proof(Body):
    """Answer of `GET /proof`: the last action that changed state, signed."""

    action: str = Field(description="What was done.")
    timestamp: Time = Field(description="When.")
    trace_id: str = Field(description="Of the message that asked for it.")
    droplet_id: DropletId = Field(description="Who did it.")
    instance_id: str = Field(description="Which process of it.")
    signature: str = Field(description="Ed25519 over the other fields, base64url without padding.")


class ReloadRequest(Body):
    """Body of `POST /reload-config`."""

    config_path: str | None = Field(default=None, description="A file inside the configured directory.")


class ReloadResult(Body):
    """Answer of `POST /reload-config`."""

    reloaded: bool = Field(description="Whether the new values are in use.")
    changed: tuple[str, ...] = Field(default=(), description="Names of the values that changed.")
    timestamp: Time = Field(description="When.")


class ShutdownRequest(Body):
    """Body of `POST /shutdown`."""

    delay_seconds: Annotated[int, Field(strict=True, ge=0, le=300), Whole] = Field(
        default=10, description="Time until it begins."
    )
    reason: str = Field(default="", description="Why, for the log.")


class ShutdownResult(Body):
    """Answer of `POST /shutdown`, given before it begins."""

    shutdown_scheduled: bool = Field(default=True, description="It will stop.")
    delay_seconds: Int = Field(description="Time until it begins.")
    reason: str = Field(default="", description="As given.")
    scheduled_at: Time = Field(description="When it begins.")
