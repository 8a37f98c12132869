from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import anyio
import pytest

from tests.unit.identity.conftest import EPOCH, Recorder, Wall
from udc._ids import Ambient
from udc.errors import TokenError
from udc.identity._base import Token
from udc.identity.tokens import FixedToken, TokenKeeper
from udc.instrument import TokenFailed, TokenRenewed


class Source:
    """Makes numbered tokens after `seconds`; counts, and may be away. Its wall clock goes with the loop's."""

    def __init__(self, wall: Wall, *, life: float = 3600.0, seconds: float = 0.1) -> None:
        self.wall, self.life, self.seconds = wall, life, seconds
        self.error: Exception | None = None
        self.calls: list[tuple[float, str | None]] = []
        self.together = self.most_together = 0
        self.same = False

    async def fetch(self, audience: str | None) -> Token:
        self.calls.append((anyio.current_time(), audience))
        number = len(self.calls)
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.together -= 1
        if self.error is not None:
            raise self.error
        value = f"{audience}-{0 if self.same else number}"
        return Token(value=value, issued_at=self.wall(), expires_at=self.wall() + self.life)


@pytest.fixture
def source(wall: Wall) -> Source:
    return Source(wall)


@pytest.fixture
def keeper(source: Source, ambient: Ambient, recorder: Recorder) -> TokenKeeper:
    return TokenKeeper(source, ambient=ambient, instrument=recorder.instrument, max_audiences=3)


async def outcome(keeper: TokenKeeper, audience: str | None = "a") -> str:
    try:
        return (await keeper.get(audience)).value
    except TokenError as exc:
        return f"TokenError: {exc}"


async def test_one_token_per_audience_fetched_once(keeper: TokenKeeper, source: Source, recorder: Recorder) -> None:
    for _ in range(3):
        assert (await keeper.get("a")).value == "a-1"
        assert (await keeper.get(None)).value == "None-2"
    assert [audience for _, audience in source.calls] == ["a", None]
    assert recorder.of(TokenRenewed) == [
        TokenRenewed(audience="a", expires_at=EPOCH + 3600),
        TokenRenewed(audience=None, expires_at=EPOCH + 3600),
    ]


@pytest.mark.parametrize("with_run", [True, False])
async def test_any_number_of_callers_wait_for_one_fetch(keeper: TokenKeeper, source: Source, with_run: bool) -> None:
    found: list[str] = []

    async def ask() -> None:
        found.append(await outcome(keeper))

    async with anyio.create_task_group() as group:
        if with_run:
            await group.start(keeper.run)
        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(ask)
        assert found == ["a-1"] * 100
        assert len(source.calls) == 1
        group.cancel_scope.cancel()


@pytest.mark.parametrize("with_run", [True, False])
async def test_a_failure_is_shared_by_all_who_waited(keeper: TokenKeeper, source: Source, with_run: bool) -> None:
    source.error = TokenError("the registry is away")
    found: list[str] = []

    async def ask() -> None:
        found.append(await outcome(keeper))

    async with anyio.create_task_group() as group:
        if with_run:
            await group.start(keeper.run)
        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(ask)
        assert len(source.calls) == 1
        again = "; next attempt in 0.4 s" if with_run else ""
        assert set(found) == {f"TokenError: no token for audience 'a': the registry is away{again}"}
        group.cancel_scope.cancel()


@pytest.mark.parametrize("with_run", [True, False])
async def test_a_cancelled_caller_fails_no_other(keeper: TokenKeeper, source: Source, with_run: bool) -> None:
    found: list[str] = []

    async def hasty() -> None:
        with anyio.move_on_after(0.05):
            await keeper.get("a")
            raise AssertionError("it should have been cancelled")

    async def patient() -> None:
        found.append(await outcome(keeper))

    async with anyio.create_task_group() as group:
        if with_run:
            await group.start(keeper.run)
        async with anyio.create_task_group() as callers:
            callers.start_soon(hasty)
            await anyio.sleep(0.01)
            for _ in range(10):
                callers.start_soon(patient)
        assert len(source.calls) == (1 if with_run else 2)
        assert found == [f"a-{len(source.calls)}"] * 10
        assert source.most_together == 1
        group.cancel_scope.cancel()


async def test_callers_shorter_than_the_fetch_get_there_in_the_end(keeper: TokenKeeper, source: Source) -> None:
    source.seconds = 3
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        for _ in range(2):
            with anyio.move_on_after(1):
                await keeper.get("a")
        await anyio.sleep(1.1)
        assert (await keeper.get("a")).value == "a-1"
        assert len(source.calls) == 1
        group.cancel_scope.cancel()


