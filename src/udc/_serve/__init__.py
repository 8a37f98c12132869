"""Runs droplets of our own under uvicorn: one process, its sockets, its signals, one orderly end."""

from udc._serve.process import Hosted, Listen, Part
from udc._serve.program import run
from udc._serve.signals import Signals
from udc._serve.sockets import Bound, bind

__all__ = ["Bound", "Hosted", "Listen", "Part", "Signals", "bind", "run"]
