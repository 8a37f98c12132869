from __future__ import annotations

import pytest

from udc.errors import ConfigError
from udc.identity.origin import is_loopback, require_secure, same_origin


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example.org",
        "HTTPS://registry.example.org:8443/x?y#z",
        "http://localhost:8000",
        "http://LOCALHOST/",
        "http://127.0.0.1:8000",
        "http://127.255.3.4",
        "http://[::1]:8000/",
        "http://inside.example:8000",
        "http://INSIDE.example",
    ],
)
def test_secure_urls_pass(url: str) -> None:
    require_secure(url, frozenset({"Inside.Example"}))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "registry.example.org",
        "//registry.example.org",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://host:99999",
        "https://host:0",
        "https://host:port",
        "https://[::1",
        "https://ho st",
        "https://host\n.example",
        "https://host\\@127.0.0.1/",
        "http://registry.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://127.1",
        "http://2130706433",
        "http://0.0.0.0",
        "http://[::ffff:127.0.0.1]",
        "http://[::]",
        "http://169.254.169.254/",
        "http://10.0.0.1",
        "https://user@registry.example.org",
        "https://user:hunter2@registry.example.org",
        "http://127.0.0.1@evil.example",
        "http://localhost:x@evil.example",
    ],
)
def test_insecure_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_secure(url)
    assert len(caught.value.problems) == 1
    assert "hunter2" not in str(caught.value)


def test_the_refusal_names_host_and_remedy() -> None:
    with pytest.raises(ConfigError, match=r"add 'far\.example' to security\.insecure_hosts"):
        require_secure("http://far.example:8000/x", frozenset({"near.example"}))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("https://h/a", "https://H:443/b", True),
        ("http://h", "http://h:80", True),
        ("https://h", "http://h", False),
        ("https://h", "https://h:444", False),
        ("https://h", "https://g", False),
        ("https://u@h", "https://h", False),
        ("https://h", "https://u@h", False),
        ("h", "h", False),
        ("https://h", "nonsense", False),
    ],
)
def test_same_origin(a: str, b: str, same: bool) -> None:
    assert same_origin(a, b) is same


def test_loopback_is_a_matter_of_spelling() -> None:
    assert [h for h in ("localhost", "127.9.9.9", "::1", "::2", "1.2.3.4", "here") if is_loopback(h)] == [
        "localhost",
        "127.9.9.9",
        "::1",
    ]
