"""Benchmarks: run by `nox -s bench`, never by the test suite. Ratios of one run are what counts."""
