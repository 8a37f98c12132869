"""The membership itself: registrations come, take each other's place, expire and leave (contract section 6)."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import anyio

from udc._types import DropletId
from udc.errors import Conflict
from udc.lifecycle import Phase, Status
from udc.mesh.registry.bodies import Beat, Registration
from udc.mesh.registry.catalog import Catalog
from udc.mesh.registry.instances import FOREIGN, Instance, Registered
from udc.mesh.registry.leases import FOREIGN as FOREIGN_TERMS
from udc.mesh.registry.leases import Leases, Terms, terms_for
from udc.mesh.registry.store import RETIRED_KEPT, Kept, Store

_log = logging.getLogger("udc.mesh.registry")


class Register:
    """Who is a member and for how long: the catalog, the leases and the store kept in step.

    Args:
        store: keeps them; asked for at each use, since it opens later than this is made.
        probe: whether the instance of that id answers at that endpoint.
        clock: monotonic seconds.
        chance: a float in [0, 1).
        terms: of our own kind's leases, in a mesh of that many droplets.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Callable[[], Store],
        *,
        probe: Callable[[str, str], Awaitable[bool]],
        clock: Callable[[], float],
        chance: Callable[[], float],
        terms: Callable[[int], Terms] = terms_for,
    ) -> None:
        self._catalog, self._store, self._probe = catalog, store, probe
        self._clock, self._chance, self._terms = clock, chance, terms
        self._leases = Leases()
        self._retired: dict[DropletId, dict[str, str]] = {}
        self._serial = 0
        self._warm_at = -math.inf

    @property
    def warming(self) -> bool:
        """Whether the Registry has started so lately that it may not know everybody; nothing expires until then."""
        return self._clock() < self._warm_at

    def terms(self, instance: Instance) -> Terms:
        """What the instance is told now."""
        return FOREIGN_TERMS if instance.foreign else self._terms(len(self._catalog))

    def restore(self, kept: Kept) -> None:
        """Begin with what the store holds: leases anew, spread so that not all end at once."""
        now = self._clock()
        for (droplet_id, instance_id), by in kept.retired.items():
            self._retired.setdefault(droplet_id, {})[instance_id] = by
        for registered in kept.registered:
            self._serial = max(self._serial, registered.serial)
            self._catalog.put(self._instance(registered))
        droplets = {each.droplet_id for each in kept.registered}
        ttl = self._terms(len(droplets)).ttl_seconds
        self._warm_at = now + 2 * ttl
        for droplet_id in droplets:
            for instance in self._catalog.instances(droplet_id):
                self._begin_restored(instance, now)
            self._catalog.refresh(droplet_id)

    def admit_own(self, registered: Registered) -> Instance:
        """List the Registry itself: its lease is the life of this process, and needs no store."""
        self._serial += 1
        for old in self._catalog.instances(registered.droplet_id):
            self._catalog.drop(old)
        instance = self._instance(replace(registered, serial=self._serial))
        self._catalog.put(instance)
        self._catalog.refresh(registered.droplet_id)
        return instance

    def note_phase(self, instance: Instance, phase: Phase, status: Status) -> None:
        """What our own instance is doing; the others tell it by beats."""
        instance.phase, instance.status = phase, status
        self._catalog.refresh(instance.registered.droplet_id)

    async def admit(self, asked: Registration, *, anonymous: bool) -> Instance:
        """Take a registration in: on the disk when this returns.

        Raises:
            Conflict: the instance has been retired, and does not answer at its endpoint.
        """
        droplet_id = asked.droplet_id
        async with self._catalog.gate(droplet_id):
            await self._check_retired(asked)
            self._serial += 1
            registered = Registered(
                droplet_id=droplet_id,
                instance_id=asked.instance_id,
                record=asked.record,
                record_hash=asked.record_hash,
                serial=self._serial,
                status=asked.status,
                phase=asked.phase,
                anonymous=anonymous,
            )
            present = self._catalog.instances(droplet_id)
            if anonymous and any(not each.registered.anonymous for each in present):
                raise Conflict(f"droplet {droplet_id} has just registered with a credential")
            others = [each for each in present if each.registered.instance_id != asked.instance_id]
            retires = [each for each in others if each.registered.endpoint == registered.endpoint]
            drops = [each for each in others if each not in retires and each.registered.anonymous and not anonymous]
            # Once begun it is done in whole: a cancelled caller must not leave the disk and the memory at odds.
            with anyio.CancelScope(shield=True):
                await self._store().put(registered, retires=_ids(retires), drops=_ids(drops))
            return self._take(registered, retires=retires, drops=drops)

    def beat(self, beat: Beat, instance: Instance) -> bool:
        """Renew the lease; whether that was the first beat of a droplet that knows no instances."""
        before = instance.suspect, instance.status, instance.phase
        first = not instance.beats
        instance.beats = True
        instance.status = beat.status or instance.status
        instance.phase = beat.phase or instance.phase
        self._leases.renew(instance, now=self._clock(), ttl_seconds=self.terms(instance).ttl_seconds)
        droplet_id = instance.registered.droplet_id
        if before != (instance.suspect, instance.status, instance.phase):
            instance.in_flight = beat.in_flight
            self._catalog.refresh(droplet_id)
        elif instance.in_flight != beat.in_flight:
            instance.in_flight = beat.in_flight
            self._catalog.load_changed(droplet_id)
        return first and instance.foreign

    async def keep_beating(self, instance: Instance) -> None:
        """Remember on disk that it beats: it then expires after a restart too. The one write of all its beats."""
        await self._keep(instance, lambda old: replace(old, beats=True))

    async def update(self, instance: Instance, record: dict[str, object], status: Status | None) -> None:
        """Change a registration's record; on the disk when this returns."""
        await self._keep(instance, lambda old: replace(old, record=record, status=status or instance.status))
        instance.status = status or instance.status
        self._catalog.refresh(instance.registered.droplet_id)

    async def leave(self, droplet_id: DropletId, instance_id: str | None) -> list[Instance]:
        """End one registration of the droplet, or all. Harmless when there is none; returns those that ended."""
        gone = [
            each
            for each in self._catalog.instances(droplet_id)
            if instance_id is None or each.registered.instance_id == instance_id
        ]
        for each in gone:
            self._catalog.drop(each)
        self._catalog.refresh(droplet_id)
        await self._forget(gone)
        return gone

    def retired_by(self, droplet_id: DropletId, instance_id: str) -> str | None:
        """Who took the place of an instance, if anybody did."""
        return self._retired.get(droplet_id, {}).get(instance_id)

    async def sweep(self) -> None:
        """Make suspect whose lease has ended, and remove whose second one has."""
        if self.warming:
            return
        removed: list[Instance] = []
        now = self._clock()
        for instance in self._leases.due(now):
            if instance.suspect:
                self._catalog.drop(instance)
                removed.append(instance)
            else:
                self._leases.suspect(instance, now=now)
            self._catalog.refresh(instance.registered.droplet_id)
        if removed:
            _log.info("leases ended", extra={"droplets": [each.registered.droplet_id for each in removed][:100]})
        await self._forget(removed)

    def _instance(self, registered: Registered) -> Instance:
        return Instance(
            registered=registered,
            status=registered.status,
            phase=registered.phase,
            beats=registered.beats,
            renew_share=0.4 + 0.1 * self._chance(),
        )

    def _begin_restored(self, instance: Instance, now: float) -> None:
        if instance.foreign and not instance.beats:
            return
        ttl = self.terms(instance).ttl_seconds
        instance.ttl_seconds = ttl
        instance.lease_ends = max(self._warm_at, now + ttl) + self._chance() * ttl
        self._leases.watch(instance)

    async def _check_retired(self, asked: Registration) -> None:
        by = self.retired_by(asked.droplet_id, asked.instance_id)
        if by is None or asked.instance_id == FOREIGN:
            return
        if not await self._probe(asked.record["endpoint"], asked.instance_id):
            raise Conflict(
                "a newer instance of this droplet has taken this one's place at its endpoint",
                details={"retired_by": by or None},
                hint="end this instance, or give it an endpoint of its own",
            )

    def _take(self, registered: Registered, *, retires: list[Instance], drops: list[Instance]) -> Instance:
        retired = self._retired.setdefault(registered.droplet_id, {})
        retired.pop(registered.instance_id, None)
        for each in (*retires, *drops):
            self._catalog.drop(each)
        for each in retires:
            retired[each.registered.instance_id] = registered.instance_id
        for instance_id in list(retired)[:-RETIRED_KEPT]:
            del retired[instance_id]
        if not retired:
            del self._retired[registered.droplet_id]
        instance = self._instance(registered)
        self._catalog.put(instance)
        if not instance.foreign:  # a droplet that may never beat must not expire before it has begun to
            self._leases.renew(instance, now=self._clock(), ttl_seconds=self.terms(instance).ttl_seconds)
        self._catalog.refresh(registered.droplet_id)
        return instance

    async def _keep(self, instance: Instance, change: Callable[[Registered], Registered]) -> None:
        async with self._catalog.gate(instance.registered.droplet_id):
            if instance.gone:
                return
            registered = change(instance.registered)
            with anyio.CancelScope(shield=True):
                await self._store().put(registered)
            instance.registered = registered

    async def _forget(self, gone: Iterable[Instance]) -> None:
        with anyio.CancelScope(shield=True):
            await self._store().remove([each.registered for each in gone])


def _ids(instances: Iterable[Instance]) -> list[str]:
    return [each.registered.instance_id for each in instances]
