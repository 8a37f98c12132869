"""Virtual time for everything here, and keys made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import looptime
import pytest
import trio.testing

from udc._ids import Ambient
from udc.identity.keys import SigningKey
from udc.instrument import Event, Instrument

EPOCH = 1_800_000_000.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": looptime.new_event_loop}


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def other_key() -> SigningKey:
    return SigningKey.generate()


class Wall:
    """A wall clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> float:
        return self.now


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.instrument = Instrument([self.events.append])

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def ambient(wall: Wall) -> Ambient:
    ids = iter(f"00000000-0000-4000-8000-{n:012d}" for n in range(10_000))
    return Ambient(wall=wall, new_id=lambda: next(ids), chance=lambda: 0.5)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def at_once(coroutine: Any) -> Any:
    """The result of a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("it suspended")


Sign = Callable[..., str]
