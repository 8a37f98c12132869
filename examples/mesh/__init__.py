"""Three droplets that find each other through a Registry: by name, by what they can do, and all at once.

`python -m examples.mesh` starts a mesh and the three droplets, each in a process of its own, orders something,
shows what came back, and stops everything. By hand it is five terminals in this directory:

    udc mesh
    udc run stock.py
    udc run parcels.py
    udc run orders.py
    udc ls; udc call Orders order item=tea count:=2 --type command

- `orders.py` calls Stock by its name, whoever offers `postage` by that capability, and then tells everybody.
- `parcels.py` offers `postage`, calls Stock for the weights, and hears what was ordered.
- `stock.py` knows the shelf. It calls nobody.
- `processes.py` starts the `udc` command, `__main__.py` plays the session above.
"""
