"""Which addresses may see a secret: https, loopback, and hosts that the configuration names (contract section 6)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from udc.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}
# urlsplit drops tabs and newlines and keeps backslashes, which clients read as "/": neither belongs in a URL of ours.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_LOOPBACK_V4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_V6 = ipaddress.ip_address("::1")


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its spelling: `localhost`, 127.0.0.0/8 or `::1`. Looks no name up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address in _LOOPBACK_V4 if address.version == 4 else address == _LOOPBACK_V6


def require_secure(url: str, insecure_hosts: frozenset[str] = frozenset()) -> None:
    """Accept a URL to which secrets and tokens may go, and from which keys may come.

    Args:
        url: absolute http(s) URL without user and password.
        insecure_hosts: hosts, without port, that may be spoken to over plain http.

    Raises:
        ConfigError: it is none; the line names the URL's host and what to do, never a password.
    """
    parts = _split(url)
    if parts is None:
        raise ConfigError(["the URL is not of the form https://host[:port]/path; write it out in full"])
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise ConfigError([f"the URL of host {host!r} holds a user or password; leave that part out"])
    if parts.scheme == "https" or is_loopback(host):
        return
    if host in {name.lower() for name in insecure_hosts}:
        return
    problem = (
        f"http://{parts.netloc} is neither https nor loopback, so secrets and keys do not travel there; "
        f"use https, or add {host!r} to security.insecure_hosts"
    )
    raise ConfigError([problem])


def same_origin(a: str, b: str) -> bool:
    """Whether both URLs have the same scheme, host and port (RFC 6454); false when either is no plain http(s) URL."""
    first, second = _split(a), _split(b)
    if first is None or second is None or "@" in first.netloc or "@" in second.netloc:
        return False
    return _origin(first) == _origin(second)


def _split(url: str) -> SplitResult | None:
    """The parts of an absolute http(s) URL; `None` for anything else."""
    if _FORBIDDEN.search(url):
        return None
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
