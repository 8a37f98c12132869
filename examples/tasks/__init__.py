"""Work that takes a while: a worker that tells how far it is and can be cancelled, and a giver of tasks.

`python -m examples.tasks` starts a mesh and both droplets, each in a process of its own, has some pictures made small,
withdraws a large order over its work, shows what came back, and stops everything. By hand it is four terminals in this
directory:

    udc mesh
    udc run shrinker.py
    udc run album.py
    udc call Album publish 'pictures:=["cat", "dog"]' --type command; udc tasks ls; udc tasks watch

- `shrinker.py` takes tasks of the type `shrink`: it lists that as a capability. It does not know who gives them.
- `album.py` gives such tasks to the Orchestrator, asks after them and withdraws them. It does not know who does them.
"""
