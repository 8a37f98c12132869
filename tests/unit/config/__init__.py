"""Tests of `udc.config`."""
