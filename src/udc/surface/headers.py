"""Request headers as servers hand them over, in bytes: decoded when somebody asks for one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

_JOINED: Final = {"cookie": "; "}
_MAX_NAMES: Final = 256


class HeaderNames:
    """Reads headers. Remembers which names are in lower case already, so that most requests are not looked through.

    The oldest is forgotten for a new one: names that a stranger makes up must not keep those of others out.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def read(self, raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
        """By name in lower case; of repeated ones the values joined with `, `, of cookies with `; `."""
        pairs = list(raw)
        found = self.plain(pairs)
        if found is not None:
            return _Encoded(found)
        for name, _ in pairs:
            if name == name.lower() and name not in self._known:
                if len(self._known) >= _MAX_NAMES:
                    del self._known[next(iter(self._known))]
                self._known[name] = None
        return _joined(pairs)

    def plain(self, raw: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """As they are, by name in lower case, if each is there once and its name is known; else `None`: `read` them."""
        found = dict(raw)
        return found if len(found) == len(raw) and found.keys() <= self._known.keys() else None


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}{_JOINED.get(name, ', ')}{value}" if name in headers else value
    return headers


class _Encoded(Mapping[str, str]):
    """Headers of which each name is there once, in lower case."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[bytes, bytes]) -> None:
        self._found = found

    def get(self, name: str, default: Any = None) -> Any:  # Any: as `Mapping` has it
        """See `Mapping`; without its detour over an exception."""
        value = self._found.get(name.encode("latin-1", "replace"))
        return default if value is None else value.decode("latin-1")

    def __getitem__(self, name: str) -> str:
        return self._found[name.encode("latin-1", "replace")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(dict(self))
