"""A bakery of three droplets, to be read and copied: Counter sells, Pantry keeps, Oven bakes.

`udc demo` starts each of them as a process of its own. By hand it is five terminals, in a copy of this folder:

    udc mesh
    udc run pantry.py
    udc run oven.py
    udc run counter.py
    udc call Counter offer item=rye count:=2
"""