async def test_it_is_renewed_between_40_and_50_percent_of_its_life(
    source: Source, wall: Wall, recorder: Recorder
) -> None:
    source.seconds = 0
    chances = iter([0.0, 0.999, 0.5] * 10)
    ambient = Ambient(wall=wall, new_id=lambda: "", chance=lambda: next(chances))
    keeper = TokenKeeper(source, ambient=ambient, instrument=recorder.instrument)
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        await keeper.get("a")
        await anyio.sleep(3600 * 1.5)
        times = [at for at, _ in source.calls]
        assert [round((b - a) / 3600, 3) for a, b in pairwise(times)] == [0.4, 0.5, 0.45]
        group.cancel_scope.cancel()


async def test_the_old_one_is_used_until_exp_while_the_source_is_away(
    keeper: TokenKeeper, source: Source, recorder: Recorder
) -> None:
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        await keeper.get("a")
        source.error = OSError("https://secret@registry")
        await anyio.sleep(3590)
        assert await outcome(keeper) == "a-1"
        # 1620 s to 3600 s, one attempt in 15 to 30 s once it has backed off.
        assert 60 < len(source.calls) < 140
        gaps = [b - a for (a, _), (b, _) in zip(source.calls[1:], source.calls[2:], strict=False)]
        assert min(gaps) >= 0.25
        assert max(gaps) <= 30.2
        await anyio.sleep(20)
        assert "the token source failed (OSError)" in await outcome(keeper)
        assert recorder.of(TokenFailed)[0] == TokenFailed(audience="a", error="the token source failed (OSError)")
        source.error = None
        await anyio.sleep(31)
        assert (await outcome(keeper)).startswith("a-")
        group.cancel_scope.cancel()


async def test_a_dead_token_nobody_asks_for_is_not_fetched(keeper: TokenKeeper, source: Source) -> None:
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        await keeper.get("a")
        source.error = TokenError("no such audience")
        await anyio.sleep(4000)
        tried = len(source.calls)
        await anyio.sleep(80_000)
        assert len(source.calls) == tried
        group.cancel_scope.cancel()


async def test_a_failing_source_is_not_asked_by_every_call(keeper: TokenKeeper, source: Source) -> None:
    source.error, source.seconds = TokenError("away"), 0
    for _ in range(6000):
        assert "away" in await outcome(keeper)
        await anyio.sleep(0.01)
    assert len(source.calls) < 12


async def test_a_source_that_hangs_counts_as_failed(keeper: TokenKeeper, source: Source) -> None:
    source.seconds = 3600
    assert "TimeoutError" in await outcome(keeper)
    assert anyio.current_time() - source.calls[0][0] == pytest.approx(10)


async def test_without_run_the_caller_renews(keeper: TokenKeeper, source: Source) -> None:
    await keeper.get("a")
    await anyio.sleep(1619)
    assert await outcome(keeper) == "a-1"
    await anyio.sleep(2)
    assert await outcome(keeper) == "a-2"
    source.error = OSError()
    await anyio.sleep(1700)
    for _ in range(5):
        assert await outcome(keeper) == "a-2"
    assert len(source.calls) == 3


async def test_renew_due_says_when_it_wants_to_be_called_again(keeper: TokenKeeper, source: Source) -> None:
    assert await keeper.renew_due() == math.inf
    await keeper.get("a")
    await anyio.sleep(100)
    await keeper.get("b")
    assert await keeper.renew_due() == pytest.approx(1520, abs=1)
    await anyio.sleep(1521)
    assert await keeper.renew_due() == pytest.approx(99, abs=1)
    assert [audience for _, audience in source.calls] == ["a", "b", "a"]


async def test_many_are_renewed_eight_at_a_time(source: Source, ambient: Ambient, recorder: Recorder) -> None:
    keeper = TokenKeeper(source, ambient=ambient, instrument=recorder.instrument)
    for number in range(40):
        await keeper.get(str(number))
    await anyio.sleep(2000)
    await keeper.renew_due()
    assert len(source.calls) == 80
    assert source.most_together == 8


