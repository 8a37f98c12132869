"""Ports are taken before anything else, and a refusal says what to do."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from udc import _serve
from udc.errors import ConfigError


def test_any_free_port_has_its_url_at_once() -> None:
    with closing(_serve.bind("127.0.0.1", 0)) as bound:
        assert bound.port > 0
        assert bound.url == f"http://127.0.0.1:{bound.port}"
        with pytest.raises(ConnectionRefusedError):  # it does not listen yet
            socket.create_connection(("127.0.0.1", bound.port))


def test_an_ipv6_url_has_brackets() -> None:
    try:
        bound = _serve.bind("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 on this machine")
    with closing(bound):
        assert bound.url == f"http://[::1]:{bound.port}"


def test_a_port_of_a_server_that_has_just_ended_can_be_had_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0] as accepted:
            accepted.close()  # the server's side closes first and goes to TIME_WAIT

    _serve.bind("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "is no address of this machine; choose another with --host"),
        ("no.such.invalid", "cannot be resolved"),
    ],
)
def test_a_host_that_is_not_ours(host: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _serve.bind(host, 0)


def test_a_port_in_use_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError) as refused:
        _serve.bind("127.0.0.1", other.getsockname()[1])

    assert refused.value.problems[0].startswith(f"server.port: 127.0.0.1:{other_port(refused)} is in use; ")


def other_port(refused: pytest.ExceptionInfo[ConfigError]) -> str:
    return refused.value.problems[0].split(":")[2].split()[0]
