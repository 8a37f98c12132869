from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.unit.dispatch.kit import Droplet
from udc import dispatch
from udc.context import Context
from udc.dispatch.declare import (
    Handlers,
    chat,
    command,
    declared_on,
    endpoint,
    event,
    every,
    on_ready,
    on_start,
    on_stop,
    place_of,
    query,
    status,
    task,
)
from udc.dispatch.table import HandlerTable, check_class
from udc.errors import DefinitionError, LifecycleError
from udc.messages import MessageType
from udc.surface._base import HttpRequest


class Resizer(Droplet):
    @query("quota")
    async def quota(self, steward: str, ctx: Context) -> int:
        """How many images a steward may still resize.

        More of it.
        """
        return len(steward)

    @command("crop", scope="resizer:crop", idempotent=True, timeout_seconds=3)
    def crop(self, width: int) -> None: ...

    @event("*")
    @status("*")
    async def anything(self, data: dict[str, Any]) -> None: ...

    @task("resize")
    async def resize(self, ctx: Context) -> None: ...

    @chat
    async def talk(self, message: str) -> str:
        return message

    @every(seconds=5, first_after_seconds=0, timeout_seconds=2)
    async def sweep(self, ctx: Context) -> None: ...

    @on_start
    async def opened(self) -> None: ...

    @on_ready
    async def announced(self, ctx: Context) -> None: ...

    @on_stop
    def closed(self) -> None: ...

    @endpoint("get", "/thumbs/{name}", "read", scope="thumbs")
    async def thumb(self, request: HttpRequest) -> dict[str, str]:
        """One thumbnail."""
        return {"path": request.path}


def test_everything_a_class_declares_is_in_the_table() -> None:
    droplet = Resizer()
    table = HandlerTable.collect(droplet)
    table.freeze()
    table.freeze()
    assert table.frozen
    assert table.known("query") == ["quota"]
    assert table.known("event") == []
    quota = table.find("query", "quota")
    assert quota is not None
    assert quota.call == droplet.quota
    assert quota.idempotent
    crop = table.find(MessageType.COMMAND, "crop")
    assert crop is not None
    assert (crop.scope, crop.idempotent, crop.timeout_seconds, crop.awaits) == ("resizer:crop", True, 3, False)
    assert table.chat is not None
    assert table.jobs[0].spec.seconds == 5
    assert [hook.name.rpartition(".")[2] for kind in ("start", "ready", "stop") for hook in table.hooks(kind)] == [
        "opened",
        "announced",
        "closed",
    ]
    (thumb,) = table.endpoints
    assert (thumb.method, thumb.path, thumb.access, thumb.scope) == ("GET", "/thumbs/{name}", "read", "thumbs")
    assert thumb.summary == "One thumbnail."
    assert thumb.handler == droplet.thumb


def test_a_catch_all_takes_what_has_no_handler_of_its_own() -> None:
    table = HandlerTable.collect(Resizer())
    for action in ("moved", None):
        found = table.find("event", action)
        assert found is not None
        assert found.action == "*"
    assert table.find("command", "moved") is None


def test_a_catch_all_does_not_take_what_the_droplet_answers_itself() -> None:
    class Greedy(Droplet):
        @command("*")
        async def all(self) -> None: ...

    table = HandlerTable.collect(Greedy())
    assert table.find("command", "anything") is not None
    assert table.find("command", "cancel_trace") is None
    assert table.find("command", "cancel_task") is None


def test_actions_are_what_capabilities_show() -> None:
    table = HandlerTable.collect(Resizer())
    with pytest.raises(LifecycleError, match=r"call freeze\(\) first"):
        table.actions()
    table.freeze()
    names = [(row["message_type"], row["name"]) for row in table.actions()]
    assert names == [("command", "crop"), ("event", "*"), ("query", "quota"), ("status", "*"), ("task", "resize")]
    row = table.actions()[2]
    assert row == {
        "name": "quota",
        "message_type": "query",
        "description": "How many images a steward may still resize.",
        "input_schema": {
            "type": "object",
            "properties": {"steward": {"type": "string", "title": "Steward"}},
            "required": ["steward"],
        },
        "output_schema": {"type": "integer"},
        "idempotent": True,
        "scope": None,
    }


def test_the_type_of_an_action_is_known_when_only_one_takes_it() -> None:
    class Two(Droplet):
        @query("size")
        @command("size")
        @query("age")
        @task("work")
        async def both(self) -> None: ...

    table = HandlerTable.collect(Two())
    assert table.type_for_action("age") is MessageType.QUERY
    assert table.type_for_action("size") is None
    assert table.type_for_action("work") is None
    assert table.type_for_action("nothing") is None


