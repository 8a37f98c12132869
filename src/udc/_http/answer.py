"""What comes back from an HTTP request, whole and in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from udc._frozen import dataclass


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One HTTP response.

    Attributes:
        status: the status code, redirects included: they are never followed.
        headers: names in lower case; of repeated ones the values joined with `, `.
        body: all of it, within the request's `max_bytes`.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
