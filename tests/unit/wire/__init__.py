"""Tests of the wire room."""

from hypothesis import settings

steady = settings(deadline=None, derandomize=True)
"""For every property: the same examples each time, and a slow machine is no failure."""
