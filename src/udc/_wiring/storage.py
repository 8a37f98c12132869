"""The droplet's own directory: when one is claimed, and who keeps something in it (contract section 6)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from anyio.abc import TaskStatus

from udc._types import DropletId
from udc._wiring.settings import Settings
from udc._wiring.surroundings import Surroundings
from udc.datadir import DataDirectory, Slot
from udc.discovery import Discovery
from udc.dispatch.dedup import Ledger
from udc.errors import ConfigError
from udc.instrument import Instrument, StorageFailed
from udc.services.receipts import ReceiptKeeper
from udc.services.task_keeper import TaskKeeper


class Storage:
    """Claims a slot of the data directory for one life, and shows it to those who keep something there.

    Only where the surroundings have a disk, and the droplet has a Registry or was told a data directory: a droplet
    on its own must not leave files behind. One that meets its Registry later claims its slot then. Where none can
    be claimed all goes on in memory. A service, for the late claim.

    Args:
        member: there is a Registry.

    Attributes:
        ledger: what remembers messages that were done.
        receipts: the service that keeps it in the slot.
        tasks: the service that keeps tasks in the slot.
    """

    name = "storage"

    def __init__(
        self,
        settings: Settings,
        surroundings: Surroundings,
        *,
        droplet_id: DropletId,
        member: bool,
        discovery: Discovery,
        clock: Callable[[], float],
        instrument: Instrument,
    ) -> None:
        config = settings.config
        limits = config.limits
        self.ledger: Ledger = Ledger(
            limits.dedup_window_seconds,
            limits.dedup_entries,
            limits.dedup_bytes,
            clock=clock,
            instrument=instrument,
        )
        disk: dict[str, Any] = {  # Any: shared arguments
            "instrument": instrument,
            "threads": surroundings.threads,
            "open_database": surroundings.open_database,
        }
        self.receipts: ReceiptKeeper = ReceiptKeeper(self.ledger, ambient=surroundings.ambient, **disk)
        self.tasks: TaskKeeper = TaskKeeper(**disk)
        self._threads = surroundings.threads
        wanted = surroundings.disk and (member or settings.origin("data") != "default")
        self._root: Path | None = config.data if surroundings.disk else None
        self._wanted = wanted
        self._joined = anyio.Event()
        self._held: ExitStack | None = None
        self._droplet_id = droplet_id
        self._discovery = discovery
        self._instrument = instrument

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Hold a slot as long as this is open."""
        with ExitStack() as self._held:
            if self._wanted:
                await self._take(self._held, late=False)
            yield

    def joined(self) -> None:
        """There is a Registry now."""
        self._joined.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Claim the slot of a droplet that met its Registry only after its start, then end."""
        task_status.started()
        if self._wanted or self._root is None:
            return
        await self._joined.wait()
        if self._held is not None:
            await self._take(self._held, late=True)

    async def _take(self, held: ExitStack, *, late: bool) -> None:
        slot = None if self._root is None else await self._claim(self._root)
        if slot is not None:
            held.enter_context(slot)
            self.receipts.open(slot.path)
            self.tasks.open(slot.path)
            await self._discovery.open(slot.path, late=late)

    async def _claim(self, root: Path) -> Slot | None:
        try:
            if not self._threads:
                return DataDirectory(root).claim_slot(self._droplet_id)
            return await anyio.to_thread.run_sync(DataDirectory(root).claim_slot, self._droplet_id)
        except (OSError, ConfigError) as error:
            self._instrument.emit(StorageFailed(what="data directory", error=str(error)))
            return None
