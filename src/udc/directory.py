"""From an id or a name to a peer. A URL is never a target: one out of a message must not be fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Final, Protocol

from udc._types import DropletId
from udc.errors import ConfigError, InvalidRequest, UnknownPeer
from udc.messages import Peer
from udc.wire.ids import canonical_id

_SHOWN: Final = 10
_COMPARED: Final = 500
"""With how many names a wrong one is compared: that costs 20 µs each, on the event loop."""


class Directory(Protocol):
    """Knows where droplets are."""

    async def candidates(self, target: DropletId) -> Sequence[Peer]:
        """The instances that may take a message for that target, at least one, in the order to try them.

        Raises:
            UnknownPeer: there is none; the text lists what is known.
        """
        ...

    async def instance(self, target: DropletId, instance_id: str) -> Peer | None:
        """That instance of the target, also one that should take nothing new; `None` = it is not there.

        Of a peer of the configuration nobody knows the instance: it is the one that is there.

        Raises:
            UnknownPeer: as `candidates` does.
        """
        ...

    def avoid(self, peer: Peer) -> None:
        """Prefer others for a while: this instance refused a connection, or takes no work now."""
        ...

    def droplets(self, *, capability: str | None = None) -> Sequence[DropletId]:
        """Everybody who is known, each id once; with a capability those who offer it."""
        ...


def is_url(target: DropletId) -> bool:
    """Whether a target is written as an address instead of an id or a name."""
    return isinstance(target, str) and "/" in target


class StaticDirectory:
    """The peers of the configuration, found by id in any spelling, or by name.

    A name is matched as it is written, and if nobody has it, without regard to case.

    Args:
        peers: those known without a Registry.
        well_known: more peers, each under a further word (`{"registry": Peer(...)}`); they outlive `replace`.
            A peer of `peers` with the same id stands in for it.
        beside: asked each time for peers that may come and go, when no other is meant.

    Raises:
        ConfigError: two peers have one id, or a peer has neither id nor name.
    """

    def __init__(
        self,
        peers: Iterable[Peer] = (),
        *,
        well_known: Mapping[str, Peer] | None = None,
        beside: Callable[[], Iterable[Peer]] = tuple,
    ) -> None:
        self._beside = beside
        self._well_known = dict(well_known or {})
        self.replace(peers)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """All of them, in the order given, the well-known ones last."""
        return self._peers

    def replace(self, peers: Iterable[Peer]) -> None:
        """Take these peers instead; calls under way keep the peer that they have.

        Raises:
            ConfigError: as the constructor; then nothing has changed.
        """
        own = tuple(peers)
        by_id = _by_id(own)
        further = {word: by_id.get(_id_of(peer), peer) for word, peer in self._well_known.items()}
        self._peers = (*own, *(peer for peer in dict.fromkeys(further.values()) if peer not in own))
        self._by_id = _by_id(self._peers)
        named = [(peer.name, peer) for peer in self._peers if peer.name] + list(further.items())
        self._by_name = _by_name(named)
        self._by_folded_name = _by_name((name.casefold(), peer) for name, peer in named)

    async def resolve(self, target: DropletId) -> Peer:
        """The peer of that id or name; never suspends.

        Raises:
            UnknownPeer: nobody is called that, more than one is, or it is a URL.
        """
        wanted = wanted_of(target)
        found = self.find(wanted)
        if found is None:
            raise not_known(wanted, self._peers)
        return found

    async def candidates(self, target: DropletId) -> Sequence[Peer]:
        """The one peer of that id or name. Raises as `resolve` does."""
        return (await self.resolve(target),)

    async def instance(self, target: DropletId, instance_id: str) -> Peer | None:
        """See `Directory.instance`."""
        peer = await self.resolve(target)
        return peer if peer.instance_id in (None, instance_id) else None

    def avoid(self, peer: Peer) -> None:
        """There is no other."""

    def droplets(self, *, capability: str | None = None) -> Sequence[DropletId]:
        """Everybody of the configuration; what they can do it does not tell."""
        known = (peer.id if peer.id is not None else peer.name for peer in self._peers)
        return tuple(known) if capability is None else ()

    def find(self, wanted: DropletId) -> Peer | None:
        """The peer of that canonical id, or of that name.

        Raises:
            UnknownPeer: more than one is called that.
        """
        known = self._by_id.get(wanted)
        if isinstance(wanted, int):
            return known or next((peer for peer in self._beside() if peer.id == wanted), None)
        found = self._by_name.get(wanted) or self._by_folded_name.get(wanted.casefold(), [])
        if known is not None and known not in found:
            found = [known, *found]
        if len(found) > 1:
            raise ambiguous(wanted, [peer.id for peer in found])
        return found[0] if found else next((peer for peer in self._beside() if peer.name == wanted), None)


def wanted_of(target: DropletId) -> DropletId:
    """The canonical id, or the name, that a target asks for.

    Raises:
        UnknownPeer: it is a URL, or cannot be an id.
    """
    if is_url(target):
        raise UnknownPeer(
            f"{target!r} is an address; a target is a droplet's id or name, and addresses come from the "
            "configuration or the Registry alone",
            peer=target,
        )
    try:
        return canonical_id(target)
    except InvalidRequest as error:
        raise UnknownPeer(f"{target!r} is no droplet id: {error}", peer=target) from error


def ambiguous(name: str, ids: Iterable[DropletId | None]) -> UnknownPeer:
    """More than one droplet has that name."""
    listed = [str(each) for each in ids]
    return UnknownPeer(f"{len(listed)} peers are called {name!r} (ids {', '.join(listed)}): use the id", peer=name)


def not_known(wanted: DropletId, peers: Sequence[Peer], *, because: str = "") -> UnknownPeer:
    """Nobody has that id or name: what the caller may have meant, who there is, and why we may not know better."""
    name = str(wanted)
    return UnknownPeer(f"no peer is called {name!r}{_instead(name, peers)}{because}", peer=wanted)


def _instead(name: str, peers: Sequence[Peer]) -> str:
    if not peers:
        return "; no peers are known"
    from difflib import get_close_matches

    called = {peer.name.casefold(): peer.label for peer in peers[:_COMPARED] if peer.name}
    close = get_close_matches(name.casefold(), called, n=1)
    known = nsmallest(_SHOWN, map(_introduced, peers))
    more = f" and {len(peers) - _SHOWN} more" if len(peers) > _SHOWN else ""
    question = f"; did you mean {called[close[0]]!r}?" if close else ";"
    return f"{question} known: {', '.join(known)}{more}"


def _introduced(peer: Peer) -> str:
    return f"{peer.name!r} ({peer.id})" if peer.name and peer.id is not None else repr(peer.label)


def _id_of(peer: Peer) -> DropletId | None:
    return None if peer.id is None else canonical_id(peer.id)


def _by_id(peers: Iterable[Peer]) -> dict[DropletId | None, Peer]:
    found: dict[DropletId | None, Peer] = {}
    problems: list[str] = []
    for peer in peers:
        try:
            key = _id_of(peer)
        except InvalidRequest as error:
            problems.append(f"peer {peer.label!r}: {error}")
            continue
        if key is None and not peer.name:
            problems.append(f"peer at {peer.endpoint} has neither id nor name: nothing could find it")
        if key is not None and found.setdefault(key, peer) is not peer:
            problems.append(f"peers {found[key].label!r} and {peer.label!r} both have id {key}")
    if problems:
        raise ConfigError(problems)
    return found


def _by_name(named: Iterable[tuple[str, Peer]]) -> dict[str, list[Peer]]:
    found: dict[str, list[Peer]] = {}
    for name, peer in named:
        same = found.setdefault(name, [])
        if peer not in same:
            same.append(peer)
    return found
