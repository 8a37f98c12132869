"""Typed calls to the core droplets, and the dialects of registries that nobody here wrote."""
