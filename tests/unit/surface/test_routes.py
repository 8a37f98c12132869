"""Which endpoint answers: fixed paths, templates, clashes, and templates that are none."""

from __future__ import annotations

from typing import Any

import pytest

from udc.errors import DefinitionError, MethodNotAllowed, NotFound
from udc.surface._base import Endpoint
from udc.surface.routes import Routes


async def handler(_: object) -> None: ...


async def another(_: object) -> None: ...


class CallMe:
    async def __call__(self, _: object) -> None: ...


def row(method: str, path: str, call: Any = handler, access: Any = "read") -> Endpoint:
    return Endpoint(method=method, path=path, access=access, handler=call)


def test_a_fixed_path_wins_over_a_template() -> None:
    fixed, template = row("GET", "/droplets/watch"), row("GET", "/droplets/{id}")
    for table in ([fixed, template], [template, fixed]):
        routes = Routes(table)
        assert routes.find("GET", "/droplets/watch") == (fixed, {})
        assert routes.find("GET", "/droplets/14") == (template, {"id": "14"})


def test_a_method_that_the_fixed_path_lacks_is_looked_for_in_templates() -> None:
    template = row("DELETE", "/droplets/{id}")
    routes = Routes([row("GET", "/droplets/watch"), template])
    assert routes.find("DELETE", "/droplets/watch") == (template, {"id": "watch"})
    with pytest.raises(MethodNotAllowed) as caught:
        routes.find("PUT", "/droplets/watch")
    assert caught.value.details == {"allow": ["DELETE", "GET", "HEAD", "OPTIONS"]}


def test_every_row_has_the_names_of_its_own_template() -> None:
    get, delete = row("GET", "/a/{x}/b/{y}"), row("DELETE", "/a/{one}/b/{two}")
    routes = Routes([get, delete])
    assert routes.find("GET", "/a/1/b/2")[1] == {"x": "1", "y": "2"}
    assert routes.find("DELETE", "/a/1/b/2")[1] == {"one": "1", "two": "2"}


def test_names_stand_for_part_of_a_segment_and_dots_for_themselves() -> None:
    routes = Routes([row("GET", "/files/{name}.json")])
    assert routes.find("GET", "/files/a.b.json")[1] == {"name": "a.b"}
    for path in ("/files/axjson", "/files/.json", "/files/a/b.json", "/files/a.json\n"):
        with pytest.raises(NotFound):
            routes.find("GET", path)


def test_the_second_template_is_tried_when_the_first_does_not_match() -> None:
    second = row("GET", "/b/{id}")
    assert Routes([row("GET", "/a/{id}"), second]).find("GET", "/b/1")[0] is second


def test_head_is_looked_up_as_get() -> None:
    routes = Routes([row("GET", "/a"), row("POST", "/b")])
    assert routes.find("HEAD", "/a")[0].method == "GET"
    with pytest.raises(MethodNotAllowed):
        routes.find("HEAD", "/b")


def test_an_unknown_method_is_told_shortened() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        Routes([row("GET", "/a")]).find("X" * 1000, "/a")
    assert len(caught.value.message) < 60


@pytest.mark.parametrize("path", ["/a", "/a/{id}"])
def test_a_clash_names_both_owners(path: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Routes([row("GET", path), row("GET", path.replace("id", "key"), another)])
    assert "handler and another" in caught.value.message


def test_a_clash_with_a_callable_object_names_its_class() -> None:
    with pytest.raises(DefinitionError, match=r"CallMe and handler; rename"):
        Routes([row("GET", "/a", CallMe()), row("GET", "/a")])


@pytest.mark.parametrize(
    "path", ["", "a", "/a?b=1", " /a", "/a ", "/{a}/{a}", "/{a", "/a}", "/{A}", "/{}", "/{1a}", "/{a}/{b-c}"]
)
def test_a_path_that_is_no_template_is_refused(path: str) -> None:
    with pytest.raises(DefinitionError, match="handler"):
        Routes([row("GET", path)])


def test_the_error_shows_how_a_template_is_written() -> None:
    with pytest.raises(DefinitionError, match=r"as in '/droplets/\{id\}'"):
        Routes([row("GET", "/{A}")])


@pytest.mark.parametrize("method", ["get", "Get", "HEAD"])
def test_a_method_that_would_never_match_is_refused(method: str) -> None:
    with pytest.raises(DefinitionError, match=method):
        Routes([row(method, "/a")])


def test_an_unknown_access_is_refused_at_start_not_at_the_first_call() -> None:
    with pytest.raises(DefinitionError, match="'admins'; give one of 'public', 'read', 'write', 'admin'"):
        Routes([row("GET", "/a", access="admins")])
