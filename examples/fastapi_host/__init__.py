"""A FastAPI application that was there before, and is a droplet too.

`python -m examples.fastapi_host` starts it with a droplet that it asks, uses both sides of it, and stops them.

- `shop.py` is the application: its lifespan, middleware, exception handler and routes, and the droplet that is attached
  under a prefix. One route is guarded by the mesh's tokens, one asks a peer.
- `shelf.py` is what both sides work with; `postage.py` is the peer.
- `__main__.py` is what a deployment does, and plays the customers and the other droplet.
"""
