"""Which web pages of other origins may use this droplet from a browser (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

Headers = tuple[tuple[str, str], ...]

ANY: Final = "*"
_VARY: Final = ("vary", "Origin")
_PREFLIGHT_VARY: Final = ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")


class Cors:
    """Adds what a browser wants to see before it shows an answer to a page of another origin.

    A page that is not allowed gets the same answers without these headers; its browser keeps them from it.

    Args:
        origins: as browsers send them, `https://app.example`; or `("*",)` for all.
        methods: what a preflight allows; none = whatever the path takes.
        headers: request headers that a page may set.
        expose: response headers that a page may read.
        credentials: whether the browser may send what it keeps for this origin.
        max_age_seconds: how long a browser remembers a preflight's answer.

    Raises:
        ValueError: all origins together with credentials: any page could act as its reader.
    """

    def __init__(
        self,
        origins: Sequence[str],
        *,
        methods: Sequence[str] = (),
        headers: Sequence[str] = (),
        expose: Sequence[str] = (),
        credentials: bool = False,
        max_age_seconds: int = 600,
    ) -> None:
        anybody = ANY in origins
        if anybody and credentials:
            raise ValueError("CORS for all origins never goes with credentials; name the origins")
        with_credentials: Headers = (("access-control-allow-credentials", "true"),) if credentials else ()
        exposed: Headers = (("access-control-expose-headers", ", ".join(expose)),) if expose else ()
        # Where one answer fits all, caches need not tell origins apart.
        self._others: Headers = () if anybody else (_VARY,)
        self._anybody: Headers | None = (_allow(ANY), *exposed) if anybody else None
        self._by_origin: Mapping[str, Headers] = (
            {} if anybody else {origin: (_VARY, _allow(origin), *with_credentials, *exposed) for origin in origins}
        )
        self._preflight: Headers = (
            *with_credentials,
            *((("access-control-allow-headers", ", ".join(headers)),) if headers else ()),
            ("access-control-max-age", str(max_age_seconds)),
        )
        self._methods = tuple(methods)

    def on_answer(self, request_headers: Mapping[str, str]) -> Headers:
        """What to add to any answer."""
        origin = request_headers.get("origin")
        if origin is None:
            return self._others
        return self._anybody or self._by_origin.get(origin, self._others)

    def on_preflight(self, request_headers: Mapping[str, str], allowed: Sequence[str]) -> Headers | None:
        """The headers of a preflight's answer; `None` when it is none, or of a page that is not allowed.

        Args:
            allowed: the methods that the path takes.
        """
        origin = request_headers.get("origin")
        if origin is None or "access-control-request-method" not in request_headers:
            return None
        if self._anybody is None and origin not in self._by_origin:
            return None
        return (
            _PREFLIGHT_VARY,
            _allow(ANY if self._anybody else origin),
            ("access-control-allow-methods", ", ".join(self._methods or allowed)),
            *self._preflight,
        )


def _allow(origin: str) -> tuple[str, str]:
    return ("access-control-allow-origin", origin)
