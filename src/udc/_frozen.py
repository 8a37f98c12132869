"""Frozen dataclasses that share what the standard library compiles for each class anew, but for what has to be quick.

There are some 200 in a droplet. What refuses a change, and what shows the value, is half of what each would weigh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    from dataclasses import FrozenInstanceError, fields
    from dataclasses import dataclass as _dataclass
    from reprlib import recursive_repr

    def dataclass(**options):
        """`dataclasses.dataclass`; one that is frozen refuses every attribute, not only its fields."""

        def made(plain):
            shown = options.get("repr", True) and "__repr__" not in vars(plain)
            cls = _dataclass(**{**options, "repr": False})(plain)
            if shown:
                cls.__repr__ = _shown
            if options.get("frozen"):
                cls.__setattr__ = _refuse_assignment
                cls.__delattr__ = _refuse_deletion
            return cls

        return made

    @recursive_repr()
    def _shown(self):
        parts = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{type(self).__qualname__}({', '.join(parts)})"

    def _refuse_assignment(self, name, value):
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_deletion(self, name):
        raise FrozenInstanceError(f"cannot delete field {name!r}")
