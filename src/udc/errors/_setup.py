"""What is wrong before anything is sent: tokens, configuration, definitions, phases."""

from __future__ import annotations

from collections.abc import Sequence

from udc.errors._root import UdcError


class TokenError(UdcError):
    """No token could be had for an audience; the text says which and why, never the token."""


class ConfigError(UdcError):
    """A configuration that cannot work: all its problems, each naming the value's place.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        count = len(self.problems)
        head = f"the configuration has {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {line}" for line in self.problems)]))


class DefinitionError(UdcError):
    """A droplet class, handler or endpoint that cannot work; names file, line and fix."""


class LifecycleError(UdcError):
    """A step between phases, or a use of a droplet, that its life does not allow."""
