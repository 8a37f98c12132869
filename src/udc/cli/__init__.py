"""The `udc` command: run droplets and a mesh, look at them, speak to them."""
