"""What callers of the Orchestrator send: tasks, changes of them, filters, reports, pollers (contract section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from udc._types import DropletId
from udc.errors import InvalidRequest
from udc.mesh.orchestrator.store import Filter
from udc.mesh.orchestrator.task import Status
from udc.models import Body
from udc.models._fields import Id, Int, Number, Payload, TextId, Time
from udc.surface._base import HttpRequest
from udc.surface._query import QueryParameter
from udc.surface.messages import require_json
from udc.wire import json_text
from udc.wire.ids import canonical_id

MAX_LIMIT = 1000
_DEFAULT_LIMIT = 100
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

FILTER: Final = (
    QueryParameter("status", Status, description="Only tasks in this state."),
    QueryParameter("task_type", description="Only tasks of this type."),
    QueryParameter("assigned_droplet_id", int | str, description="Only tasks that this droplet has or had last."),
)
"""What `filter_of` reads; an empty value is none."""

PAGE: Final = (
    *FILTER,
    QueryParameter(
        "limit",
        Annotated[int, Field(ge=0)],
        default=_DEFAULT_LIMIT,
        description=f"How many tasks; more than {MAX_LIMIT} are {MAX_LIMIT}.",
    ),
    QueryParameter("offset", Annotated[int, Field(ge=0)], default=0, description="How many to leave out."),
)
"""What `page_of` reads; an empty value is none."""

Text = Annotated[str, Field(min_length=1, max_length=255)]
Words = Annotated[str, Field(max_length=10_000)]


class NewTask(Body):
    """Body of `POST /tasks`."""

    task_id: Annotated[str, Field(pattern=_UUID)] | None = Field(
        default=None, description="Yours: the same request again finds the same task."
    )
    task_type: Text = Field(description="Which handler of the droplet.")
    title: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="What people call it; by default the task type."
    )
    description: Words | None = Field(default=None, description="More of that.")
    required_capability: Text | None = Field(
        default=None, description="What its droplet must offer; by default the task type."
    )
    priority: Annotated[Int, Field(ge=1, le=10)] = Field(default=5, description="1 first, 10 last.")
    payload: Payload = Field(default_factory=dict, description="What the handler works on.")
    deadline: Time | None = Field(default=None, description="When it fails if it is not done.")
    max_retries: Annotated[Int, Field(ge=0, le=10)] = Field(default=3, description="Attempts after the first.")
    trace_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="The trace it belongs to."
    )


class TaskChange(Body):
    """Body of `PATCH /tasks/{id}`."""

    status: Literal["in_progress", "completed", "failed"] = Field(description="Where it stands now.")
    result: Any = Field(default=None, description="What came out of it.")  # Any: a JSON value
    error_message: Words | None = Field(default=None, description="Why it failed.")
    attempt: Annotated[Int, Field(ge=1)] | None = Field(default=None, description="Which attempt this is about.")


class Report(Body):
    """Body of `POST /heartbeat`."""

    droplet_id: Id | None = Field(default=None, description="Whose report it is.")
    status: str | None = Field(default=None, max_length=64, description="How it is.")
    timestamp: Time | None = Field(default=None, description="When that was so.")
    metrics: dict[Annotated[str, Field(max_length=128)], Any] = Field(  # Any: JSON values
        default_factory=dict, max_length=200, description="Numbers about it."
    )


class Poller(Body):
    """Body of `POST /droplets/register`."""

    droplet_id: Id = Field(description="Who will poll.")
    name: Annotated[str, Field(max_length=255)] = Field(default="", description="Its name.")
    steward: Annotated[str, Field(max_length=255)] = Field(default="", description="Who answers for it.")
    endpoint: Annotated[str, Field(max_length=2048)] = Field(default="", description="Its address.")
    capabilities: Annotated[list[Text], Field(max_length=1000)] = Field(
        default_factory=list, description="What it can do: the tasks that it wants."
    )


class TaskWord(Body):
    """What the messages about a task have in common (contract section 5)."""

    task_id: Annotated[TextId, Field(max_length=128)]
    attempt: Annotated[Int, Field(ge=1)] | None = None
    percent: Annotated[Number, Field(ge=0, le=100)] = 0.0
    note: Words = ""
    result: Any = None  # Any: a JSON value
    error: str | None = None


def fields_of(request: HttpRequest) -> bytes:
    """The body's object as JSON; that of `payload` where the body is an envelope.

    Raises:
        InvalidRequest, UnsupportedMediaType: no JSON object.
    """
    require_json(request)
    sent = json_text.parse_object(request.body or b"{}")
    inner = json_text.as_mapping(sent.get("payload"))
    # A task has a payload of its own, so that alone makes no envelope.
    wrapped = inner and ("message_type" in sent or "from_service" in sent or "source_droplet_id" in _metadata(sent))
    return json_text.write(dict(inner)) if wrapped else request.body


def _metadata(sent: dict[str, Any]) -> Mapping[str, Any]:  # Any: JSON values
    return json_text.as_mapping(sent.get("metadata"))


def page_of(request: HttpRequest) -> tuple[Filter, int, int]:
    """What `GET /tasks` asks for: filter, limit, offset.

    Raises:
        InvalidRequest: names the parameter at fault.
    """
    query = request.query
    return filter_of(query), _number(query, "limit", _DEFAULT_LIMIT, MAX_LIMIT), _number(query, "offset", 0, 2**62)


def filter_of(query: dict[str, list[str]]) -> Filter:
    """The filter in a query.

    Raises:
        InvalidRequest: names the parameter at fault.
    """
    status = query.get("status", [""])[-1]
    droplet = query.get("assigned_droplet_id", [""])[-1]
    if status and status not in set(Status):
        raise InvalidRequest.field("status", f"must be one of {', '.join(Status)}")
    assigned: DropletId | None = canonical_id(droplet, field="assigned_droplet_id") if droplet else None
    return Filter(
        status=Status(status) if status else None,
        task_type=query.get("task_type", [""])[-1] or None,
        assigned_droplet_id=assigned,
    )


def _number(query: dict[str, list[str]], name: str, default: int, most: int) -> int:
    text = query.get(name, [""])[-1]
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest.field(name, "must be a whole number from 0")
    return min(int(text), most)
