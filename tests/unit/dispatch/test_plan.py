from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict

from udc.context import Context
from udc.dispatch.plan import CallPlan, Queued
from udc.errors import DefinitionError, InvalidRequest

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

CTX: Any = object()


class Job(BaseModel):
    width: int
    height: int = 1


@dataclass
class Point:
    x: int


class Row(TypedDict):
    n: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime
    raw: bytes
    pair: tuple[int, int]


def plan(function: Callable[..., object], *, bound: bool = False, **localns: Any) -> CallPlan:
    return CallPlan.of(function, bound=bound, localns=localns)


def bound_to(function: Callable[..., object], data: Any) -> dict[str, Any]:
    args, kwargs = plan(function).bind(data, CTX)
    assert args == ()
    return kwargs


def refused(function: Callable[..., object], data: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        plan(function).bind(data, CTX)
    return caught.value


async def scalars(steward: str, limit: int = 3, *, ctx: Context) -> None: ...
async def whole(job: Job, ctx: Context) -> None: ...
async def single(n: int) -> None: ...
async def nothing(ctx: Context) -> None: ...


def test_parameters_come_by_name_with_defaults_and_unknown_keys_are_ignored() -> None:
    assert bound_to(scalars, {"steward": "ada", "more": 1}) == {"steward": "ada", "ctx": CTX}
    assert bound_to(scalars, {"steward": "ada", "limit": 5}) == {"steward": "ada", "limit": 5, "ctx": CTX}


def test_any_mapping_will_do() -> None:
    assert bound_to(scalars, MappingProxyType({"steward": "ada"}))["steward"] == "ada"


def test_the_context_is_found_by_type_or_by_name() -> None:
    def untyped(ctx, x: int): ...  # type: ignore[no-untyped-def]  # as people write it

    def renamed(here: Context) -> None: ...
    def annotated(here: Annotated[Context, "mine"]) -> None: ...
    def data_named_ctx(ctx: int) -> None: ...

    assert bound_to(untyped, {"x": 1}) == {"x": 1, "ctx": CTX}
    assert bound_to(renamed, None) == {"here": CTX}
    assert bound_to(annotated, {"x": 1}) == {"here": CTX}
    assert bound_to(data_named_ctx, {"ctx": 1}) == {"ctx": 1}
    assert bound_to(nothing, {"unknown": 1}) == {"ctx": CTX}


@pytest.mark.parametrize(
    ("hint", "data", "expected"),
    [
        (Job, {"width": "3", "more": 1}, Job(width=3)),
        (Job | None, {"width": 3}, Job(width=3)),
        (Annotated[Job, "x"], {"width": 3}, Job(width=3)),
        (Point, {"x": 1}, Point(1)),
        (Point | Job, {"width": 3}, Job(width=3)),
        (Row, {"n": 1}, {"n": 1}),
        (TypeAliasType("Alias", Job), {"width": 1}, Job(width=1)),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (dict, {"a": [1]}, {"a": [1]}),
        (Mapping[str, Any], {"a": 1}, {"a": 1}),
        (RootModel[list[int]], [1, 2], RootModel[list[int]]([1, 2])),
    ],
)
def test_a_lone_object_takes_the_whole_data(hint: Any, data: Any, expected: Any) -> None:
    def handler(job): ...  # type: ignore[no-untyped-def]  # annotated below

    handler.__annotations__ = {"job": hint}
    assert bound_to(handler, data) == {"job": expected}


def test_two_objects_come_by_name() -> None:
    def handler(job: Job, at: Point) -> None: ...

    assert bound_to(handler, {"job": {"width": 1}, "at": {"x": 2}}) == {"job": Job(width=1), "at": Point(2)}


@pytest.mark.parametrize("data", [None, {}])
def test_a_default_for_the_whole_is_honoured(data: Any) -> None:
    def handler(job: Job | None = None) -> None: ...

    assert bound_to(handler, data) == {}
    assert bound_to(handler, {"width": 1}) == {"job": Job(width=1)}


def test_data_that_is_no_object_goes_to_a_single_parameter() -> None:
    def optional(n: int = 7) -> None: ...
    def many(items: list[int]) -> None: ...

    assert bound_to(single, 3) == {"n": 3}
    assert bound_to(single, {"n": 3}) == {"n": 3}
    assert bound_to(many, [1, "2"]) == {"items": [1, 2]}
    assert bound_to(optional, None) == {}
    assert refused(single, None).message == "n: input should be a valid integer"


def test_data_that_is_no_object_is_refused_for_several_parameters() -> None:
    error = refused(scalars, [1])
    assert error.message == "data: must be an object with steward, limit"
    assert error.details == {
        "field": "data",
        "errors": [{"field": "data", "message": "must be an object with steward, limit"}],
    }
    assert refused(scalars, None).message == "steward: field required"


def test_a_refusal_names_the_fields_and_echoes_no_value() -> None:
    error = refused(scalars, {"steward": {"secret": "hunter2"}, "limit": "hunter2"})
    assert error.message == "steward: input should be a valid string (and 1 more)"
    assert [line["field"] for line in error.details["errors"]] == ["steward", "limit"]
    assert "hunter2" not in f"{error} {error.details} {error.__cause__}"
    assert error.__suppress_context__
    assert refused(whole, {"width": "x"}).details["field"] == "width"
    assert refused(whole, [1]).details["field"] == "data"


def test_a_validators_own_text_stays_here_unless_it_is_meant_for_the_caller() -> None:
    class Careful(BaseModel):
        a: int = 0
        b: int = 0

        @field_validator("a")
        @classmethod
        def even(cls, value: int) -> int:
            if value % 2:
                raise ValueError(f"odd {value} at /etc/passwd")
            return value

        @field_validator("b")
        @classmethod
        def small(cls, value: int) -> int:
            if value > 9:
                raise PydanticCustomError("too_big", "must have one digit")
            return value

    def handler(job: Careful) -> None: ...

    with pytest.raises(InvalidRequest) as caught:
        plan(handler, Careful=Careful).bind({"a": 4711, "b": 10}, CTX)
    assert [line["message"] for line in caught.value.details["errors"]] == ["is not valid", "must have one digit"]


def test_an_unknown_union_tag_is_not_echoed() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]

    def handler(pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...

    with pytest.raises(InvalidRequest, match="data: its tag is none of the expected ones"):
        plan(handler, Cat=Cat, Dog=Dog).bind({"kind": "hunter2"}, CTX)


def test_strict_models_read_what_json_can_say() -> None:
    def handler(data: Strict) -> None: ...

    bound = bound_to(handler, {"at": "2026-01-01T00:00:00Z", "raw": "x", "pair": [1, 2]})["data"]
    assert (bound.at.year, bound.raw, bound.pair) == (2026, b"x", (1, 2))
    assert refused(handler, {"at": "2026-01-01T00:00:00Z", "raw": "x", "pair": [1, "2"]}).details["field"] == "pair.1"


def test_what_is_not_even_json_is_refused_as_it_was_found() -> None:
    assert refused(single, object()).message == "n: input should be a valid integer"
    assert refused(single, "\ud800").message.startswith("n: input should be a valid string")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(*args): ...", r"f: it takes \*args; write its parameters out, or take the whole data as one"),
        ("def f(**kwargs): ...", r"f: it takes \*\*kwargs; write its parameters out"),
        ("def f(x, /): ...", "f: 'x' is positional-only, but data comes by name; drop the `/`"),
        ("def f(a: Context, ctx): ...", "f: a and ctx both take the Context; keep one of them"),
        ("def f(): yield 1", "f: it yields, and a message has one answer; return a list instead"),
        ("async def f(): yield 1", "f: it yields, and a message has one answer"),
        ("def f(x: object()): ...", "f: its annotations do not work: .*; use types that pydantic knows"),
        ("def f(x: 'int |'): ...", "f: its annotations do not work: .*; use types"),
        (
            "class K: ...\ndef f(x: K): ...",
            "f: its annotations do not work: Unable to generate pydantic-core [^.]*K'>; use",
        ),
    ],
)
def test_a_signature_that_cannot_work_says_what_to_write(source: str, text: str) -> None:
    names: dict[str, Any] = {"Context": Context}
    exec(compile(source, "resizer.py", "exec"), names)
    with pytest.raises(DefinitionError, match=rf"^resizer.py:\d: {text}"):
        plan(names["f"])


