"""Droplets that are talked to: a concierge, and a specialist that it passes questions on to.

`python -m examples.chat` starts a mesh and both droplets, each in a process of its own, holds a conversation, and stops
everything. By hand it is four terminals in this directory, and `curl`:

    udc mesh
    udc run trains.py
    udc run concierge.py
    curl http://127.0.0.1:8061/handle-chat -H "Authorization: Bearer $(udc token --droplet-id 999 --raw)" \\
        -H "Content-Type: application/json" -d '{"message": "When does a train leave for Delft?"}'

- `trains.py` answers, and understands "And the next one?" because the `context` of its last answer comes with it.
- `concierge.py` finds out what a question is about, hands it to whoever has that among its capabilities, and keeps each
  specialist's context apart.
"""
