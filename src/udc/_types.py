"""The few shapes that everything speaks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

DropletId: TypeAlias = int | str
"""A droplet's id: an int in our own meshes, a name in some foreign ones (contract section 1)."""

JsonObject: TypeAlias = Mapping[str, Any]  # Any: JSON has no narrower type that callers enjoy
"""A decoded JSON object."""

Permission: TypeAlias = Literal["read", "write", "admin"]
"""What a token may allow (contract section 6). `admin` includes both others, `write` does not include `read`."""

Access: TypeAlias = Literal["public", "read", "write", "admin"]
"""What an endpoint asks of its caller."""


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Stands for "not given" where `None` is a value."""