async def test_a_decorated_function_stays_callable_as_before() -> None:
    assert await Resizer().talk("hello") == "hello"
    assert await Resizer.quota(Resizer(), "ada", ctx=None) == 3  # type: ignore[arg-type]  # not used in there


def test_an_undecorated_override_keeps_the_registration_and_is_read_anew() -> None:
    class Child(Resizer):
        async def quota(self, steward: str, ctx: Context, bonus: int = 0) -> int:
            return bonus

    found = HandlerTable.collect(Child()).find("query", "quota")
    assert found is not None
    assert found.name.endswith("Child.quota")
    assert "bonus" in found.plan.input_schema["properties"]
    assert found.description.startswith("How many images")


def test_a_redecorated_override_replaces_the_registration() -> None:
    class Child(Resizer):
        @query("allowance")
        async def quota(self, steward: str, ctx: Context) -> int:
            return 1

    assert HandlerTable.collect(Child()).known("query") == ["allowance"]


def test_none_removes_the_registration_for_good() -> None:
    class Child(Resizer):
        quota = None  # type: ignore[assignment]  # how a handler is dropped
        sweep = None  # type: ignore[assignment]  # and a job

    class Grandchild(Child):
        async def quota(self) -> int:  # type: ignore[override]  # an ordinary method again
            return 1

    assert HandlerTable.collect(Child()).known("query") == []
    assert HandlerTable.collect(Child()).jobs == []
    assert HandlerTable.collect(Grandchild()).known("query") == []


def test_an_override_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"quota = 5 hides the handler of that name \(.*test_table.py:\d+\)"):
        type("Child", (Resizer,), {"quota": 5})


def test_static_and_class_methods_work_in_either_order() -> None:
    class Mixed(Droplet):
        @query("a")
        @staticmethod
        def a(x: int) -> int:
            return x

        @staticmethod
        @query("b")
        def b(x: int) -> int:
            return x

        @classmethod
        @query("c")
        def c(cls, x: int) -> str:
            return f"{cls.__name__}{x}"

    class Child(Mixed):
        @staticmethod
        def a(x: int) -> int:
            return -x

    table = HandlerTable.collect(Child())
    results = {}
    for name in "abc":
        handler = table.find("query", name)
        assert handler is not None
        args, kwargs = handler.plan.bind({"x": 1}, None)  # type: ignore[arg-type]  # takes no context
        results[name] = handler.call(*args, **kwargs)
    assert results == {"a": -1, "b": 1, "c": "Child1"}


def test_two_handlers_for_one_action_are_refused_naming_both() -> None:
    with pytest.raises(DefinitionError) as caught:

        class Child(Resizer):
            @query("quota")
            async def other(self) -> int:
                return 1

    text = str(caught.value)
    assert "two handlers for query 'quota': Resizer.quota (" in text
    assert "Child.other (" in text
    assert text.count("test_table.py:") == 2
    assert "name the override 'quota' like what it overrides" in text


def test_two_chat_handlers_and_two_endpoints_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two handlers for chat: "):

        class Chatty(Resizer):
            @chat
            async def more(self, message: str) -> str:
                return message

    with pytest.raises(DefinitionError, match=r"two endpoints for GET /thumbs/\{name\}: .*test_table.py:\d+ and "):

        class Twice(Resizer):
            @endpoint("GET", "/thumbs/{name}", "read")
            async def more(self, request: HttpRequest) -> None: ...


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: query(test_static_and_class_methods_work_in_either_order), r"test_table.py:\d+: @query without an"),  # type: ignore[arg-type]
        (lambda: query("")(len), r"@query\(''\): the action is a name, for example @query\('quota'\)"),
        (lambda: task(3)(len), r"@task\(3\): the action is a name"),  # type: ignore[arg-type]
        (lambda: command("cancel_task"), r"@command\('cancel_task'\): the droplet answers this one itself"),
        (lambda: query("x", timeout_seconds=0), r"@query\('x'\): timeout_seconds is 0; give a number of seconds"),
        (lambda: every(seconds=-1), r"every\(seconds=…\) is -1; give"),
        (lambda: every(seconds=1, first_after_seconds=-1), "first_after_seconds is -1; give 0 or more"),
        (lambda: every(seconds=1, jitter=2), "jitter is 2; give a share between 0 and 1"),
        (lambda: endpoint("GET", "thumbs", "read"), "endpoint path 'thumbs' does not start with '/': write '/thumbs'"),
        (lambda: endpoint("get", "/x", "all"), "endpoint GET /x has access 'all'; give one of 'public', 'read', "),  # type: ignore[arg-type]
        (lambda: on_start(len), "cannot be decorated; wrap it in a function"),
    ],
)
def test_a_declaration_that_cannot_work_says_what_to_write(declare: Callable[[], object], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        declare()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="timeout"):
        query("x", timeout=3)  # type: ignore[call-arg]


