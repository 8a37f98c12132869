"""Which path leads where: the contract's endpoints and the aliases of every style (contract section 6, dialects)."""

from __future__ import annotations

from collections.abc import Sequence

from udc._types import Access
from udc.mesh.registry.authority import NAMED, Authority
from udc.mesh.registry.issuing import AUDIENCE, Issuing
from udc.mesh.registry.joining import INSTANCE, Joining
from udc.mesh.registry.journal import FILTER
from udc.mesh.registry.reading import CHANGES, WATCH, Reading
from udc.surface._base import Authenticate, Endpoint, EndpointHandler
from udc.surface._query import QueryParameter


def table(joining: Joining, reading: Reading, issuing: Issuing, authority: Authority) -> list[Endpoint]:
    """The rows of the Registry's own endpoints."""
    return [
        *_changes(joining, authority),
        *_reads(reading, issuing, authority),
        *_auth(issuing, authority),
    ]


def _changes(joining: Joining, authority: Authority) -> list[Endpoint]:
    # Open to any caller whose credential is good, and to nobody in particular where that is allowed: what each may
    # change depends on the droplet that is named, so the handlers decide.
    enrol, change = authority.enroller, authority.changer
    return [
        _row("POST", "/register", joining.register, enrol, "Register, or register again", query=(NAMED,)),
        _row("POST", "/registry/register", joining.register, enrol, "The same in the v2 style", query=(NAMED,)),
        _row("POST", "/droplets", joining.register_created, enrol, "The same in the plain style", query=(NAMED,)),
        _row("POST", "/heartbeat", joining.beat, change, "Renew a lease"),
        _row("POST", "/registry/heartbeat", joining.beat, change, "The same in the v2 style"),
        _row("POST", "/droplets/{id}/heartbeat", joining.beat, change, "The same, the droplet in the path"),
        _row("PATCH", "/droplets/{id}", joining.update, change, "Change parts of a registration", query=(INSTANCE,)),
        _row("DELETE", "/droplets/{id}", joining.leave, change, "End a droplet's registrations", query=(INSTANCE,)),
        _row("POST", "/deregister", joining.deregister, change, "The same, named in the body"),
    ]


def _reads(reading: Reading, issuing: Issuing, authority: Authority) -> list[Endpoint]:
    rows: list[tuple[str, EndpointHandler, str, *tuple[QueryParameter, ...]]] = [
        ("/droplets", reading.droplets, "All droplets, or what changed since a revision", *CHANGES),
        ("/droplets/watch", reading.watch, "Every change, as server-sent events", *WATCH),
        ("/droplets/{id}", reading.one, "One droplet"),
        ("/droplet/{id}", reading.one, "One droplet"),
        ("/droplets/name/{name}", reading.named, "One droplet by its name"),
        ("/services/{name}", reading.named, "The same in the style of service lists"),
        ("/services", reading.services, "All droplets in the style of service lists", *FILTER),
        ("/registry/droplets", reading.wrapped, "All droplets in the v2 style", *FILTER),
        ("/registry/droplet/{id}", reading.one, "One droplet"),
        ("/auth/revocations", issuing.revocations, "Which tokens are refused"),
    ]
    return [
        _row("GET", path, handler, authority.reader, summary, access="read", query=query)
        for path, handler, summary, *query in rows
    ]


def _auth(issuing: Issuing, authority: Authority) -> list[Endpoint]:
    public = [
        Endpoint(method="GET", path=path, access="public", handler=issuing.jwks, summary="The mesh's public keys")
        for path in ("/.well-known/jwks.json", "/auth/public-key", "/auth/public_key")
    ]
    return [
        *public,
        _row("POST", "/auth/token", issuing.token, authority.enroller, "A token for a secret", query=(NAMED, AUDIENCE)),
        _row("POST", "/auth/revoke", issuing.revoke, authority.changer, "Refuse tokens from now on", access="admin"),
    ]


def _row(
    method: str,
    path: str,
    handler: EndpointHandler,
    who: Authenticate,
    summary: str,
    *,
    access: Access = "public",
    query: Sequence[QueryParameter] = (),
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        access=access,
        handler=handler,
        authenticate=who,
        summary=summary,
        query=tuple(query),
    )
