"""JSON values, parsed already, against Python types: what fits, what does not, and which field is at fault."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

__all__ = ["adapter_of", "fit", "problems"]

T = TypeVar("T")


def fit(adapter: TypeAdapter[T], value: object) -> T:
    """Validate a JSON value that has been parsed already, with JSON's meaning.

    Validated as Python objects first, which is quick. What fails is tried once more through JSON, where a
    strict `datetime`, `bytes` or `tuple` may come from a string or a list.

    Raises:
        ValidationError: it fits neither way.
    """
    try:
        return adapter.validator.validate_python(value)  # type: ignore[no-any-return]  # the adapter's own type
    except ValidationError as error:
        try:
            encoded = to_json(value, inf_nan_mode="constants")
        except (PydanticSerializationError, ValueError):
            raise error from None  # not even JSON: the first refusal says more
        return adapter.validator.validate_json(encoded)  # type: ignore[no-any-return]  # likewise


def problems(error: ValidationError, *, whole: str = "data") -> list[dict[str, str]]:
    """What does not fit, as `field` and `message`; never a value that came in, nor another exception's text.

    A validator that has something to say to the caller raises `pydantic_core.PydanticCustomError`; the text of
    a plain `ValueError` may hold anything and stays here.
    """
    return [
        {"field": ".".join(map(str, line["loc"])) or whole, "message": _SAFE.get(line["type"], line["msg"])}
        for line in error.errors(include_url=False, include_input=False, include_context=False)
    ]


_SAFE: Final = {
    "value_error": "is not valid",
    "assertion_error": "is not valid",
    "union_tag_invalid": "its tag is none of the expected ones",
}
"""Texts for the kinds of error whose own text may echo what came in."""


@lru_cache(maxsize=512)
def _hashable_adapter(returns: Any) -> TypeAdapter[Any]:  # Any: whatever pydantic takes as a type
    return TypeAdapter(returns)


def adapter_of(returns: Any) -> TypeAdapter[Any]:  # Any: whatever pydantic takes as a type
    """The type's adapter, remembered for the next call.

    Raises:
        PydanticUserError: pydantic cannot validate that type.
    """
    try:
        return _hashable_adapter(returns)
    except TypeError:  # an Annotated with unhashable metadata: legal, only not remembered
        return TypeAdapter(returns)
