"""Two droplets, each in a process of its own, that talk to each other over HTTP.

`python -m examples.two_droplets` starts both, asks them things, shows what came back, and stops them.

- `billing.py` and `resizer.py` are the droplets: what you would write.
- `__main__.py` is what a deployment does: it makes a key, tells each droplet by environment variables where the
  other one is, and serves it with uvicorn. It also is the caller, in plain HTTP, so that you see what travels.
"""
