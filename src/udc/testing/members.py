"""Who lives in a mesh: what the tests are given of each instance, and what the house keeps of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from udc import config as configuration
from udc._types import DropletId
from udc.clients._base import Presence
from udc.droplet import Droplet
from udc.errors import ConfigError
from udc.messages import Peer
from udc.testing.lives import Life

if TYPE_CHECKING:
    from udc.surface.facts import Facts

__all__ = ["Instance"]

Make = Callable[[], Droplet]


@dataclass(slots=True, eq=False)
class Member:
    """One instance of one droplet, over all its lives.

    Attributes:
        number: of its droplet's instances, from 1.
        peers: those its configuration lists; changed in place, and read anew.
        facts: of its present life, or of the last one.
    """

    make: Make
    droplet: Droplet
    id: int
    name: str
    number: int
    endpoint: str
    ours: bool
    grace_seconds: float | None
    peers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # Any: settings of a peer
    facts: Facts | None = None
    life: Life | None = None
    lives: int = 0

    def __post_init__(self) -> None:
        self.instance = Instance(self)

    instance: Instance = field(init=False)

    @property
    def key(self) -> str:
        """Tells its ids and chances from those of the others."""
        return f"{self.id}" if self.number == 1 else f"{self.id}.{self.number}"

    @property
    def alive(self) -> bool:
        """Whether it runs: started, and neither killed nor ended."""
        return self.life is not None and not self.life.killed and not self.life.over.is_set()

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it says it can do."""
        return tuple(self.droplet.capabilities) if self.facts is None else tuple(self.facts.capabilities)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.name if self.number == 1 else f"{self.name} (instance {self.number})"

    def peer(self) -> Peer:
        """It as a sender sees it."""
        return Peer(
            id=self.id,
            name=self.name,
            endpoint=self.endpoint,
            ours=self.ours,
            capabilities=self.capabilities,
            instance_id=None if self.facts is None else self.facts.instance_id,
        )

    @classmethod
    def of(cls, given: Droplet | Make) -> Member:
        """One that is to live at an address made of its name.

        Raises:
            ConfigError: the droplet has no id or name.
        """
        droplet = given if isinstance(given, Droplet) else given()
        definition = droplet._definition()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # its word on itself
        loaded = configuration.load(
            explicit=definition.explicit, environ={}, file=None, attributes=definition.attributes
        )
        about = loaded.config.droplet
        if about.id is None or not about.name:
            raise ConfigError([f"{type(droplet).__name__}: a droplet needs an id and a name"])
        configured = loaded.origins["limits.grace_seconds"] != "default"
        slug = re.sub(r"[^a-z0-9]+", "-", about.name.lower()).strip("-") or f"droplet-{about.id}"
        return cls(
            make=(lambda: droplet) if isinstance(given, Droplet) else given,
            droplet=droplet,
            id=int(about.id),
            name=about.name,
            number=1,
            endpoint=f"https://{slug}.mesh.test",
            ours=True,
            grace_seconds=loaded.config.limits.grace_seconds if configured else None,
        )


class Instance:
    """One instance of a droplet in a mesh: `world.start` gives one, `world.instances` all of a droplet.

    Wherever the world and its faults take a droplet's id or name they take an instance too, and mean it alone.
    """

    def __init__(self, member: Member) -> None:
        self._member = member

    @property
    def id(self) -> DropletId:
        """The droplet's id, which it shares with the other instances."""
        return self._member.id

    @property
    def name(self) -> str:
        """The droplet's name, likewise."""
        return self._member.name

    @property
    def number(self) -> int:
        """Which of the droplet's instances it is, from 1 in the order in which they came."""
        return self._member.number

    @property
    def droplet(self) -> Droplet:
        """The object as it lives now."""
        return self._member.droplet

    @property
    def endpoint(self) -> str:
        """Its base URL in the mesh."""
        return self._member.endpoint

    @property
    def instance_id(self) -> str:
        """What it is called in its present life, or was in the last one; another one after each restart."""
        facts = self._member.facts
        return "" if facts is None else facts.instance_id

    @property
    def alive(self) -> bool:
        """Whether it runs: started, and neither killed nor ended."""
        return self._member.alive

    @property
    def presence(self) -> Presence:
        """How it stands with the Registry, as its `/readyz` says: `registered`, `lost` or `unregistered`."""
        life = self._member.life
        return "unregistered" if life is None else life.hosted.parts.membership.presence

    def __repr__(self) -> str:
        return f"Instance({self._member.name!r}, number={self._member.number}, alive={self._member.alive})"
