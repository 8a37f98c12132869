"""The handler table: everything a droplet declared, collected from its class and from `droplet.on`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from udc.dispatch.classes import caller_locals, check_endpoint, known_plans, remember_plans, slots
from udc.dispatch.declare import (
    CATCH_ALL,
    RESERVED_COMMANDS,
    AnyFunction,
    Declaration,
    EndpointSpec,
    Handlers,
    HandlerSpec,
    HookKind,
    HookSpec,
    JobSpec,
    Kind,
    place_of,
)
from udc.dispatch.plan import CallPlan
from udc.errors import DefinitionError, LifecycleError
from udc.messages import MessageType
from udc.surface._base import Endpoint

__all__ = ["Bound", "Handler", "HandlerTable", "Job", "check_class"]

_MESSAGE_KINDS: Final = frozenset({"query", "command", "event", "status"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A function ready to be called.

    Attributes:
        call: the function, `self` filled.
        plan: how its arguments come about.
        awaits: it is a coroutine function; any other runs in a thread.
    """

    call: AnyFunction
    plan: CallPlan
    awaits: bool

    @property
    def name(self) -> str:
        """The function's qualified name."""
        return self.plan.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler(Bound):
    """One row of the table.

    Attributes:
        kind, action: what it takes; the action `*` takes whatever has no handler of its own.
        scope: what the caller's token must carry.
        idempotent: running it twice does no harm.
        timeout_seconds: its own limit, if it has one.
    """

    kind: Kind
    action: str
    scope: str | None
    idempotent: bool
    timeout_seconds: float | None

    @property
    def description(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.call) or "").partition("\n")[0]

    def info(self) -> dict[str, Any]:  # Any: JSON
        """Its entry in `actions` of `/capabilities` (contract section 2)."""
        return {
            "name": self.action,
            "message_type": self.kind,
            "description": self.description,
            "input_schema": self.plan.input_schema,
            "output_schema": self.plan.output_schema,
            "idempotent": self.idempotent,
            "scope": self.scope,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Bound):
    """Something to run again and again; see `JobSpec` for the numbers."""

    spec: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hook(Bound):
    kind: HookKind


