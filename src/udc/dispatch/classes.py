"""Reading a class: which of its attributes are declared, through inheritance and overriding."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final, cast

from udc._frozen import dataclass
from udc.dispatch.declare import AnyFunction, Spec, declared_on, inside, place_of
from udc.dispatch.plan import CallPlan
from udc.errors import DefinitionError

__all__ = ["Slot", "caller_locals", "check_endpoint", "known_plans", "remember_plans", "slots"]

_PLANS: Final = "__udc_plans__"
_OURS: Final = ("udc.dispatch", "udc.droplet")


@dataclass(frozen=True, slots=True)
class Slot:
    """An attribute of a class that is a declared function."""

    raw: Any  # Any: a function, staticmethod, classmethod, or whatever a decorator made of it
    specs: tuple[Spec, ...]

    @property
    def function(self) -> AnyFunction:
        """The plain function inside."""
        return inside(self.raw)  # type: ignore[no-any-return]  # see `raw`

    @property
    def bound(self) -> bool:
        """Whether access through an instance fills its first parameter."""
        return hasattr(cast("object", self.raw), "__get__") and not isinstance(self.raw, staticmethod)

    def call_on(self, owner: object, klass: type) -> AnyFunction:
        """The function as `owner` has it."""
        if not hasattr(cast("object", self.raw), "__get__"):  # a callable object
            return self.raw  # type: ignore[no-any-return]  # see `raw`
        return self.raw.__get__(None if owner is klass else owner, klass)  # type: ignore[no-any-return]  # likewise


def slots(klass: type) -> dict[str, Slot]:
    """The declared attributes by name, those of base classes first.

    Raises:
        DefinitionError: a handler is overridden by something that cannot be called.
    """
    found: dict[str, Slot] = {}
    for base in reversed(klass.__mro__):
        for name, raw in vars(base).items():
            specs = declared_on(raw)
            if specs:
                found[name] = Slot(raw, specs)
            elif name not in found:
                continue
            elif raw is None:
                del found[name]
            elif callable(raw) or isinstance(raw, staticmethod | classmethod):
                found[name] = Slot(raw, found[name].specs)
            else:
                raise DefinitionError(
                    f"{base.__qualname__}.{name} = {raw!r} hides the handler of that name "
                    f"({place_of(found[name].raw)}); rename it, or write {name} = None to drop the handler"
                )
    return found


def known_plans(klass: type) -> dict[int, CallPlan]:
    """The plans made when the class and its bases were checked, by the function's `id`."""
    plans: dict[int, CallPlan] = {}
    for base in reversed(klass.__mro__):
        plans.update(vars(base).get(_PLANS, {}))
    return plans


def remember_plans(klass: type, plans: Mapping[int, CallPlan]) -> None:
    """Keep the plans with the class, whose instances share them: only here can a frame's locals be read."""
    setattr(klass, _PLANS, dict(plans))


def check_endpoint(function: AnyFunction, *, bound: bool) -> None:
    """Whether it can be called with one request, and awaited.

    Raises:
        DefinitionError: it cannot.
    """
    where = f"{place_of(function)}: {getattr(function, '__qualname__', repr(function))}"
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{where}: an endpoint is awaited; write `async def`")
    try:
        inspect.signature(function).bind(*(["self"] if bound else []), "request")
    except TypeError:
        raise DefinitionError(f"{where}: an endpoint takes the HttpRequest and nothing else") from None


def caller_locals() -> dict[str, Any]:  # Any: whatever the frame holds
    """The local names where the class, or the decorator, stands; empty at module level."""
    frame: FrameType | None = inspect.currentframe()  # the one way to see a function's local types
    while frame is not None and (
        frame.f_code.co_name == "__init_subclass__" or frame.f_globals.get("__name__", "").startswith(_OURS)
    ):
        frame = frame.f_back
    return {} if frame is None or frame.f_locals is frame.f_globals else dict(frame.f_locals)
