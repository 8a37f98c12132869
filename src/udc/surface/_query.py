"""The parameters in an endpoint's query: declared once, told in OpenAPI, and read by the same declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from udc.errors import DefinitionError, InvalidRequest

_MANY: Final = (list, tuple, set, frozenset, Sequence)


@dataclass(frozen=True)
class QueryParameter:
    """One parameter of an endpoint's query: `LIMIT = QueryParameter("limit", int, default=100)`.

    The row of the endpoint names it in `query`, so that `/openapi.json` tells of it; its handler reads it with
    `LIMIT.read(request.query)`, so that what is told is what is checked. Parameters that no row names are read by
    nobody, and harm nobody (contract, first paragraph: unknown keys are ignored).

    Attributes:
        name: as it stands in the URL.
        type: what pydantic takes as a type, limits included: `Literal["up", "down"]`,
            `Annotated[int, Field(ge=1, le=1000)]`. Of a `list[…]` all values count, of others the last one.
        default: what `read` gives where it is absent.
        required: its absence is an error.
        description: one line for OpenAPI.
        adapter: reads and describes the type.

    Raises:
        DefinitionError: pydantic does not know the type, the default does not fit it, or there is one beside
            `required`.
    """

    name: str
    type: Any = str  # Any: whatever pydantic takes as a type
    _: KW_ONLY
    default: Any = None  # Any: of that type
    required: bool = False
    description: str = ""
    adapter: TypeAdapter[Any] = field(init=False, repr=False, compare=False)  # Any: as above

    def __post_init__(self) -> None:
        named = f"query parameter {self.name!r}"
        if not self.name or self.name != self.name.strip():
            raise DefinitionError(f"{named}: give it the name that stands in the URL")
        if self.required and self.default is not None:
            raise DefinitionError(f"{named} is required, so its default {self.default!r} would never count")
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(self.type)  # Any: as above
            if self.default is not None:
                adapter.validate_python(self.default, strict=True)
        except PydanticUserError as error:
            raise DefinitionError(f"{named}: pydantic does not know the type {self.type!r}") from error
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise DefinitionError(f"{named}: the default {self.default!r} does not fit: {problem}") from error
        object.__setattr__(self, "adapter", adapter)

    @property
    def many(self) -> bool:
        """Whether all its values count."""
        return _is_many(self.type)

    def read(self, query: Mapping[str, list[str]]) -> Any:  # Any: of its type
        """Its value in `request.query`, or the default.

        Raises:
            InvalidRequest: it does not fit its type, or is required and absent; names it.
        """
        values = query.get(self.name)
        if not values:
            if self.required:
                raise InvalidRequest.field(self.name, "is missing in the query")
            return self.default
        try:
            return self.adapter.validate_python(values) if self.many else self.adapter.validate_strings(values[-1])
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise InvalidRequest.field(self.name, problem["msg"]) from None


def _is_many(kind: Any) -> bool:  # Any: whatever pydantic takes as a type
    origin = get_origin(kind)
    if origin is Annotated:
        return _is_many(get_args(kind)[0])
    if origin in (Union, UnionType):  # `list[str] | None` above all
        return any(map(_is_many, get_args(kind)))
    if hasattr(kind, "__value__"):  # a name for a type
        return _is_many(kind.__value__)
    return (origin or kind) in _MANY