class TestRejected:
    @pytest.mark.parametrize("with_run", [True, False])
    async def test_one_fetch_for_all_whose_token_was_the_same(
        self, keeper: TokenKeeper, source: Source, with_run: bool
    ) -> None:
        found: list[str] = []
        async with anyio.create_task_group() as group:
            if with_run:
                await group.start(keeper.run)
            old = await keeper.get("a")

            async def again() -> None:
                found.append((await keeper.renew("a", old)).value)

            async with anyio.create_task_group() as callers:
                for _ in range(50):
                    callers.start_soon(again)
            assert (await keeper.renew("a", old)).value == "a-2"
            assert found == ["a-2"] * 50
            assert len(source.calls) == 2
            group.cancel_scope.cancel()

    async def test_a_cancelled_caller_fails_no_other(self, keeper: TokenKeeper, source: Source) -> None:
        old = await keeper.get("a")
        found: list[str] = []

        async def hasty() -> None:
            with anyio.move_on_after(0.05):
                await keeper.renew("a", old)
                raise AssertionError("it should have been cancelled")

        async def patient() -> None:
            found.append((await keeper.renew("a", old)).value)

        async with anyio.create_task_group() as callers:
            callers.start_soon(hasty)
            await anyio.sleep(0.01)
            for _ in range(5):
                callers.start_soon(patient)
        assert found == ["a-3"] * 5

    async def test_a_peer_that_refuses_every_token_causes_no_flood(self, keeper: TokenKeeper, source: Source) -> None:
        source.seconds = 0
        token, refused = await keeper.get("a"), 0
        for _ in range(3000):
            try:
                token = await keeper.renew("a", token)
            except TokenError as exc:
                refused += "refused the newest token that there is for audience 'a'" in str(exc)
            await anyio.sleep(0.01)
        assert len(source.calls) <= 8
        assert refused > 2900

    async def test_a_source_that_gives_the_same_again_is_no_help(self, keeper: TokenKeeper, source: Source) -> None:
        source.same = True
        old = await keeper.get("a")
        with pytest.raises(TokenError, match="refused the newest"):
            await keeper.renew("a", old)
        assert await keeper.get("a") == old

    async def test_while_the_source_is_away_it_says_so(self, keeper: TokenKeeper, source: Source) -> None:
        old = await keeper.get("a")
        source.error = TokenError("away")
        with pytest.raises(TokenError, match="away"):
            await keeper.renew("a", old)
        with pytest.raises(TokenError, match="away"):
            await keeper.renew("a", old)
        assert len(source.calls) == 2
        assert (await keeper.get("a")).value == old.value

    async def test_for_an_audience_never_met_it_fetches(self, keeper: TokenKeeper) -> None:
        stranger = Token(value="x", issued_at=0, expires_at=math.inf)
        assert (await keeper.renew(None, stranger)).value == "None-1"


async def test_a_token_that_came_by_itself_is_used(keeper: TokenKeeper, source: Source, ambient: Ambient) -> None:
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        await anyio.sleep(1)
        keeper.adopt("m/registry", Token(value="from the beat", issued_at=EPOCH, expires_at=EPOCH + 100))
        assert await outcome(keeper, "m/registry") == "from the beat"
        assert source.calls == []
        await anyio.sleep(51)
        assert await outcome(keeper, "m/registry") == "m/registry-1"
        group.cancel_scope.cancel()


async def test_the_least_recently_used_audience_goes(keeper: TokenKeeper, source: Source) -> None:
    for audience in ("a", "b", "c", "a", "d"):
        await keeper.get(audience)
    for audience in ("a", "c", "d", "b"):
        await keeper.get(audience)
    assert [audience for _, audience in source.calls] == ["a", "b", "c", "d", "b"]
    assert repr(keeper).endswith("audiences=3)")


async def test_a_step_of_the_wall_clock_neither_kills_nor_prolongs(
    keeper: TokenKeeper, source: Source, wall: Wall
) -> None:
    await keeper.get("a")
    wall.now += 1_000_000
    assert await outcome(keeper) == "a-1"
    source.error = OSError()
    await anyio.sleep(3599)
    assert await outcome(keeper) == "a-1"
    await anyio.sleep(31)
    assert "OSError" in await outcome(keeper)


async def test_a_token_dead_on_arrival_is_not_given_out(keeper: TokenKeeper, source: Source) -> None:
    source.life = 0
    assert "the one that came had already expired" in await outcome(keeper)
    assert len(source.calls) == 1


async def test_a_fixed_token_near_its_end_causes_no_tight_loop(
    ambient: Ambient, recorder: Recorder, wall: Wall
) -> None:
    fixed = FixedToken("opaque", ambient=ambient)
    keeper = TokenKeeper(fixed, ambient=ambient, instrument=recorder.instrument)
    keeper.adopt("a", Token(value="opaque", issued_at=EPOCH, expires_at=EPOCH + 0.5))
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        assert await outcome(keeper) == "opaque"
        await anyio.sleep(80_000)
        assert (await keeper.get("a")).expires_at == math.inf
        assert len(recorder.of(TokenRenewed)) == 1
        group.cancel_scope.cancel()


