"""What the process uses, told by the system itself or, where it does not say, by psutil."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from udc._process import cpu_seconds, memory_bytes

BLOCK = 64 * 2**20


def test_cpu_time_is_that_of_the_process() -> None:
    before, known = cpu_seconds(), psutil.Process().cpu_times()
    while cpu_seconds() < before + 0.02:  # the system counts in ticks of 10 ms
        sum(range(10_000))
    assert before == pytest.approx(known.user + known.system, abs=0.5)


@pytest.mark.parametrize(
    "statm",
    [
        pytest.param(
            Path("/proc/self/statm"), marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
        ),
        Path("/there/is/no/such/file"),
    ],
    ids=["linux", "psutil"],
)
def test_memory_grows_by_what_is_taken(statm: Path) -> None:
    before = memory_bytes(statm)
    block = b"x" * BLOCK
    assert memory_bytes(statm) - before == pytest.approx(len(block), rel=0.25)
    assert memory_bytes(statm) == pytest.approx(psutil.Process().memory_info().rss, rel=0.25)