def test_a_method_without_self_is_refused() -> None:
    def alone() -> None: ...
    def keyword(*, x: int) -> None: ...

    for function in (alone, keyword):
        with pytest.raises(DefinitionError, match="it is a method without `self`; write `self` first, or make it a"):
            plan(function, bound=True)


def test_data_in_the_place_of_self_is_refused() -> None:
    def method(steward: str) -> None: ...
    def unconventional(this, steward: str) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(DefinitionError, match="its first parameter is 'steward'; write `self` before it, or make it a"):
        plan(method, bound=True)
    plan(unconventional, bound=True)


def test_a_callable_without_a_signature_is_refused() -> None:
    with pytest.raises(DefinitionError, match="its signature cannot be read; wrap it in a function of your own"):
        plan(iter)


def test_a_name_only_type_checkers_know_says_so() -> None:
    def handler(amount: OnlyForCheckers) -> None: ...

    unresolved = plan(handler)
    assert not unresolved.resolved
    with pytest.raises(DefinitionError, match=r"'OnlyForCheckers' stands for nothing; import .* `if TYPE_CHECKING:`"):
        unresolved.resolve()


def test_a_module_still_being_imported_is_waited_for() -> None:
    def handler(amount: half_done.Amount) -> None: ...  # type: ignore[name-defined]

    class half_done:  # noqa: N801
        pass

    unresolved = plan(handler, half_done=half_done)
    assert not unresolved.resolved
    half_done.Amount = int  # type: ignore[attr-defined]
    unresolved.resolve()
    assert unresolved.resolved