async def test_run_ends_cleanly_in_the_midst_of_a_fetch(keeper: TokenKeeper, source: Source) -> None:
    found: list[Any] = []

    async def ask() -> None:
        found.append(await outcome(keeper))

    async with anyio.create_task_group() as callers:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                await group.start(keeper.run)
                callers.start_soon(ask)
                await anyio.sleep(0.05)
                scope.cancel()
    assert found == ["a-2"]
    assert source.together == 0


class TestStandIn:
    """A token of another audience is at hand while the source hangs."""

    @pytest.fixture
    def keeper(self, source: Source, ambient: Ambient, recorder: Recorder) -> TokenKeeper:
        return TokenKeeper(
            source,
            ambient=ambient,
            instrument=recorder.instrument,
            stand_in=lambda audience: "mesh" if audience != "mesh" else None,
        )

    async def test_nobody_waits_long_and_then_nobody_waits(self, keeper: TokenKeeper, source: Source) -> None:
        async with anyio.create_task_group() as group:
            await group.start(keeper.run)
            await keeper.get("mesh")
            source.seconds = 3600.0
            took: list[float] = []
            for _ in range(3):
                began = anyio.current_time()
                assert "takes long; audience 'mesh' stands in" in await outcome(keeper)
                took.append(anyio.current_time() - began)
            assert took == pytest.approx([1.0, 0.0, 0.0], abs=0.01)

            source.seconds = 0.1
            await anyio.sleep(20)
            assert "stands in" in await outcome(keeper), "it was slow: nobody waits for the answer to its next fetch"
            await anyio.sleep(1)
            assert (await outcome(keeper)).startswith("a-")
            source.seconds = 0.9
            assert (await outcome(keeper, "b")).startswith("b-"), "a source that answers is waited for"
            group.cancel_scope.cancel()

    async def test_without_a_live_one_they_wait(self, keeper: TokenKeeper, source: Source) -> None:
        source.seconds = 5.0
        async with anyio.create_task_group() as group:
            await group.start(keeper.run)
            assert await outcome(keeper) == "a-1"
            group.cancel_scope.cancel()

    async def test_one_that_stands_in_is_waited_for_itself(self, keeper: TokenKeeper, source: Source) -> None:
        source.seconds = 5.0
        assert await outcome(keeper, "mesh") == "mesh-1"


class TestWanted:
    async def test_it_is_fetched_though_nobody_asks_and_kept(self, keeper: TokenKeeper, source: Source) -> None:
        async with anyio.create_task_group() as group:
            await group.start(keeper.run)
            for _ in range(3):
                keeper.want("mesh")
            await anyio.sleep(6)
            assert keeper.held("mesh") is not None
            for each in "abcdef":  # three are kept
                await keeper.get(each)
            assert keeper.held("mesh") is not None
            assert keeper.held("a") is None
            await anyio.sleep(3 * 3600)
            assert keeper.held("mesh") is not None
            group.cancel_scope.cancel()
        times = [at for at, audience in source.calls if audience == "mesh"]
        assert 0 <= times[0] <= 5
        assert all(later - sooner >= 0.4 * 3600 for sooner, later in pairwise(times))

    async def test_it_is_asked_for_again_after_an_outage_that_outlived_it(
        self, keeper: TokenKeeper, source: Source
    ) -> None:
        async with anyio.create_task_group() as group:
            await group.start(keeper.run)
            keeper.want("mesh")
            await anyio.sleep(6)
            source.error = TokenError("away")
            await anyio.sleep(2 * 3600)
            assert keeper.held("mesh") is None
            source.error = None
            await anyio.sleep(31)
            assert keeper.held("mesh") is not None
            group.cancel_scope.cancel()


async def test_tokens_that_come_together_are_looked_through_together(
    source: Source, ambient: Ambient, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = TokenKeeper(source, ambient=ambient, instrument=recorder.instrument)
    looks: list[float] = []
    renew_due = keeper.renew_due

    async def counting() -> float:
        looks.append(anyio.current_time())
        return await renew_due()

    monkeypatch.setattr(keeper, "renew_due", counting)
    async with anyio.create_task_group() as group:
        await group.start(keeper.run)
        async with anyio.create_task_group() as callers:
            for number in range(500):
                callers.start_soon(keeper.get, str(number))
        assert keeper.held("0") is not None
        assert keeper.held("499") is not None
        assert len(looks) < 10
        group.cancel_scope.cancel()
