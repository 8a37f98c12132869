"""The root of all errors."""

from __future__ import annotations

from typing import Any


class UdcError(Exception):
    """The root of all errors of this library."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:  # Any: pickle's own
        # The constructors take more than `args` holds, so pickle and copy must not call them.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[UdcError], args: tuple[Any, ...], state: dict[str, Any]) -> UdcError:  # Any: pickle's own
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error
