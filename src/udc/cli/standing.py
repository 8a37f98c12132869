"""Tells the person at the terminal when a droplet cannot register, and when it can again."""

from __future__ import annotations

from udc._wiring.nearby import NOT_IN_SIGHT
from udc.cli.faults import say
from udc.instrument import Event, RegistrationAccepted, RegistrationFailed

_WAITS = "phase is "
"""How the reason begins when it is only not ready yet."""


class Standing:
    """A hook. Says the first failure of each row of them; what follows is the same again."""

    def __init__(self) -> None:
        self._troubled = False

    def __call__(self, event: Event, /) -> None:
        """Take an event."""
        if isinstance(event, RegistrationFailed) and not self._troubled and not _is_told(event.error):
            self._troubled = True
            say(f"not registered: {event.error}; it keeps trying")
        elif isinstance(event, RegistrationAccepted) and self._troubled:
            self._troubled = False
            say("registered now")


def _is_told(error: str) -> bool:
    """That there is no mesh in sight has been said when it began to serve."""
    return error == NOT_IN_SIGHT or error.startswith(_WAITS)
