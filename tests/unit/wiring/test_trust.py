"""Which verifier and which tokens a configuration leads to."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.contract.served import MESH, claims, key
from udc._http import HttpClient
from udc._ids import Ambient, system
from udc._wiring import trust
from udc.config import DropletConfig, Secret
from udc.errors import ConfigError, KeysUnavailable, TokenError, UdcError
from udc.identity.followed import FollowedKeys
from udc.identity.jwks import FixedKeys
from udc.identity.sources import FixedToken, RegistryTokens, SelfSigned, unverified_claims
from udc.identity.verify import NoAuth, TokenVerifier
from udc.instrument import Instrument

AMBIENT: Ambient = system()


def config(**sections: Any) -> DropletConfig:
    return DropletConfig.model_validate(sections)


def answering(status: int, body: bytes = b"", error: Exception | None = None) -> HttpClient:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if error is not None:
            raise error
        return httpx2.Response(status, content=body)

    return HttpClient(transport_factory=lambda: httpx2.MockTransport(answer))


def verifier(made: DropletConfig, client: HttpClient | None = None) -> Any:
    return trust.make_verifier(made, me=14, client=client or answering(200), ambient=AMBIENT, instrument=Instrument())


def test_no_auth_where_it_is_off() -> None:
    checks, service = verifier(config(security={"require_auth": False}))
    assert (type(checks), service) == (NoAuth, None)


async def test_without_a_source_of_keys_every_token_is_refused() -> None:
    checks, service = verifier(config())
    assert service is None
    with pytest.raises(KeysUnavailable) as caught:
        await checks.verify(key().sign(claims("admin")))
    assert "security.public_key" in str(caught.value.hint)


async def test_a_fixed_key_and_its_audiences() -> None:
    checks, service = verifier(config(security={"public_key": key().public_pem}))
    assert (type(checks), service) == (TokenVerifier, None)
    assert checks._expected.audiences == {MESH, f"{MESH}/14"}
    assert isinstance(checks._keys, FixedKeys)
    assert (await checks.verify(key().sign(claims("read")))).droplet_id == 77


def test_only_its_own_audience() -> None:
    checks, _ = verifier(config(security={"public_key": key().public_pem, "own_audience_only": True}))
    assert checks._expected.audiences == {f"{MESH}/14"}


async def test_the_own_signing_key_verifies_too() -> None:
    checks, service = verifier(config(security={"signing_key": Secret(key().private_pem)}))
    assert service is None
    assert (await checks.verify(key().sign(claims("read")))).droplet_id == 77


@pytest.mark.parametrize(
    "sections",
    [{"security": {"jwks_url": "http://127.0.0.1:1/jwks"}}, {"registry": {"url": "http://127.0.0.1:1"}}],
)
def test_remote_keys_bring_a_service(sections: dict[str, Any]) -> None:
    checks, service = verifier(config(**sections))
    assert service is checks._keys
    assert service.name == "keys"
    assert isinstance(checks._keys, FollowedKeys)


def test_keys_are_fetched_over_https_or_from_loopback_only() -> None:
    with pytest.raises(UdcError, match="registry"):
        verifier(config(registry={"url": "http://registry.example"}))
    verifier(config(registry={"url": "http://registry.example"}, security={"insecure_hosts": ["registry.example"]}))


async def fetched(client: HttpClient) -> bytes:
    checks, _ = verifier(config(security={"jwks_url": "http://127.0.0.1:1/jwks"}), client)
    async with client:
        return bytes(await checks._keys._keys._fetch("http://127.0.0.1:1/jwks"))


async def test_what_the_key_source_answers() -> None:
    assert await fetched(answering(200, b"{}")) == b"{}"
    with pytest.raises(TokenError, match="answered 404; is that the address of a JWKS"):
        await fetched(answering(404))


def tokens(made: DropletConfig, client: HttpClient | None = None, source: Any = None) -> Any:
    keeper, service = trust.make_tokens(
        made, me=14, source=source, client=client or answering(200), ambient=AMBIENT, instrument=Instrument()
    )
    assert service.name == "tokens"
    return keeper


@pytest.mark.parametrize(
    ("sections", "kind"),
    [
        ({"security": {"token": Secret(key().sign(claims("read")))}}, FixedToken),
        ({"security": {"signing_key": Secret(key().private_pem)}}, SelfSigned),
        ({"registry": {"url": "https://r.example"}, "droplet": {"secret": Secret("s")}}, RegistryTokens),
        ({"registry": {"url": "https://r.example"}}, trust.NoTokens),
        ({}, trust.NoTokens),
    ],
)
def test_where_tokens_come_from(sections: dict[str, Any], kind: type) -> None:
    assert type(tokens(config(**sections))._source) is kind


def test_a_source_of_ones_own_wins() -> None:
    mine = trust.NoTokens()
    assert tokens(config(security={"signing_key": Secret(key().private_pem)}), source=mine)._source is mine


async def test_what_foreign_peers_are_shown_allows_no_more_than_configured() -> None:
    keeper = tokens(
        config(security={"signing_key": Secret(key().private_pem), "foreign_permissions": "write"}),
    )
    shown = {audience: (await keeper.get(audience)).value for audience in (MESH, None, f"{MESH}/15")}
    allowed = {audience: unverified_claims(value)["permissions"] for audience, value in shown.items()}
    assert allowed == {MESH: ["write"], None: ["write"], f"{MESH}/15": ["read", "write"]}


async def test_no_tokens_says_what_would_help() -> None:
    with pytest.raises(TokenError, match=r"security\.token"):
        await trust.NoTokens().fetch("a")


def test_a_missing_signing_key_is_told() -> None:
    with pytest.raises(ConfigError, match="missing"):
        trust._signing_key(config())


async def test_the_registry_is_asked_through_the_client() -> None:
    client = answering(201, b"abc")
    async with client:
        assert await trust._poster(client)("http://127.0.0.1:1/auth/token", (), b"{}") == (201, b"abc")
    client = answering(200, error=httpx2.ConnectError("refused"))
    async with client:
        with pytest.raises(TokenError):
            await trust._poster(client)("http://127.0.0.1:1/auth/token", (), b"{}")
