"""Every exception of httpx2 has a meaning, and only what fails before sending says that nothing was sent."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from udc._http.faults import FOREIGN, MEANING, delivery_error
from udc.errors import ConnectionLost, DeliveryError, InvalidReply, PeerUnreachable


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def whole_tree() -> set[type[Exception]]:
    found = {kind for kind in below(Exception) if kind.__module__.split(".")[0] == "httpx2"}
    return {kind for kind in found if not issubclass(kind, Warning) and "websockets" not in kind.__module__}


def test_the_map_holds_the_whole_tree_and_nothing_else() -> None:
    assert set(MEANING) == whole_tree()


def test_every_exception_is_caught_by_the_roots() -> None:
    assert not [kind for kind in whole_tree() if not issubclass(kind, FOREIGN)]


def test_public_exceptions_of_the_package_are_in_the_tree() -> None:
    exported = {getattr(httpx2, name) for name in httpx2.__all__}
    errors = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind for kind in errors if not issubclass(kind, Warning)} <= set(MEANING)


def test_only_what_fails_before_the_first_byte_is_unreachable() -> None:
    unreachable = {kind.__name__ for kind, meaning in MEANING.items() if meaning is PeerUnreachable}
    assert unreachable == {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "UnsupportedProtocol",
        "InvalidURL",
        "LocalProtocolError",
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx2.ConnectError("no"), PeerUnreachable),
        (httpx2.ReadError(""), ConnectionLost),
        (httpx2.DecodingError("bad gzip"), InvalidReply),
    ],
)
def test_the_text_names_peer_origin_and_reason(error: Exception, kind: type[DeliveryError]) -> None:
    made = delivery_error(error, peer="billing", origin="http://b:1")
    assert type(made) is kind
    assert made.peer == "billing"
    assert "billing" in str(made)
    assert "http://b:1" in str(made)
    assert (str(error) or type(error).__name__).lower() in str(made)


def test_an_exception_of_a_later_release_is_taken_for_a_lost_connection() -> None:
    class Later(httpx2.NetworkError):
        pass

    made = delivery_error(Later("new"), peer=4, origin="http://b:1")
    del Later
    assert type(made) is ConnectionLost


def test_the_reason_is_the_operating_systems() -> None:
    error = httpx2.ConnectError("all attempts failed")
    error.__cause__ = ExceptionGroup("several", [OSError(111, "Connection refused"), OSError(113, "No route")])
    assert ": connection refused;" in str(delivery_error(error, peer=4, origin="http://b:1"))
