"""The port a droplet listens on, taken before anything else, so that its URL is known from the start."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final

from udc.errors import ConfigError

_CHOOSE: Final = "choose another with --port or PORT (0 = any free one)"
_REASONS: Final = {
    errno.EADDRINUSE: "is in use; stop what listens there, or {choose}",
    errno.EACCES: "needs more rights than this process has; {choose}",
    errno.EADDRNOTAVAIL: "is no address of this machine; choose another with --host",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that has its port and does not listen yet.

    Attributes:
        host: as it was asked for.
        kept: another process keeps it open too: who connects while this one stops, waits for the next.
    """

    socket: socket.socket
    host: str
    kept: bool = False

    @property
    def port(self) -> int:
        """The port, also where any free one was asked for."""
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where others on this machine find it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def close(self) -> None:
        """Give the port back; harmless when somebody else has done so."""
        self.socket.close()


def bind(
    host: str, port: int, *, settings: tuple[str, str] = ("server.host", "server.port"), choose: str = _CHOOSE
) -> Bound:
    """Take a port of this machine; 0 = any free one.

    Args:
        settings: what host and port are called where they were set, for the message.
        choose: how to have another port, for the message.

    Raises:
        ConfigError: it cannot be had; the line says why, and what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:  # also gaierror: what the resolver says
        raise ConfigError([f"{settings[0]}: {host!r} cannot be resolved: {error.strerror}"]) from error
    taken = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections are still in TIME_WAIT may be taken again: a restart must not wait for them.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setblocking(False)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise not_to_be_had(host, port, error, setting=settings[1], choose=choose) from error
    return Bound(taken, host)


def not_to_be_had(
    host: str, port: int, error: OSError, *, setting: str = "server.port", choose: str = _CHOOSE
) -> ConfigError:
    """The line about a port that could not be taken."""
    reason = _REASONS.get(error.errno or 0, f"cannot be taken: {error.strerror}").format(choose=choose)
    return ConfigError([f"{setting}: {host}:{port} {reason}"])
