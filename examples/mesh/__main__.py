"""Starts a mesh, Stock, Parcels and Orders, orders something, shows what came back, and stops them all.

Ends with code 0 only when every answer was the expected one and every process ended as it was asked to.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.mesh.processes import ask, started, wait_for

HERE = Path(__file__).parent


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leave no processes behind
    with TemporaryDirectory(prefix="mesh-") as name, ExitStack() as running:
        directory = Path(name)  # the data directory is .udc there: droplets find the mesh by it
        mesh = running.enter_context(started("mesh", "--port-base", "0", directory=directory))
        print(f"A Registry at {mesh['registry']}, and three droplets that find each other by it:\n")
        for droplet in ("stock", "parcels", "orders"):
            running.enter_context(started("run", str(HERE / f"{droplet}.py"), "--port", "0", directory=directory))
        wait_for({"Stock", "Parcels", "Orders"}, directory=directory)
        session(directory)
    print("\nAll processes were stopped. Read on: examples/mesh/, docs/tutorial/second-mesh.md")


def session(directory: Path) -> None:
    say("ls", directory=directory)
    order = ("call", "Orders", "order", "--type", "command")
    # 2 tea at 450 cents, 250 cents postage, and 20 more for 200 g.
    say(*order, "item=tea", "count:=2", wanted='"cents": 1170', directory=directory)
    # Parcels has heard of it by the broadcast.
    say("call", "Parcels", "to_pack", wanted='"2 x tea"', directory=directory)
    say(*order, "item=tea", "count:=9", wanted="409 SOLD_OUT: 3 tea left, not 9", code=1, directory=directory)


def say(*arguments: str, wanted: str = "", code: int = 0, directory: Path) -> None:
    """Give a `udc` command and show what it said."""
    print(f"$ udc {' '.join(arguments)}")
    ended, out, err = ask(*arguments, directory=directory)
    print("\n".join(filter(None, (out, err))))
    if ended != code or wanted not in out + err:
        sys.exit(f"This did not go as it should: code {code} and {wanted!r} were expected, not code {ended}")


if __name__ == "__main__":
    main()
