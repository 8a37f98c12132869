"""Which endpoint answers a method and a path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, get_args

from udc._types import Access
from udc.errors import DefinitionError, MethodNotAllowed, NotFound
from udc.surface._base import Endpoint
from udc.surface._query import QueryParameter

_NO_PARAMS: Final[dict[str, str]] = {}
_NAME: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class Routes:
    """An endpoint table made ready for look-ups. Fixed paths win over templates.

    Raises:
        DefinitionError: two rows claim the same method and path, or a path cannot be a template.
    """

    def __init__(self, table: Iterable[Endpoint]) -> None:
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        # By shape: what it matches, and by method the row with the names of its own template.
        self._templates: dict[str, tuple[re.Pattern[str], dict[str, Endpoint], dict[str, tuple[str, ...]]]] = {}
        self.table: tuple[Endpoint, ...] = tuple(table)
        for row in self.table:
            self._add(row)

    def _add(self, row: Endpoint) -> None:
        _check(row)
        pattern, names = _pattern(row)
        if names:
            _, rows, names_of = self._templates.setdefault(_shape(row.path), (pattern, {}, {}))
            names_of.setdefault(row.method, names)
        else:
            rows = self._fixed.setdefault(row.path, {})
        if row.method in rows:
            other = rows[row.method]
            raise DefinitionError(
                f"two endpoints claim {row.method} {row.path}: {_owner(other)} and {_owner(row)}; rename one of them"
            )
        rows[row.method] = row

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint, and the values of its path's names.

        Raises:
            NotFound: no endpoint has this path.
            MethodNotAllowed: the path exists, for other methods.
        """
        if method == "HEAD":  # answered like GET; the adapter leaves the body out (RFC 9110 section 9.3.2)
            method = "GET"
        fixed = self._fixed.get(path)
        if fixed is not None and (row := fixed.get(method)) is not None:
            return row, _NO_PARAMS
        for pattern, rows, names_of in self._templates.values():
            if (match := pattern.fullmatch(path)) is not None and (row := rows.get(method)) is not None:
                return row, dict(zip(names_of[method], match.groups(), strict=True))
        allowed = self.allowed(path)
        raise MethodNotAllowed(f"this path takes {', '.join(allowed)}, not {method[:16]}", details={"allow": allowed})

    def allowed(self, path: str) -> list[str]:
        """The methods that the path takes, for `Allow`; `HEAD` where there is `GET`, and `OPTIONS` everywhere.

        Raises:
            NotFound: no endpoint has this path.
        """
        methods = self.methods(path)
        if not methods:
            raise NotFound("there is no such path here", hint="GET /openapi.json lists what there is")
        return sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))

    def methods(self, path: str) -> set[str]:
        """The methods that endpoints of this path have declared."""
        methods = set(self._fixed.get(path, ()))
        for pattern, rows, _ in self._templates.values():
            if pattern.fullmatch(path) is not None:
                methods.update(rows)
        return methods


def _check(row: Endpoint) -> None:
    if row.method != row.method.upper() or row.method == "HEAD":
        raise DefinitionError(f"{_owner(row)}: the method {row.method!r} must be upper case; HEAD is answered like GET")
    if row.access not in get_args(Access):
        known = ", ".join(map(repr, get_args(Access)))
        raise DefinitionError(f"{_owner(row)}: {row.method} {row.path} has access {row.access!r}; give one of {known}")
    _check_query(row)


def _check_query(row: Endpoint) -> None:
    seen: set[str] = set()
    for each in row.query:
        if not isinstance(each, QueryParameter):  # pyright: ignore[reportUnnecessaryIsInstance] - for who checks no types
            raise DefinitionError(
                f"{_owner(row)}: {each!r} in the query of {row.method} {row.path} is no QueryParameter; "
                f"write query=(QueryParameter({str(each)!r}),)"
            )
        if each.name in seen:
            raise DefinitionError(f"{_owner(row)}: {row.method} {row.path} has two query parameters {each.name!r}")
        seen.add(each.name)


def _pattern(row: Endpoint) -> tuple[re.Pattern[str], tuple[str, ...]]:
    if not row.path.startswith("/") or row.path != row.path.strip() or "?" in row.path:
        raise DefinitionError(f"{_owner(row)}: the path {row.path!r} must start with '/' and hold no query")
    parts = _NAME.split(row.path)  # literal, name, literal, name, … literal
    literals, names = parts[0::2], parts[1::2]
    if any("{" in text or "}" in text for text in literals) or len(set(names)) != len(names):
        raise DefinitionError(
            f"{_owner(row)}: the path {row.path!r} is no template; write names once each, as in '/droplets/{{id}}'"
        )
    return re.compile("([^/]+)".join(map(re.escape, literals))), tuple(names)


def _shape(path: str) -> str:
    return _NAME.sub("{}", path)


def _owner(row: Endpoint) -> str:
    return str(getattr(row.handler, "__qualname__", type(row.handler).__qualname__))
