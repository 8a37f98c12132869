"""Checks of the source tree itself; `tests/test_architecture.py` runs them over `src/udc`."""
