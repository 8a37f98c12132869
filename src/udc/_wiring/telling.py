"""What a droplet says in the log of its standing, for the person who looks: once when it changes, not at every try."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from udc._wiring.nearby import NOT_IN_SIGHT, Found, Nearby
from udc._wiring.settings import Settings
from udc.datadir import SECRET_FILE
from udc.instrument import Event, Only, PresenceChanged, RegistrationAccepted, RegistrationFailed, Tally
from udc.rings import LogRing

_log = logging.getLogger("udc.presence")

_WAITS: Final = "phase is "
"""How the reason begins when it is only not ready yet."""


class Rare(Only):
    """A hook to which queries that succeed are of no interest, though it takes other messages."""

    def tally(self, _: str, /) -> Tally | None:
        """See `Sparing`."""
        return None


class Standing:
    """A hook. Says the first failure of each row of them, and its end.

    Args:
        announced: whoever runs the droplet has said that there is no mesh in sight, when it began to serve.
        lacking: what it lacks, even where the Registry takes it; see `lacking`.
    """

    def __init__(self, *, announced: bool = False, lacking: str | None = None) -> None:
        self._announced = announced
        self._lacking = lacking
        self._troubled = False
        self._alone = False

    def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:  # Any: an event of that kind
        """See `Choosy`: nothing of what comes with every message."""
        return self if issubclass(kind, RegistrationFailed | PresenceChanged | RegistrationAccepted) else None

    def __call__(self, event: Event, /) -> None:
        """Take an event."""
        if isinstance(event, RegistrationFailed):
            self._failed(event.error)
        elif isinstance(event, PresenceChanged) and event.after == "lost" and not self._troubled:
            self._troubled = True
            _log.warning("lost its Registry: %s; it goes on serving, and keeps trying", _line(event.reason))
        elif isinstance(event, RegistrationAccepted) or (
            isinstance(event, PresenceChanged) and event.after == "registered"
        ):
            self._well()
            if self._lacking is not None:
                _log.warning("registered, but %s", self._lacking)
                self._lacking = None

    def _failed(self, error: str) -> None:
        if error == NOT_IN_SIGHT:
            if not self._alone and not self._announced:
                self._alone = True
                _log.info("not registered: %s", NOT_IN_SIGHT)  # no trouble: it may be meant so
        elif not self._troubled and not error.startswith(_WAITS):
            self._troubled = True
            _log.warning("not registered: %s; it keeps trying", _line(error))

    def _well(self) -> None:
        if self._troubled or self._alone:
            # As loud as the trouble was: who read of that must not go on looking for it.
            _log.log(logging.WARNING if self._troubled else logging.INFO, "registered now")
        self._troubled = self._alone = False


def lacking(settings: Settings) -> str | None:
    """What a droplet lacks that a Registry on this machine takes without a secret; `None` = nothing."""
    config = settings.config
    security = config.security
    enrols = config.registry.style == "contract" and config.registry.url is not None
    if not enrols or any((config.droplet.secret, security.token, security.signing_key)):
        return None
    file = config.data / SECRET_FILE
    at_hand = f"; if {file} is of that mesh: DROPLET_SECRET_FILE={file}" if file.is_file() else ""
    return (
        "without a secret it gets no tokens: it is found and answers, but can call nobody; set droplet.secret "
        f"(DROPLET_SECRET){at_hand}"
    )


_OTHER_KEYS: Final = ("security.public_key", "security.jwks_url", "security.signing_key")


def tell_of_other_keys(settings: Settings, nearby: Nearby | None) -> None:
    """Where a mesh is found whose tokens a droplet does not take, because it was told other keys: say which setting."""
    set_ = [name for name in _OTHER_KEYS if settings.origin(name) != "default"]
    if nearby is None or not set_:
        return
    origins = ", ".join(f"{name} ({settings.origin(name)})" for name in set_)

    def found(mesh: Found) -> None:
        _log.warning(
            "a mesh runs at %s, but its tokens are not taken here, for the configuration names other keys: %s; "
            "take that away to be one of that mesh",
            mesh.url,
            origins,
        )

    nearby.on_found = found


def _line(text: str) -> str:
    """The text in one line: parts of it may be a stranger's words."""
    return "".join(each if each.isprintable() else " " for each in text)


class Unheard(logging.Handler):
    """Stands beside the rings: where nobody has set logging up, it does what `logging` does there by itself.

    A ring is a handler too, and so would keep warnings from a program's stderr.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, unless somebody hears it."""
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level and not _heard(record):
            logging.lastResort.handle(record)


def _heard(record: logging.LogRecord) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(each, LogRing | Unheard) for each in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