def test_an_endpoint_is_awaited_and_takes_the_request_alone() -> None:
    with pytest.raises(DefinitionError, match=r"Sync.show: an endpoint is awaited; write `async def`"):

        class Sync(Droplet):
            @endpoint("GET", "/x", "read")
            def show(self, request: HttpRequest) -> None: ...

    with pytest.raises(DefinitionError, match=r"Two\.show: an endpoint takes the HttpRequest and nothing else"):

        class Two(Droplet):
            @endpoint("GET", "/x", "read")
            async def show(self, request: HttpRequest, ctx: Context) -> None: ...


def test_hooks_and_jobs_get_no_data() -> None:
    with pytest.raises(DefinitionError, match="gets no data, but it takes 'when'; take `ctx: Context` or nothing"):

        class Bad(Droplet):
            @every(seconds=1)
            async def sweep(self, when: int) -> None: ...

    table = HandlerTable()

    async def late(ctx: Context, when: Never) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    table.on.on_start(late)
    globals()["Never"] = int
    try:
        with pytest.raises(DefinitionError, match="it takes 'when'"):
            table.freeze()
    finally:
        del globals()["Never"]


def test_types_of_the_function_around_the_class_resolve() -> None:
    class Local(BaseModel):
        width: int

    class Inner(Droplet):
        class Nested(BaseModel):
            height: int

        @command("a")
        async def a(self, job: Local) -> Nested:
            raise NotImplementedError

    found = HandlerTable.collect(Inner()).find("command", "a")
    assert found is not None
    assert found.plan.resolved
    assert found.plan.input_schema["title"] == "Local"
    assert found.plan.output_schema["title"] == "Nested"


def test_a_type_that_comes_later_resolves_before_serving() -> None:
    class Early(Droplet):
        @command("a")
        async def a(self, job: _Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    table = HandlerTable.collect(Early())
    found = table.find("command", "a")
    assert found is not None
    assert not found.plan.resolved
    globals()["_Later"] = dict
    try:
        table.freeze()
        assert found.plan.resolved
        found.plan.resolve()
    finally:
        del globals()["_Later"]


def test_a_type_that_never_comes_is_refused_at_the_latest_by_freeze() -> None:
    class Never(Droplet):
        @command("a")
        async def a(self, job: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match=r"test_table.py:\d+: .*Never.a: the annotation 'Nowhere' stands for not"):
        HandlerTable.collect(Never()).freeze()


def test_handlers_on_an_instance_and_from_a_module() -> None:
    class Local(BaseModel):
        width: int

    handlers = Handlers()

    @handlers.query("quota")
    async def quota(steward: str) -> int:
        return 3

    table = HandlerTable.collect(Droplet())

    @table.on.command("crop")
    async def crop(job: Local) -> None: ...

    @table.on.endpoint("GET", "/x", "public")
    async def page(request: HttpRequest) -> None: ...

    table.include(handlers)
    outer = Handlers()
    outer.include(handlers)
    assert len(outer.declarations) == 1
    assert table.known("query") == ["quota"]
    found = table.find("command", "crop")
    assert found is not None
    assert found.plan.input_schema["title"] == "Local"
    assert table.endpoints[0].handler is page
    assert declared_on(quota) == ()

    table.freeze()
    with pytest.raises(LifecycleError, match=r"test_table.py:\d+: .*late comes too late: handlers are fixed when"):

        @table.on.query("late")
        async def late() -> None: ...


def test_callable_objects_and_wrapped_functions_are_handlers_too() -> None:
    class Doubler:
        async def __call__(self, x: int) -> int:
            return 2 * x

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    class Odd(Droplet):
        double = query("double")(Doubler())

        @wrapped
        @query("inner")
        def half(self, x: int) -> float:
            return x / 2

    table = HandlerTable.collect(Odd())
    double, half = table.find("query", "double"), table.find("query", "inner")
    assert double is not None
    assert half is not None
    assert double.awaits
    assert half.call(x=3) == 1.5
    assert "test_table.py:" in place_of(Doubler())
    assert place_of(len) == "builtins:?"
    assert "test_table.py:" in place_of(functools.partial(test_handlers_on_an_instance_and_from_a_module))


def test_a_class_can_be_checked_with_given_names() -> None:
    class Plain:
        @query("a")
        async def a(self, job: Given) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    check_class(Plain, localns={"Given": dict})
    found = HandlerTable.collect(Plain()).find("query", "a")
    assert found is not None
    assert found.plan.resolved
    assert HandlerTable.collect(Plain).known("query") == ["a"]


def test_the_package_itself_imports_nothing() -> None:
    assert dispatch.__doc__
