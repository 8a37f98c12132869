"""Of two processes that have bound one port, the slower one is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from udc._serve.server import Server
from udc._serve.sockets import bind


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_comes_second_to_a_port_is_told(new_loop: Any) -> None:
    async def app(*_: Any) -> None:
        raise AssertionError

    served: Any = app
    mine = bind("127.0.0.1", 0)
    theirs = bind("127.0.0.1", mine.port)
    theirs.socket.listen()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(OSError, match="in use"):
            runner.run(Server(served).serve(sockets=[mine.socket]))
    finally:
        mine.close()
        theirs.close()
