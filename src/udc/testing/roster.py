"""Who is in a mesh and by what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from udc._types import DropletId
from udc.droplet import Droplet
from udc.errors import ConfigError, UnknownPeer
from udc.testing.members import Instance, Make, Member
from udc.testing.orchestrator import FakeOrchestrator
from udc.testing.registry import FakeRegistry

Who = DropletId | Droplet | Instance
"""How a test names a droplet or one of its instances."""

_FAKES: Final[dict[str, Callable[[], Droplet]]] = {"registry": FakeRegistry, "orchestrator": FakeOrchestrator}


class Roster:
    """The members of a mesh. A Registry and an Orchestrator are added where none is given.

    Args:
        droplets: instances, or what makes one; those of one id and name are instances of one droplet.
        foreign: names or ids of those that the others take for strangers' droplets.

    Raises:
        ConfigError: they cannot be told apart; every problem at once.
    """

    def __init__(self, droplets: Sequence[Droplet | Make], foreign: Iterable[DropletId]) -> None:
        self._foreign = frozenset(foreign)
        self.members: list[Member] = []
        given = [Member.of(each) for each in droplets]
        given += [Member.of(make) for role, make in _FAKES.items() if not any(_plays(role, each) for each in given)]
        unknown = self._foreign - {each.id for each in given} - {each.name for each in given}
        problems = [f"foreign: no droplet of this mesh is {who!r}" for who in unknown]
        for member in given:
            problems += self._taken(member)
        if problems:
            raise ConfigError(problems)
        self.registry: Member = self._only("registry")
        self.orchestrator: Member = self._only("orchestrator")

    def add(self, given: Droplet | Make) -> Member:
        """Take in one more: another droplet, or another instance of one.

        Raises:
            ConfigError: as the constructor; then nothing has changed.
        """
        member = Member.of(given)
        problems = (
            [] if not _is_core(member) else [f"a mesh has one Registry and one Orchestrator, not two: {member.name!r}"]
        )
        problems = problems or self._taken(member)
        if problems:
            raise ConfigError(problems)
        return member

    def drop(self, member: Member) -> None:
        """Forget one that could not start."""
        self.members.remove(member)

    def find(self, who: Who) -> list[Member]:
        """The instances of the droplet of that id or name, or the one that is meant.

        Raises:
            UnknownPeer: there is none; the text lists who there is.
        """
        if isinstance(who, Instance | Droplet):
            found = [each for each in self.members if who is each.instance or who is each.droplet]
        else:
            found = [each for each in self.members if who in (each.id, each.name)]
            found = found or [each for each in self.members if each.name.casefold() == str(who).casefold()]
        if not found:
            label = who if isinstance(who, int | str) else type(who).__name__
            raise UnknownPeer(f"no droplet of this mesh is {label!r}; there are: {self._listed()}", peer=label)
        return found

    def one(self, who: Who) -> Member:
        """The one instance that is meant.

        Raises:
            UnknownPeer: there is none, or more than one.
        """
        found = self.find(who)
        if len(found) > 1:
            name = found[0].name
            raise UnknownPeer(
                f"{name!r} has {len(found)} instances in this mesh; name one of them: world.instances({name!r})[0]",
                peer=name,
            )
        return found[0]

    def instances(self, member: Member) -> list[Member]:
        """All of the same droplet."""
        return [each for each in self.members if each.id == member.id]

    def peers_of(self, member: Member) -> list[dict[str, Any]]:  # Any: settings of a peer
        """Everybody else, as the configuration lists peers: but who has several instances, which the Registry tells."""
        counted = Counter(each.id for each in self.members)
        return [
            {"id": each.id, "name": each.name, "endpoint": each.endpoint, "ours": each.ours}
            for each in self.members
            if each.id != member.id and counted[each.id] == 1
        ]

    def _taken(self, member: Member) -> list[str]:
        """Take one in; returns why that cannot be."""
        others = self.members
        same = [each for each in others if each.id == member.id]
        problems = [
            f"{each.name!r} ({each.id}) and {member.name!r} ({member.id}) share an id or name, but not both"
            for each in others
            if (each.id == member.id) != (each.name.casefold() == member.name.casefold())
        ]
        if any(each.droplet is member.droplet for each in others):
            problems.append(f"{member.name!r} ({member.id}) is given twice: each instance needs an object of its own")
        member.ours = self._foreign.isdisjoint((member.id, member.name))
        if same and not member.ours:
            problems.append(
                f"{member.name!r} ({member.id}) is foreign and has several instances: nobody could find them"
            )
        member.number = 1 + len(same)
        if same:
            member.endpoint = member.endpoint.replace(".mesh.test", f"-{member.number}.mesh.test")
        if member.endpoint in {each.endpoint for each in others}:
            member.endpoint = f"https://droplet-{member.id}-{member.number}.mesh.test"
        if not problems:
            self.members.append(member)
        return problems

    def _only(self, role: str) -> Member:
        found = [member for member in self.members if _plays(role, member)]
        if len(found) != 1:
            raise ConfigError([f"a mesh has one {role.capitalize()}, not {len(found)}"])
        return found[0]

    def _listed(self) -> str:
        return ", ".join(f"{each.name!r} ({each.id})" for each in self.members if each.number == 1)


def _plays(role: str, member: Member) -> bool:
    """Whether it is the mesh's Registry or Orchestrator: the fake one, or another one that offers the same."""
    offered = role in member.droplet.capabilities
    return offered and (role != "registry" or hasattr(type(member.droplet), "secret"))


def _is_core(member: Member) -> bool:
    return any(_plays(role, member) for role in _FAKES)
