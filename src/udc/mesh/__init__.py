"""The core droplets of a mesh, built with the public API like any other."""
