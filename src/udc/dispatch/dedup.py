"""De-duplication: what was done once is not done again, it is answered again (contract section 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

import anyio

from udc._frozen import dataclass
from udc._types import DropletId
from udc.dispatch.run import Outcome
from udc.errors import Conflict, ContractError, DeliveryError, TokenError, UdcError
from udc.instrument import Instrument, ReceiptEvicted

__all__ = ["Ledger", "MessageKey", "Remembered"]

MessageKey: TypeAlias = tuple[DropletId, str]
"""The verified source, and its `message_id`."""

_ENTRY_BYTES: Final = 512
"""What an entry costs beside its contents, about."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One message that has its answer for good, as it is kept beyond the process.

    Attributes:
        answer: an outcome, or an error that trying again will not change.
        age_seconds: since it was done.
    """

    key: MessageKey
    fingerprint: bytes
    answer: Outcome | UdcError
    age_seconds: float


@dataclass(slots=True)
class _Done:
    """One message that has its answer for good: an outcome, or an error that trying again will not change."""

    fingerprint: bytes
    answer: Outcome | UdcError
    at: float
    size: int


class _Running:
    """One message that runs now. `done` is made by the first who waits."""

    __slots__ = ("answer", "done", "fingerprint")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.done: anyio.Event | None = None
        self.answer: Outcome | UdcError | None = None


class Ledger:
    """Remembers the answers of messages. O(1) for each; one event loop.

    Args:
        window_seconds: how long an answer is remembered.
        max_entries, max_bytes: the room; when it is used up the oldest go early, with a `ReceiptEvicted`.
            What still runs is never forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        window_seconds: float = 600.0,
        max_entries: int = 10_000,
        max_bytes: int = 16 * 1024 * 1024,
        *,
        clock: Callable[[], float] = anyio.current_time,
        instrument: Instrument,
    ) -> None:
        self._window = window_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._instrument = instrument
        self._running: dict[MessageKey, _Running] = {}
        self._done: dict[MessageKey, _Done] = {}  # in the order they were done, for dicts keep theirs
        self._bytes = 0
        self._news: dict[MessageKey, _Done] | None = None
        self._on_news: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """How many answers are remembered."""
        return len(self._done)

    @property
    def size(self) -> int:
        """About how many bytes they take."""
        return self._bytes

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest; 0 when nothing is remembered."""
        return self._clock() - next(iter(self._done.values())).at if self._done else 0.0

    async def once(
        self, key: MessageKey, fingerprint: bytes, run: Callable[[], Awaitable[Outcome]]
    ) -> tuple[Outcome, bool]:
        """Run it, or answer as the first time.

        While the first runs, a duplicate waits for it; if that ends without an answer for good (a retryable
        error, a cancelled caller), one of those who wait runs it.

        On cancel of a duplicate nothing happens to the first.

        Args:
            key: who sent it, and under which id.
            fingerprint: of action and payload.
            run: does the work; remembered when it returns, or raises an error that is not retryable.

        Returns:
            The outcome, and whether it is a duplicate's.

        Raises:
            Conflict: the id has been used for something else.
            UdcError: as `run` raised it, now or the first time.
        """
        while True:
            self._expire()
            known = self._done.get(key) or self._running.get(key)
            if known is None:
                return await self._run(key, fingerprint, run), False
            if known.fingerprint != fingerprint:
                raise Conflict(
                    f"message_id {key[1]!r} has been used for another action or payload",
                    details={"message_id": key[1]},
                    hint="give each new message an id of its own; only a repetition carries the same",
                )
            if isinstance(known, _Running):
                known.done = known.done or anyio.Event()
                await known.done.wait()
            if isinstance(known.answer, Outcome):
                return known.answer, True
            if known.answer is not None:
                raise _again(known.answer)

    def report(self, on_news: Callable[[], None]) -> None:
        """Collect for `news` what gets its answer from now on, and call `on_news` each time."""
        self._news, self._on_news = {}, on_news

    def news(self) -> list[Remembered]:
        """What got its answer since the last call, but for what has been forgotten again; oldest first."""
        self._expire()
        news, self._news = self._news or {}, {}
        return [self._remembered(key, entry) for key, entry in news.items()]

    def remembered(self) -> list[Remembered]:
        """Everything that is remembered, oldest first."""
        self._expire()
        return [self._remembered(key, entry) for key, entry in self._done.items()]

    def restore(self, entries: Iterable[Remembered]) -> None:
        """Remember these of an earlier life, too, as far as window and room allow; what is known already stays."""
        now, later, self._done, self._bytes = self._clock(), self._done, {}, 0
        for old in sorted(entries, key=lambda entry: -entry.age_seconds):
            if old.age_seconds < self._window and old.key not in later:
                self._keep(old.key, _done(old.key, old.fingerprint, old.answer, now - old.age_seconds))
        for key, entry in later.items():
            self._keep(key, entry)

    def _remembered(self, key: MessageKey, entry: _Done) -> Remembered:
        return Remembered(key, entry.fingerprint, entry.answer, self._clock() - entry.at)

    async def _run(self, key: MessageKey, fingerprint: bytes, run: Callable[[], Awaitable[Outcome]]) -> Outcome:
        running = self._running[key] = _Running(fingerprint)
        try:
            outcome = await run()
            running.answer = outcome
        except ContractError as error:
            if not error.retryable:
                running.answer = _again(error)
            raise
        except (DeliveryError, TokenError) as error:
            running.answer = _again(error)  # answered as 503 or 500 without `retryable`: an answer for good
            raise
        finally:
            # Nothing may be awaited from here on: a cancelled caller must not lose what has been done.
            del self._running[key]
            if running.answer is not None:
                self._remember(key, fingerprint, running.answer)
            if running.done is not None:
                running.done.set()
        return outcome

    def _remember(self, key: MessageKey, fingerprint: bytes, answer: Outcome | UdcError) -> None:
        entry = _done(key, fingerprint, answer, self._clock())
        self._keep(key, entry)
        if self._news is not None:
            self._news[key] = entry
            self._on_news()

    def _keep(self, key: MessageKey, entry: _Done) -> None:
        self._done[key] = entry
        self._bytes += entry.size
        while len(self._done) > self._max_entries or self._bytes > self._max_bytes:
            self._instrument.emit(ReceiptEvicted(age_seconds=self._clock() - self._forget_oldest().at))

    def _expire(self) -> None:
        horizon = self._clock() - self._window
        while self._done and next(iter(self._done.values())).at <= horizon:
            self._forget_oldest()

    def _forget_oldest(self) -> _Done:
        key = next(iter(self._done))
        entry = self._done.pop(key)
        self._bytes -= entry.size
        if self._news:
            self._news.pop(key, None)
        return entry


def _done(key: MessageKey, fingerprint: bytes, answer: Outcome | UdcError, at: float) -> _Done:
    content = len(answer.data) if isinstance(answer, Outcome) else 4 * len(repr(vars(answer)))
    return _Done(fingerprint, answer, at, _ENTRY_BYTES + len(fingerprint) + 4 * len(key[1]) + content)


def _again(error: UdcError) -> UdcError:
    """A fresh copy: a raised error gathers traceback and context, and with them everything its frames held."""
    copy = type(error).__new__(type(error))
    copy.__dict__.update(vars(error))
    copy.args = error.args
    return copy
