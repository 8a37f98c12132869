"""The composition root: turns a droplet and what surrounds it into something that can be served once.

Wiring only: what is put together here decides nothing.
"""
