"""In which order the instances of a droplet are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from udc.discovery._known import Instance, State
from udc.messages import Peer

Arrange: TypeAlias = Callable[[list[Peer]], Sequence[Peer]]
"""Puts equals into the order in which they are tried. May change the list."""

_DRAWN: Final = 5
"""How many are drawn by lot; nobody tries more in one go."""


def by_lot(chance: Callable[[], float]) -> Arrange:
    """Equals are drawn by lot: the first few, for the others are not reached."""

    def arrange(peers: list[Peer]) -> Sequence[Peer]:
        for place in range(min(_DRAWN, len(peers) - 1)):
            other = place + int(chance() * (len(peers) - place))
            peers[place], peers[other] = peers[other], peers[place]
        return peers

    return arrange


def ordered(instances: Sequence[Instance], *, avoided: Callable[[Peer], bool], arrange: Arrange) -> list[Peer]:
    """Ready ones first, then suspects, then those to avoid; starting and draining ones when there are no others."""
    if len(instances) == 1:  # nearly always
        return [instances[0].peer]
    groups: dict[State | str, list[Peer]] = {}
    for instance in instances:
        rank = "avoided" if instance.state in ("ready", "suspect") and avoided(instance.peer) else instance.state
        groups.setdefault(rank, []).append(instance.peer)
    for ranks in (("ready", "suspect", "avoided"), ("starting", "draining")):
        found = [peer for rank in ranks for peer in arrange(groups.get(rank, []))]
        if found:
            return found
    return []
