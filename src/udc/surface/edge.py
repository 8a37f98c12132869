"""What every answer has in common at the edge to the network: security headers, CORS, `OPTIONS`.

The headers are made once. An answer without headers of its own gets one of four ready sets, already encoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from udc.surface._base import Headers, HttpRequest, HttpResponse, Standing
from udc.surface.cors import Cors
from udc.surface.rates import Rates

YEAR_SECONDS: Final = 31_536_000

_ALWAYS: Final[Headers] = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
)
_NO_STORE: Final = ("cache-control", "no-store")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5; and what latin-1 can encode


class Edge:
    """Dresses answers. Immutable; a reload makes a new one.

    Attributes:
        rates: how often callers may ask; `None` = as often as they like.
        adds_nothing: to an answer that has just its `standing` headers.
        is_plain: neither that, nor does it ask anything about a request.

    Args:
        cors: `None` = pages of other origins get nothing.
        hsts_seconds: how long browsers shall use https only, told to those that came by https; 0 = not told.
    """

    def __init__(
        self, *, cors: Cors | None = None, rates: Rates | None = None, hsts_seconds: int = YEAR_SECONDS
    ) -> None:
        self.rates: Rates | None = rates
        self.adds_nothing: bool = cors is None
        self.is_plain: bool = cors is None and rates is None
        self._cors = cors
        secure: Headers = (("strict-transport-security", f"max-age={hsts_seconds}"),) if hsts_seconds else ()
        self._plain = (Standing(_ALWAYS), Standing((*_ALWAYS, _NO_STORE)))
        self._https = (Standing((*_ALWAYS, *secure)), Standing((*_ALWAYS, *secure, _NO_STORE)))

    def standing(self, scheme: str, *, guarded: bool) -> Standing:
        """What an answer has that brings nothing of its own.

        Args:
            scheme: by which the request came.
            guarded: the answer is for its caller alone, and must not be kept by caches.
        """
        return (self._https if scheme == "https" else self._plain)[guarded]

    def dressed(self, response: HttpResponse, request: HttpRequest, *, guarded: bool) -> HttpResponse:
        """The response with the headers that it lacks; what it brings of them itself stays.

        Raises:
            ValueError: it brings a header that cannot be sent.
        """
        standing = self.standing(request.scheme, guarded=guarded)
        headers: Headers = response.headers
        if headers is not standing:
            headers = _completed(headers, standing) if headers else standing
        if self._cors is not None:
            headers = (*headers, *self._cors.on_answer(request.headers))
        if headers is response.headers:
            return response
        return HttpResponse(status=response.status, body=response.body, media_type=response.media_type, headers=headers)

    def options(self, request: HttpRequest, allowed: Sequence[str]) -> HttpResponse:
        """The answer to `OPTIONS`, dressed: what the path takes; to a browser's preflight what a page may do.

        Args:
            allowed: the methods that the path takes.
        """
        headers: Headers = (("allow", ", ".join(allowed)),)
        preflight = None if self._cors is None else self._cors.on_preflight(request.headers, allowed)
        plain = HttpResponse(status=204, media_type=None, headers=headers)
        if preflight is None:
            return self.dressed(plain, request, guarded=True)
        whole = _completed((*headers, *preflight), self.standing(request.scheme, guarded=True))
        return HttpResponse(status=204, media_type=None, headers=whole)

    def is_preflight(self, request: HttpRequest) -> bool:
        """Whether an `OPTIONS` request is a preflight of a page that may use this droplet."""
        return self._cors is not None and self._cors.on_preflight(request.headers, ()) is not None


def _completed(own: Headers, standing: Headers) -> Headers:
    names = {_checked(name, value) for name, value in own}
    return (*own, *(each for each in standing if each[0] not in names))


def _checked(name: str, value: str) -> str:
    """The name in lower case. A header with a line end in it would begin an answer of its own."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"an endpoint answers with the header {name!r}: {value!r}, which cannot be sent")
    return name.lower()
