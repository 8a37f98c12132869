"""What a droplet answered to a plain HTTP request of a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whatever its status.

    Attributes:
        headers: names in lower case.
        content: the whole body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8")

    def json(self) -> Any:  # Any: JSON values
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.content)
