"""The last log lines and events of a droplet, in bounded rings, with secrets masked."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from udc._ids import Ambient, iso_utc
from udc.context import current_context
from udc.instrument import (
    AuthenticationFailed,
    Event,
    MessageHandled,
    RequestAnswered,
    SendAttempted,
    SendFinished,
    Tally,
)

current_droplet: ContextVar[str | None] = ContextVar("udc_current_droplet", default=None)
"""The instance whose code is running where no handler is, so that droplets in one process keep their lines apart."""


def running_instance() -> str | None:
    """The instance whose code is running; `None` where nobody knows."""
    context = current_context.get()
    owner = None if context is None else context.instance_id  # a context made outside a droplet belongs to none
    return owner or current_droplet.get()


# Callers decide what stands in a log line, so each of these takes time linear in its length.
_DOTTED: Final = re.compile(r"(?<![\w-])[\w-]+={0,2}(?:\.[\w-]*={0,2}){2,}")
_JSON_IN_BASE64: Final = re.compile(r"e(?:yJ|yA|wo|w0|wk)[\w-]{5}")
"""How the header of a JWT begins: "{", and then a quote or a blank."""

_SECRETS: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), r"\1***@"),
    (
        # A quoted value, as in JSON (whose quotes may be escaped once more), up to its closing quote; any other
        # up to the next blank or separator.
        re.compile(
            r"(?i)((?:secret|token|passw(?:or)?d|passphrase|(?:api|signing|private|registry)[_-]?key)[\w-]{0,40}"
            r"\\{0,9}[\"']?\s{0,9}[=:]\s{0,9})"
            r"(?:(\\{0,9})([\"'])(?:(?!\2\3)(?:\\[\s\S]|[\s\S]))*(?:\2\3|\Z)|[^\s\"',;&]+)"
        ),
        r"\1***",
    ),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        "***key***",
    ),
)
_SNAKE: Final = re.compile(r"(?<!^)(?=[A-Z])")
_EVERYDAY: Final = (RequestAnswered, SendAttempted, MessageHandled, SendFinished, AuthenticationFailed)
"""Events that others can cause as often as they like: counted elsewhere; failures of ours are kept."""


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without anything that looks like a credential, and without the given secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _DOTTED.sub(_unless_token, text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _unless_token(dotted: re.Match[str]) -> str:
    return "***token***" if _JSON_IN_BASE64.search(dotted[0]) else dotted[0]


class EventRing:
    """Keeps the last events for `GET /events`; a hook. They are made into rows when somebody reads them."""

    def __init__(self, *, ambient: Ambient, secrets: Iterable[str] = (), size: int = 1000) -> None:
        self._ambient = ambient
        self._secrets = tuple(secrets)
        self._kept: deque[tuple[float, Event]] = deque(maxlen=size)
        self.total: int = 0

    def __call__(self, event: Event, /) -> None:
        """Keep the event, unless it is of a kind that comes with every message and tells of no failure."""
        if isinstance(event, _EVERYDAY) and _failure(event) is None:
            return
        self._keep(event)

    def taker(self, kind: type[Event], /) -> Callable[[Any], None]:  # Any: an event of that kind
        """See `Choosy`."""
        if issubclass(kind, RequestAnswered):
            return self._keep_broken
        if issubclass(kind, MessageHandled):
            return self._keep_failed
        return self if issubclass(kind, _EVERYDAY) else self._keep

    def tally(self, _: str, /) -> Tally | None:
        """See `Sparing`: of what comes with every message, only failures are kept."""
        return None

    def _keep_broken(self, event: RequestAnswered) -> None:
        if event.status >= 500:
            self(event)

    def _keep_failed(self, event: MessageHandled) -> None:
        if event.error_code is not None:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        self.total += 1
        self._kept.append((self._ambient.wall(), event))

    def last(self, limit: int, event_type: str | None = None) -> list[dict[str, Any]]:  # Any: JSON values
        """The newest rows, oldest of them first."""
        kept = [pair for pair in self._kept if event_type is None or _name(pair[1]) == event_type]
        return [self._row(at, event) for at, event in (kept[-limit:] if limit > 0 else [])]

    def _row(self, at: float, event: Event) -> dict[str, Any]:  # Any: JSON values
        detail = {
            key: mask(value, self._secrets) if isinstance(value, str) else value for key, value in asdict(event).items()
        }
        return {"timestamp": iso_utc(datetime.fromtimestamp(at, UTC)), "event_type": _name(event), "detail": detail}


def _failure(event: Event) -> str | None:
    """How it failed, if that was our doing: what a caller got wrong is the caller's affair."""
    if isinstance(event, RequestAnswered) and event.status < 500:
        return None
    code: str | None = getattr(event, "error_code", None) or getattr(event, "error", None)
    return code


def _name(event: Event) -> str:
    return _SNAKE.sub("_", type(event).__name__).lower()


class LogRing(logging.Handler):
    """Keeps the last log lines of one droplet as rows of `GET /logs`.

    Takes lines written while that droplet's code runs, and lines of nobody's.

    Attributes:
        level_before: of our own loggers, before the first droplet of the process came.
    """

    def __init__(self, *, instance_id: str, secrets: Iterable[str] = (), size: int = 1000) -> None:
        super().__init__()
        self.level_before = logging.NOTSET
        self._instance_id = instance_id
        self._secrets = tuple(secrets)
        self._rows: deque[dict[str, Any]] = deque(maxlen=size)  # Any: JSON values
        self.total: int = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        if running_instance() not in (None, self._instance_id):
            return
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - the caller's arguments do not fit its format: logging's own way out
            self.handleError(record)
            return
        self.total += 1
        self._rows.append(
            {
                "timestamp": iso_utc(datetime.fromtimestamp(record.created, UTC)),
                "level": record.levelname,
                "logger": record.name,
                "message": _writable(mask(text, self._secrets)),
                "trace_id": _text(getattr(record, "trace_id", None)) or _trace_id(),
            }
        )

    def last(self, limit: int, level: str | None = None) -> list[dict[str, Any]]:  # Any: as above
        """The newest rows at or above the level, oldest of them first."""
        floor = logging.getLevelNamesMapping().get((level or "").upper(), 0)
        names = logging.getLevelNamesMapping()
        rows = [row for row in self._rows if names.get(row["level"], logging.CRITICAL) >= floor]
        return rows[-limit:] if limit > 0 else []


def _writable(text: str) -> str:
    """The text without lone surrogates (names of files may hold them), which no JSON can."""
    return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str | None:
    """What somebody's `extra` holds, as text."""
    return None if value is None else _writable(str(value))


def _trace_id() -> str | None:
    """The trace of the handler that writes the line, if one does."""
    context = current_context.get()
    if context is None:
        return None
    try:
        return context.trace_id
    except LookupError:  # a job or hook that has not called anybody yet
        return None
