"""What the bodies share: strict integers, aware times, frozen models, and reading one from bytes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from udc._ids import iso_utc
from udc.errors import InvalidRequest
from udc.wire.ids import MAX_NAME, MAX_NUMBER
from udc.wire.json_text import parse_object, unfold
from udc.wire.words import moment

Read = TypeVar("Read", bound="Body")
_BRANCHES = frozenset({"int", "str", "float", "bool"})
"""How pydantic calls the plain branches of a union."""


class Body(BaseModel):
    """The body of a request or answer: frozen, unknown keys ignored, bytes in and out as JSON."""

    # Built when first used: most droplets are never asked for most of these.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, defer_build=True
    )


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must not be a boolean")
    return value


def _whole(value: object) -> object:
    """JSON knows one kind of number: `5.0` is the integer 5 (JSON Schema, 2020-12, section 4.2.3 of its validation)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time(value: object) -> object:
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    try:
        return moment(value)
    except InvalidRequest as refusal:
        raise ValueError(refusal.message.partition(": ")[2]) from refusal


def _text_of_number(value: object) -> object:
    return str(value) if type(value) is int else value  # `type`: a boolean stays one, and is refused as a text


Whole: Final = BeforeValidator(_whole)
"""Stands last, after the bounds, which JSON Schema would not show else."""

Int = Annotated[int, Field(strict=True), Whole]
"""An integer that no boolean, fraction or text passes for."""

Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
"""A finite number that no boolean passes for."""

Id = Annotated[
    Annotated[int, Field(strict=True, ge=1), Whole]
    | Annotated[str, Field(strict=True, min_length=1, max_length=MAX_NAME)],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
                {"type": "string", "pattern": r"^([1-9][0-9]{0,17}|[A-Za-z][A-Za-z0-9 ._-]{0,253}[A-Za-z0-9._-]?)$"},
            ]
        }
    ),
]
"""A droplet id as it is written: a number from 1, or a text (`udc.wire.ids` finds the number in it)."""

_Epoch = Annotated[float, Field(ge=-62135596800, lt=253402300800)]
"""Seconds since the epoch, of the years that a date can have."""

Time = Annotated[
    datetime,
    BeforeValidator(_time, json_schema_input_type=datetime | _Epoch),
    PlainSerializer(iso_utc, return_type=str, when_used="json"),
]
"""An aware time; read as ISO 8601 (without an offset: UTC) or epoch seconds, written in UTC with `Z`."""

TextId = Annotated[
    str,
    Field(min_length=1, max_length=128),
    BeforeValidator(_text_of_number, json_schema_input_type=Annotated[str, Field(min_length=1, max_length=128)] | int),
]
"""An id of 1 to 128 characters that is kept as text; a number is taken as its digits."""

Payload = Annotated[dict[str, Any], BeforeValidator(unfold, json_schema_input_type=dict[str, Any])]  # Any: JSON
"""A JSON object; some write it as a JSON string."""


def _field(place: tuple[int | str, ...]) -> str:
    """A field as its sender knows it: pydantic adds which branch of a union it tried, a name with a dash or bracket."""
    known = [str(part) for part in place if isinstance(part, int) or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part)]
    return ".".join(known if len(known) < 2 or known[-1] not in _BRANCHES else known[:-1]) or "body"


def read(model: type[Read], body: bytes) -> Read:
    """The body as its model; an empty body is an empty object.

    Raises:
        InvalidRequest: not JSON, or not what the model asks for; names the first field at fault.
    """
    value = parse_object(body or b"{}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [_field(problem["loc"]) for problem in problems]
        refusal = InvalidRequest.field(fields[0], problems[0]["msg"])
        refusal.details = {"field": fields[0], "fields": fields}
        raise refusal from None