class HandlerTable:
    """Handlers, jobs, hooks and endpoints of one droplet. Grows until it is frozen.

    Attributes:
        on: what `droplet.on` is: the decorators, for this table.
        plans: how each function is called, by the function's `id`.
        jobs, endpoints: in the order they were declared, those of base classes first.
    """

    def __init__(self) -> None:
        self.on: Handlers = Handlers(take=self.add)
        self.jobs: list[Job] = []
        self.endpoints: list[Endpoint] = []
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._hooks: list[_Hook] = []
        self._routes: dict[tuple[str, str], str] = {}
        self.plans: dict[int, CallPlan] = {}
        self._actions: list[dict[str, Any]] | None = None  # Any: JSON

    @classmethod
    def collect(cls, owner: object, *, localns: Mapping[str, Any] | None = None) -> HandlerTable:
        """Read what the class of `owner` declares, and bind it to `owner`.

        Given a class, nothing is bound: good for looking at it, not for calling.

        An override without a decorator keeps the registration and is read anew, one with a decorator replaces
        it, `name = None` removes it.

        Raises:
            DefinitionError: two functions take the same action, or one cannot work; names places and fix.
        """
        klass = owner if isinstance(owner, type) else type(owner)
        table = cls()
        plans = known_plans(klass)
        names = {**vars(klass), **(localns or {})}  # models may be written inside the class
        for slot in slots(klass).values():
            call = slot.call_on(owner, klass)
            plan = None
            for spec in slot.specs:
                if isinstance(spec, EndpointSpec):
                    check_endpoint(slot.function, bound=slot.bound)
                    table._put_endpoint(call, spec)
                else:
                    plan = plan or plans.get(id(slot.function))
                    plan = plan or CallPlan.of(slot.function, bound=slot.bound, localns=names)
                    table._put(call, spec, plan)
        return table

    def add(self, declaration: Declaration) -> None:
        """Add a function that stands alone.

        Raises:
            LifecycleError: the droplet has started.
            DefinitionError: the action is taken, or the function cannot work.
        """
        function = declaration.function
        if self._actions is not None:
            name = getattr(function, "__qualname__", repr(function))
            raise LifecycleError(
                f"{place_of(function)}: {name} comes too late: handlers are fixed when the droplet starts; "
                "declare it before"
            )
        if isinstance(declaration.spec, EndpointSpec):
            check_endpoint(function, bound=False)
            self._put_endpoint(function, declaration.spec)
        else:
            plan = CallPlan.of(function, bound=False, localns=caller_locals())
            self._put(function, declaration.spec, plan)

    def include(self, handlers: Handlers) -> None:
        """Add everything that a standalone `Handlers` has been given up to now. Raises as `add` does."""
        self.on.include(handlers)

    def freeze(self) -> None:
        """Resolve all types and close the table; calling it again is harmless.

        Raises:
            DefinitionError: a type does not resolve.
        """
        if self._actions is not None:
            return
        for plan in self.plans.values():
            plan.resolve()
        rows = (h for h in self._handlers.values() if h.kind != "chat")
        self._actions = [h.info() for h in sorted(rows, key=lambda h: (h.kind, h.action))]

    @property
    def frozen(self) -> bool:
        """Whether nothing can be added any more."""
        return self._actions is not None

    def find(self, message_type: str, action: str | None) -> Handler | None:
        """The handler of that action, else the catch-all of that type, else `None`."""
        found = self._handlers.get((message_type, action or ""))
        if found is not None or (message_type == MessageType.COMMAND and action in RESERVED_COMMANDS):
            return found
        return self._handlers.get((message_type, CATCH_ALL))

    def of_kind(self, kind: Kind) -> list[Handler]:
        """All handlers of that kind."""
        return [handler for handler in self._handlers.values() if handler.kind == kind]

    def known(self, message_type: str) -> list[str]:
        """The actions that have a handler of their own, sorted."""
        return sorted(action for kind, action in self._handlers if kind == message_type and action != CATCH_ALL)

    def type_for_action(self, action: str) -> MessageType | None:
        """The message type of the action's handler when it has only one, else `None`."""
        kinds = [kind for kind, name in self._handlers if name == action and kind in _MESSAGE_KINDS]
        return MessageType(kinds[0]) if len(kinds) == 1 else None

    def actions(self) -> list[dict[str, Any]]:  # Any: JSON
        """`actions` of `/capabilities`, sorted: tasks with `message_type` "task", catch-alls with the name `*`.

        Raises:
            LifecycleError: the table is not frozen yet.
        """
        if self._actions is None:
            raise LifecycleError("the actions are known once the table is frozen: call freeze() first")
        return self._actions

    def hooks(self, kind: HookKind) -> tuple[Bound, ...]:
        """The hooks of that kind in the order they were declared, those of base classes first."""
        return tuple(hook for hook in self._hooks if hook.kind == kind)

    @property
    def chat(self) -> Handler | None:
        """The chat handler."""
        return self._handlers.get(("chat", CATCH_ALL))

    def _put(self, call: AnyFunction, spec: HandlerSpec | JobSpec | HookSpec, plan: CallPlan) -> None:
        awaits = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
        self.plans[id(plan.function)] = plan
        if isinstance(spec, HandlerSpec):
            self._put_handler(call, spec, plan, awaits=awaits)
        elif isinstance(spec, JobSpec):
            self.jobs.append(Job(call=call, plan=plan.without_data(), awaits=awaits, spec=spec))
        else:
            self._hooks.append(_Hook(call=call, plan=plan.without_data(), awaits=awaits, kind=spec.kind))

    def _put_handler(self, call: AnyFunction, spec: HandlerSpec, plan: CallPlan, *, awaits: bool) -> None:
        key = (spec.kind, spec.action)
        if key in self._handlers:
            other = self._handlers[key].plan
            what = "chat" if spec.kind == "chat" else f"{spec.kind} {spec.action!r}"
            raise DefinitionError(
                f"two handlers for {what}: {other.name} ({other.place}) and {plan.name} ({plan.place}); "
                f"rename one action, or name the override {other.name.rpartition('.')[2]!r} like what it overrides"
            )
        self._handlers[key] = Handler(
            call=call,
            plan=plan,
            awaits=awaits,
            kind=spec.kind,
            action=spec.action,
            scope=spec.scope,
            idempotent=spec.kind in ("query", "status") if spec.idempotent is None else spec.idempotent,
            timeout_seconds=spec.timeout_seconds,
        )

    def _put_endpoint(self, call: AnyFunction, spec: EndpointSpec) -> None:
        route, place = (spec.method, spec.path), place_of(call)
        if route in self._routes:
            raise DefinitionError(f"two endpoints for {spec.method} {spec.path}: {self._routes[route]} and {place}")
        self._routes[route] = place
        summary = spec.summary or (inspect.getdoc(call) or "").partition("\n")[0]
        self.endpoints.append(
            Endpoint(
                method=spec.method,
                path=spec.path,
                access=spec.access,
                handler=call,
                scope=spec.scope,
                summary=summary,
                request_model=spec.request_model,
                response_model=spec.response_model,
                query=spec.query,
            )
        )


def check_class(klass: type, *, localns: Mapping[str, Any] | None = None) -> None:  # Any: names and what they stand for
    """Check what a class declares, at its creation; for `__init_subclass__`.

    Types that cannot be resolved yet are left for the first instance, and at the latest for `freeze`.

    Args:
        klass: the class just made.
        localns: names to resolve annotations with; default: the locals where the `class` statement stands.

    Raises:
        DefinitionError: names file, line and fix.
    """
    table = HandlerTable.collect(klass, localns=caller_locals() if localns is None else localns)
    remember_plans(klass, table.plans)