def returning(hint: Any) -> CallPlan:
    def handler(): ...  # type: ignore[no-untyped-def]  # annotated below

    handler.__annotations__ = {"return": hint}
    return plan(handler)


class Out(BaseModel):
    n: int = Field(alias="count")


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 3, b"3"),
        (None, None, b"null"),
        (Any, None, b"null"),
        (Any, {"a": {1}}, b'{"a":[1]}'),
        (Any, float("nan"), b"null"),
        (object, "x", b'"x"'),
        (Out, Out(count=1), b'{"count":1}'),
        (Out, {"count": 1}, b'{"count":1}'),
        (list[Out], [Out(count=1)], b'[{"count":1}]'),
        (datetime, datetime(2026, 1, 1), b'"2026-01-01T00:00:00"'),  # noqa: DTZ001
        (Queued[int], 3, b"3"),
        (Queued, 3, b"3"),
        (Row, {"n": 1}, b'{"n":1}'),
    ],
)
def test_results_become_json(hint: Any, value: Any, expected: bytes) -> None:
    assert returning(hint).encode(value) == expected


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (int, "hunter2", "it: Input should be a valid integer, unable to parse string as an integer"),
        (Out, {"count": "hunter2"}, "count: Input should be a valid integer, unable to parse"),
        (Any, object(), "Unable to serialize unknown type: <class 'object'>"),
        (None, 3, "it: Input should be None"),
        (Out, Out.model_construct(n="hunter2"), "Pydantic serializer warnings:"),
        (list[Out], [Out.model_construct(n="hunter2")], "Pydantic serializer warnings:"),
    ],
)
def test_a_result_that_cannot_be_sent_is_named_without_its_value(hint: Any, value: Any, reason: str) -> None:
    with pytest.raises(TypeError) as caught:
        returning(hint).encode(value)
    assert f" returned a {type(value).__name__} that cannot be sent: {reason}" in str(caught.value)
    assert "test_plan.py:" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_result_that_holds_itself_cannot_be_sent() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="returned a list that cannot be sent"):
        returning(Any).encode(loop)


def test_schemas() -> None:
    assert plan(nothing).input_schema == {"type": "object", "properties": {}}
    assert plan(scalars).input_schema["required"] == ["steward"]
    assert plan(scalars).input_schema["properties"]["limit"]["default"] == 3
    assert plan(whole).input_schema["title"] == "Job"
    assert returning(Any).output_schema == {}
    assert returning(Queued[int]).output_schema == {"type": "integer"}

    def undescribed(call: Callable[[], Awaitable[int]], n: int) -> None: ...

    assert plan(undescribed).input_schema == {}


def test_defaults_that_are_not_json_are_left_out_of_the_schema() -> None:
    def handler(a: int = 1, b: Any = object(), c: Point = Point(1)) -> None: ...  # noqa: B008

    properties = plan(handler).input_schema["properties"]
    assert properties["a"]["default"] == 1
    assert "default" not in properties["b"]
    assert "default" not in properties["c"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["steward", "limit", "ctx", "x"]), JSON) | JSON)
def test_whatever_comes_is_bound_or_refused(data: Any) -> None:
    try:
        kwargs = plan(scalars).bind(data, CTX)[1]
    except InvalidRequest as error:
        lines = error.details["errors"]
        assert lines
        assert all(set(line) == {"field", "message"} for line in lines)
    else:
        assert kwargs["ctx"] is CTX
        assert isinstance(kwargs["steward"], str)
        assert isinstance(kwargs.get("limit", 3), int)
        assert set(kwargs) <= {"steward", "limit", "ctx"}


@given(JSON)
def test_a_whole_dict_is_handed_over_as_it_came(data: Any) -> None:
    def handler(data: dict[str, Any]) -> None: ...

    if isinstance(data, dict):
        assert bound_to(handler, data) == {"data": data}
    else:
        assert refused(handler, data).details["field"] == "data"
