"""What droplets say of how they do: `POST /heartbeat`, `GET /reports` (contract section 7)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from udc._ids import Ambient, iso_utc
from udc._types import DropletId
from udc.errors import Forbidden
from udc.identity.claims import Principal
from udc.mesh.orchestrator import bodies
from udc.mesh.orchestrator.bodies import Report
from udc.models import read
from udc.surface._base import HttpRequest
from udc.wire.ids import canonical_id

Answer: TypeAlias = dict[str, Any]  # Any: JSON values

KEPT_SECONDS: Final = 300.0
"""How long a report says something; droplets send one a minute."""

_DROPLETS: Final = 20_000
_MOST_PERCENT: Final = 1_000_000
"""More says nothing: not even the largest machine has so many cores."""
_UNREACHABLE: Final = 100


class Reports:
    """The newest report of each droplet, in memory: a minute later there is another.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, ambient: Ambient, clock: Callable[[], float]) -> None:
        self._ambient, self._clock = ambient, clock
        self._unreachable: deque[Answer] = deque(maxlen=_UNREACHABLE)
        self._newest: OrderedDict[DropletId, tuple[float, Answer]] = OrderedDict()

    async def take(self, request: HttpRequest) -> Answer:
        """`POST /heartbeat`."""
        report = read(Report, bodies.fields_of(request))
        self.note(caller_of(request.caller, report.droplet_id), report)
        return {"received": True}

    async def list(self, request: HttpRequest) -> Answer:
        """`GET /reports`."""
        reports = [report for heard, report in self._newest.values() if self._counts(heard)]
        return {"reports": reports, "unreachable": list(self._unreachable)}

    def note_unreachable(self, target: DropletId, by: DropletId | None) -> None:
        """Keep that a droplet could not reach another one; the newest hundred are shown."""
        self._unreachable.append({"target_id": target, "reported_by": by, "received_at": iso_utc(self._ambient.now())})

    def note(self, droplet_id: DropletId, report: Report) -> None:
        """Keep it in the place of the droplet's last one."""
        now = iso_utc(self._ambient.now())
        self._newest[droplet_id] = (
            self._clock(),
            {
                "droplet_id": droplet_id,
                "status": report.status,
                "timestamp": now if report.timestamp is None else iso_utc(report.timestamp),
                "metrics": report.metrics,
                "received_at": now,
            },
        )
        self._newest.move_to_end(droplet_id)
        if len(self._newest) > _DROPLETS:
            self._newest.popitem(last=False)

    def cpu(self, droplet_id: DropletId) -> float:
        """How busy the droplet says it is, in percent; 0 when it says nothing."""
        heard, report = self._newest.get(droplet_id, (0.0, {}))
        found = report.get("metrics", {}).get("cpu_percent") if self._counts(heard) else None
        # Compared before it is made a float: JSON has integers that no float can hold.
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found <= _MOST_PERCENT:
            return 0.0
        return float(found)

    def _counts(self, heard: float) -> bool:
        return self._clock() - heard < KEPT_SECONDS


def caller_of(caller: Principal, named: int | str | None) -> DropletId:
    """Whom a call is about: the caller, who may say so, or anybody for an admin.

    Raises:
        Forbidden: it names somebody else.
        InvalidRequest: the id cannot be one.
    """
    own: DropletId = caller.droplet_id if caller.droplet_id is not None else caller.subject
    if named is None:
        return own
    droplet_id = canonical_id(named, field="droplet_id")
    if droplet_id != own and not caller.may("admin") and not caller.anonymous:
        raise Forbidden(
            f"droplet_id is {droplet_id!r}, but the token is of {own!r}",
            details={"field": "droplet_id"},
            hint="speak for yourself only",
        )
    return droplet_id
