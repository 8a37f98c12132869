"""A text that is never shown: not in a repr, a log line, an error or a dump (contract section 9)."""

from __future__ import annotations

import hmac
from typing import Any, Final, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

MASK: Final = "**********"


class Secret:
    """Holds a secret text; only `reveal()` gives it out.

    Two secrets compare by value, in constant time. It cannot be pickled, because that would write it down.

    Raises:
        ValueError: the text is empty or blank.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text.strip():
            raise ValueError("a secret cannot be empty")
        self._text = text

    def reveal(self) -> str:
        """The text itself; hand it only to what needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: that would write it down")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Takes a text or a `Secret`; a dump to JSON shows the mask."""  # Any: pydantic's own signature
        return core_schema.no_info_plain_validator_function(
            cls._of,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    @classmethod
    def _of(cls, value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return cls(value)
        raise ValueError("a secret is a text")
