"""One delivery to each of many, some at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import anyio

from udc._types import DropletId
from udc.errors import DeliveryError, TokenError
from udc.messages import Reply

AT_ONCE: Final = 64


async def to_each(
    targets: Sequence[DropletId], deliver: Callable[[DropletId], Awaitable[Reply]]
) -> dict[DropletId, Reply | DeliveryError | TokenError]:
    """What came of each delivery, in the order of the targets. A slow one holds nothing but its own place.

    On cancel those under way are given up.
    """
    results: dict[DropletId, Reply | DeliveryError | TokenError] = {}
    waiting: Iterator[DropletId] = iter(targets)

    async def work() -> None:
        for target in waiting:
            try:
                results[target] = await deliver(target)
            except (DeliveryError, TokenError) as error:
                results[target] = error

    async with anyio.create_task_group() as tasks:
        for _ in range(min(AT_ONCE, len(targets))):
            tasks.start_soon(work)
    return {target: results[target] for target in targets}
