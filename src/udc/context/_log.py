"""The logger of handlers: every line carries its trace."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

handler_log: Final = logging.getLogger("udc.handler")


class TraceLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the trace id to every line, and keeps the caller's own `extra` (the standard adapter drops it)."""

    def process(
        self,
        msg: Any,  # Any: as the standard library has it
        kwargs: MutableMapping[str, Any],  # Any: likewise
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
