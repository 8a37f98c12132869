"""A handler's signature, read once: how a message's data becomes its arguments, and its result becomes JSON."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, GetCoreSchemaHandler, PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import CoreSchema, PydanticSerializationError, core_schema, to_json

from udc.context import Context
from udc.dispatch.declare import AnyFunction, place_of, readable
from udc.dispatch.values import fit, problems
from udc.errors import DefinitionError, InvalidRequest
from udc.wire._scalars import write_scalar

__all__ = ["CallPlan", "Queued"]

T = TypeVar("T")

_TEXTS: Final = (str, int, bool)
"""What is JSON as it is."""

_QUOTED: Final = re.compile(r"\[[^\[]*input_value=.*", re.DOTALL)
"""Where pydantic quotes the value at fault, to the end of the text."""


class Queued(Generic[T]):
    """A handler returns this when the work goes on: the receipt says `queued` instead of `success`."""

    __slots__ = ("data",)

    def __init__(self, data: T) -> None:
        self.data: T = data


class CallPlan:
    """How to call one handler. Made by `CallPlan.of`; usable once it is `resolved`.

    Attributes:
        function: the function itself, unbound.
        name: the function's qualified name.
        place: its `file:line`.
        context: the parameter that takes the `Context`, if any.
        resolved: its annotations are types; until then only names.
    """

    __slots__ = (
        "_by_name",
        "_gets_data",
        "_input",
        "_localns",
        "_output",
        "_parameters",
        "_reads_nothing",
        "_single",
        "_text",
        "_whole",
        "context",
        "function",
        "name",
        "place",
        "resolved",
    )

    _input: TypeAdapter[Any]  # Any: the type is the handler's
    _output: TypeAdapter[Any] | None  # Any: likewise

    def __init__(
        self, function: AnyFunction, parameters: list[inspect.Parameter], localns: dict[str, Any]
    ) -> None:  # Any: names and what they stand for
        self.name: str = readable(function).__qualname__
        self.place: str = place_of(function)
        self.context: str | None = None
        self.resolved: bool = False
        self.function: AnyFunction = function
        self._parameters = parameters
        self._localns = localns
        self._by_name: Callable[[Any], dict[str, Any]] | None = None  # Any: JSON in, types out
        self._single: str | None = None
        self._whole: inspect.Parameter | None = None
        self._reads_nothing = False
        self._gets_data = True
        self._text: type | None = None

    @classmethod
    def of(
        cls,
        function: AnyFunction,
        *,
        bound: bool,
        localns: Mapping[str, Any] | None = None,  # Any: names and what they stand for
    ) -> CallPlan:
        """Read the signature.

        Types that do not resolve yet are left for `resolve`.

        Args:
            function: the handler.
            bound: its first parameter is `self` (or `cls`) and already filled.
            localns: names to resolve annotations with, beside the function's module.

        Raises:
            DefinitionError: the signature cannot work; names file, line and fix.
        """
        plan = cls(function, [], dict(localns or {}))
        plan._parameters = plan._read_shape(bound=bound)
        plan._try_resolve()
        return plan

    def resolve(self) -> None:
        """Resolve what `of` had to leave; harmless when there is nothing left.

        Raises:
            DefinitionError: a name in the annotations stands for nothing.
        """
        if self.resolved:
            return
        missing = self._try_resolve()
        if missing is not None:
            fix = "import or define it where the module can see it at run time (not under `if TYPE_CHECKING:`)"
            raise self._wrong(f"the annotation {missing!r} stands for nothing", fix)

    def without_data(self) -> CallPlan:
        """The same plan, for a hook or a job: there is no data to give them.

        Raises:
            DefinitionError: it asks for data; at the latest when it is resolved.
        """
        self._gets_data = False
        if self.resolved:
            self._check_needs_none()
        return self

    def bind(self, data: Any, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:  # Any: JSON in, types out
        """The arguments for one call, validated.

        Raises:
            InvalidRequest: the data does not fit; `details.errors` lists field and message, never a value.
        """
        return (), self.arguments(data, context)

    def arguments(self, data: Any, context: Context) -> dict[str, Any]:  # Any: JSON in, types out
        """The keyword arguments for one call, validated. Raises as `bind` does."""
        kwargs: dict[str, Any] | None = None  # Any: as above
        if self._by_name is not None and type(data) is dict:
            try:
                kwargs = self._by_name(data)
            except ValidationError:
                kwargs = None  # the long way knows whether JSON's rules let it pass, and else what to say
        if kwargs is None:
            try:
                kwargs = self._arguments(data)
            except ValidationError as error:
                raise _refusal(problems(error)) from None
        if self.context is not None:
            kwargs[self.context] = context
        return kwargs

    def encode(self, value: Any) -> bytes:  # Any: whatever the handler returned
        """The result as JSON.

        Raises:
            TypeError: it cannot be made JSON, or is not of the annotated type. The text is for the log.
        """
        try:
            if type(value) is self._text:  # needs no look at its annotation, which costs nine times as much
                return write_scalar(value)
            return self._encode(value)
        except ValidationError as error:
            first = problems(error, whole="it")[0]
            reason = f"{first['field']}: {first['message']}"
        except (ValueError, TypeError, RecursionError) as error:
            reason = _QUOTED.sub("[…]", str(error))
        # Not chained: the cause's text quotes the value, and values do not belong in the log.
        kind = type(value).__name__
        raise TypeError(f"{self.place}: {self.name} returned a {kind} that cannot be sent: {reason}") from None

    def _encode(self, value: Any) -> bytes:  # Any: whatever the handler returned
        if self._output is None:
            return b"null" if value is None else to_json(value, inf_nan_mode="null")
        try:
            # What `TypeAdapter.dump_json` comes to, without its twelve arguments.
            return self._output.serializer.to_json(value, by_alias=True, warnings="error")
        except PydanticSerializationError:
            # A dict for a model and the like: what fits the annotation is made to.
            fitting = self._output.validator.validate_python(value)
            return self._output.dump_json(fitting, by_alias=True, warnings="error")

    @property
    def input_schema(self) -> dict[str, Any]:  # Any: JSON Schema
        """JSON Schema of the data it takes."""
        schema = _schema(self._input, "validation")
        if self._whole is None:
            for p in self._parameters:
                # Not part of the adapter: what is not sent stays Python's own default.
                if p.default is None or isinstance(p.default, bool | int | float | str):
                    schema.get("properties", {}).get(p.name, {})["default"] = p.default
        return schema

    @property
    def output_schema(self) -> dict[str, Any]:  # Any: JSON Schema
        """JSON Schema of what it returns; `{}` when the function does not say."""
        return _schema(self._output, "serialization") if self._output is not None else {}

    def _arguments(self, data: Any) -> dict[str, Any]:  # Any: JSON in, types out
        if self._whole is not None:
            if not data and self._whole.default is not inspect.Parameter.empty and data in (None, {}):
                return {}
            return {self._whole.name: fit(self._input, data)}
        if self._reads_nothing:
            return {}
        return fit(self._input, self._as_object(data))

    def _as_object(self, data: Any) -> Any:  # Any: JSON
        if isinstance(data, dict):
            return cast("dict[str, object]", data)
        if isinstance(data, Mapping):
            return dict(cast("Mapping[str, object]", data))
        if data is None and self._single is None:
            return {}
        if self._single is None:
            names = ", ".join(p.name for p in self._parameters if p.name != self.context)
            raise _refusal([{"field": "data", "message": f"must be an object with {names}"}])
        if data is None and self._parameter(self._single).default is not inspect.Parameter.empty:
            return {}
        return {self._single: data}

    def _parameter(self, name: str) -> inspect.Parameter:
        return next(p for p in self._parameters if p.name == name)

    def _read_shape(self, *, bound: bool) -> list[inspect.Parameter]:
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise self._wrong("it yields, and a message has one answer", "return a list instead")
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):
            raise self._wrong("its signature cannot be read", "wrap it in a function of your own") from None
        if bound:
            if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
                raise self._wrong("it is a method without `self`", "write `self` first, or make it a @staticmethod")
            if parameters[0].name != "self" and parameters[0].annotation is not inspect.Parameter.empty:
                # The droplet itself would be handed in for it, and its data never arrive.
                raise self._wrong(
                    f"its first parameter is {parameters[0].name!r}",
                    "write `self` before it, or make it a @staticmethod",
                )
            del parameters[0]
        for parameter in parameters:
            self._check_kind(parameter)
        return parameters

    def _check_kind(self, parameter: inspect.Parameter) -> None:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise self._wrong(
                f"it takes {parameter}",
                "write its parameters out, or take the whole data as one `data: dict[str, Any]`",
            )
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise self._wrong(f"{parameter.name!r} is positional-only, but data comes by name", "drop the `/`")

    def _try_resolve(self) -> str | None:
        """Resolve the annotations; the name that stands for nothing (yet), else `None`."""
        try:
            hints = get_type_hints(readable(self.function), localns=self._localns, include_extras=True)
            self._assign(hints)
        except (NameError, AttributeError) as error:  # not defined yet, or a module that is still being imported
            return str(error.name)
        except (PydanticUserError, TypeError, SyntaxError) as error:
            reason = str(error).partition("\n")[0].partition(". Set ")[0]
            raise self._wrong(
                f"its annotations do not work: {reason}",
                "use types that pydantic knows: models, dataclasses, TypedDicts and JSON's own",
            ) from error
        self.resolved = True
        if not self._gets_data:
            self._check_needs_none()
        self._localns = {}  # they hold a frame's values alive
        return None

    def _assign(self, hints: dict[str, Any]) -> None:  # Any: types
        """Decide which parameter gets what."""
        contexts = [p.name for p in self._parameters if _is_context(p, hints)]
        if len(contexts) > 1:
            raise self._wrong(f"{' and '.join(contexts)} both take the Context", "keep one of them")
        self.context = contexts[0] if contexts else None
        data = [p for p in self._parameters if p.name not in contexts]
        self._single = data[0].name if len(data) == 1 else None
        self._reads_nothing = not data
        if len(data) == 1 and _takes_whole(hints.get(data[0].name)):
            self._whole = data[0]
            self._input = TypeAdapter(hints[data[0].name])
        else:
            self._input = _by_name(data, hints)
            self._by_name = self._input.validator.validate_python if data else None
        result = hints.get("return", Any)
        self._text = result if result in _TEXTS else None
        self._output = _result_adapter(result)

    def _check_needs_none(self) -> None:
        asked = [p.name for p in self._parameters if p.name != self.context]
        if asked:
            raise self._wrong(
                f"a hook or job gets no data, but it takes {asked[0]!r}", "take `ctx: Context` or nothing"
            )

    def _wrong(self, problem: str, fix: str) -> DefinitionError:
        return DefinitionError(f"{self.place}: {self.name}: {problem}; {fix}")


def _refusal(errors: list[dict[str, str]]) -> InvalidRequest:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    text = f"{first['field']}: {first['message'][:1].lower()}{first['message'][1:]}{more}"
    return InvalidRequest(text, details={"field": first["field"], "errors": errors})


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:  # Any: types
    if parameter.name not in hints:
        return parameter.name == "ctx"
    hint = _bare(hints[parameter.name])
    return isinstance(hint, type) and issubclass(hint, Context)


def _bare(hint: Any) -> Any:  # Any: types
    """The type under `Annotated`, a `type X = …` alias and type arguments."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__value__"):
            hint = hint.__value__
        else:
            origin = get_origin(hint)
            return origin if isinstance(origin, type) and origin is not UnionType else hint


