"""The recorder of events."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from udc.instrument import ConfigReloaded, Event, ServiceRecovered
from udc.testing import Recorder


def _recovered(name: str) -> ServiceRecovered:
    return ServiceRecovered(service=name)


def test_it_keeps_events_in_order() -> None:
    recorder = Recorder()
    recorder(_recovered("a"))
    recorder.hook("Echo")(_recovered("b"))
    recorder(ConfigReloaded(changed=()))

    assert recorder.of(ServiceRecovered) == [_recovered("a"), _recovered("b")]
    assert recorder.of(ServiceRecovered, droplet="Echo") == [_recovered("b")]
    assert recorder.of(ServiceRecovered, where=lambda event: event.service == "a") == [_recovered("a")]
    assert recorder.of(Event) == recorder.all
    assert recorder.last == ConfigReloaded(changed=())
    recorder.clear()
    with pytest.raises(LookupError):
        _ = recorder.last


def test_it_is_bounded() -> None:
    recorder = Recorder(limit=2)
    for name in "abc":
        recorder(_recovered(name))
    assert recorder.of(ServiceRecovered) == [_recovered("b"), _recovered("c")]
    assert recorder.dropped == 1


async def test_it_waits() -> None:
    recorder = Recorder()
    recorder(_recovered("a"))
    assert await recorder.wait_for(ServiceRecovered) == _recovered("a")
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            for name in "bcd":
                recorder(_recovered(name))
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(later)
        assert await recorder.wait_for(ServiceRecovered, count=3) == _recovered("c")
        assert await recorder.wait_for(ServiceRecovered, where=lambda event: event.service == "d") == _recovered("d")


async def test_what_does_not_come_is_told_with_what_came() -> None:
    recorder = Recorder()
    recorder(_recovered("a"))
    with pytest.raises(TimeoutError, match=r"0 of 1 ConfigReloaded within 0\.01 s; recorded: ServiceRecovered ×1"):
        await recorder.wait_for(ConfigReloaded, timeout_seconds=0.01)
