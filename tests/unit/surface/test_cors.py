"""What a browser is told about pages of other origins."""

from __future__ import annotations

import pytest

from udc.surface.cors import Cors

APP = "https://app.example"
PREFLIGHT = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
VARY = ("vary", "Origin")


def test_a_page_that_is_allowed() -> None:
    cors = Cors([APP, "https://other.example"], expose=["x-one", "x-two"])
    assert cors.on_answer({"origin": APP}) == (
        VARY,
        ("access-control-allow-origin", APP),
        ("access-control-expose-headers", "x-one, x-two"),
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{APP}.evil.example"},
        {"origin": f"{APP}, {APP}"},
        {"origin": APP.upper()},
        {"origin": ""},
    ],
)
def test_everybody_else_gets_what_tells_caches_apart_and_no_more(headers: dict[str, str]) -> None:
    cors = Cors([APP])
    assert cors.on_answer(headers) == (VARY,)
    assert cors.on_preflight({**headers, "access-control-request-method": "POST"}, ["POST"]) is None


def test_all_pages() -> None:
    cors = Cors(["*"])
    assert cors.on_answer({}) == ()
    assert cors.on_answer({"origin": "null"}) == (("access-control-allow-origin", "*"),)
    preflight = cors.on_preflight({**PREFLIGHT, "origin": "null"}, ["POST"])
    assert preflight is not None
    assert ("access-control-allow-origin", "*") in preflight


def test_all_pages_never_with_credentials() -> None:
    """Trap 41."""
    for origins in (["*"], [APP, "*"]):
        with pytest.raises(ValueError, match="never goes with credentials"):
            Cors(origins, credentials=True)


def test_credentials() -> None:
    cors = Cors([APP], credentials=True)
    preflight = cors.on_preflight(PREFLIGHT, ["POST"])
    assert preflight is not None
    for headers in (cors.on_answer({"origin": APP}), preflight):
        assert ("access-control-allow-credentials", "true") in headers
        assert ("access-control-allow-origin", APP) in headers
    assert cors.on_answer({"origin": "https://evil.example"}) == (VARY,)


def test_a_preflight() -> None:
    cors = Cors([APP], headers=["authorization", "content-type"], max_age_seconds=60)
    assert cors.on_preflight(PREFLIGHT, ["OPTIONS", "POST"]) == (
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ("access-control-allow-origin", APP),
        ("access-control-allow-methods", "OPTIONS, POST"),
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-max-age", "60"),
    )
    assert cors.on_preflight({"origin": APP}, ["POST"]) is None
    assert cors.on_preflight({"access-control-request-method": "POST"}, ["POST"]) is None


def test_methods_can_be_fewer() -> None:
    preflight = Cors([APP], methods=["GET"]).on_preflight(PREFLIGHT, ["POST"])
    assert preflight is not None
    assert ("access-control-allow-methods", "GET") in preflight
    assert not any(name == "access-control-allow-headers" for name, _ in preflight)