def _takes_whole(hint: Any) -> bool:  # Any: types
    """Whether a lone parameter of that type takes the data as it is, not a key of it."""
    bare = _bare(hint)
    if get_origin(bare) in (Union, UnionType):
        members = [m for m in get_args(bare) if m is not NoneType]
        return bool(members) and all(_takes_whole(m) for m in members)
    return isinstance(bare, type) and (is_dataclass(bare) or issubclass(bare, BaseModel | Mapping))


def _by_name(data: list[inspect.Parameter], hints: Mapping[str, Any]) -> TypeAdapter[Any]:  # Any: types
    """An adapter that takes an object and gives the keyword arguments; a default that is not sent stays Python's."""

    class Arguments:
        @classmethod
        def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
            return core_schema.typed_dict_schema(
                {
                    p.name: core_schema.typed_dict_field(
                        handler.generate_schema(hints.get(p.name, Any)),
                        required=p.default is inspect.Parameter.empty,
                    )
                    for p in data
                },
                extra_behavior="ignore",
            )

    return TypeAdapter(Arguments)


def _result_adapter(hint: Any) -> TypeAdapter[Any] | None:  # Any: types
    if _bare(hint) is Queued:
        hint = get_args(hint)[0] if get_args(hint) else Any
    return None if hint is Any or hint is object else TypeAdapter(hint)


def _schema(adapter: TypeAdapter[Any], mode: JsonSchemaMode) -> dict[str, Any]:  # Any: types; JSON Schema
    try:
        return adapter.json_schema(mode=mode)
    except PydanticUserError:  # a type that validates but has no JSON form to describe
        return {}
