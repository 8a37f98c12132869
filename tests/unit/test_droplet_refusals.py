"""What the façade refuses, and with what words."""

from __future__ import annotations

import pytest

import udc.asgi
from udc import Droplet
from udc.errors import ConfigError, DefinitionError


class Forgetful(Droplet):
    id, name, steward = 21, "Forgetful", "tests"

    def __init__(self) -> None:
        self.seen = 0


def test_a_forgotten_super_init_is_told() -> None:
    with pytest.raises(DefinitionError, match=r"Forgetful\.__init__ does not call super\(\)\.__init__\(\)"):
        Forgetful()._host()
    with pytest.raises(DefinitionError, match="add that line"):
        _ = Forgetful().on


def test_a_class_cannot_be_served() -> None:
    class Lazy(Droplet):
        id, name, steward = 21, "Lazy", "tests"

    with pytest.raises(TypeError, match=r"give an instance: udc\.asgi\.app\(Lazy\(\)\)"):
        udc.asgi.app(Lazy)  # type: ignore[arg-type]  # the mistake


async def test_an_id_of_zero_is_not_called_missing() -> None:
    class Zero(Droplet):
        id, name, steward = 0, "Zero", "tests"

    with pytest.raises(ConfigError, match=r"droplet\.id: 0 from class attribute; wanted a whole number from 1 up"):
        Zero()._host()


@pytest.mark.parametrize("name", ["on", "mesh", "run", "_host", "_inside", "_definition"])
def test_a_name_of_ours_is_not_to_be_had(name: str) -> None:
    with pytest.raises(DefinitionError, match=rf"Taken\.{name} hides Droplet\.{name}; give it another name"):
        type("Taken", (Droplet,), {name: lambda self: None})


async def test_private_names_of_a_subclass_are_its_own() -> None:
    names = ("_table", "_hooks", "_context", "_verifier", "_settle", "_attach", "_explicit")

    class Private(Droplet):
        id, name, steward = 21, "Private", "tests"

        def __init__(self) -> None:
            super().__init__(config={"droplet.url": "http://127.0.0.1:8021"})
            for each in names:
                setattr(self, each, each)

    droplet = Private()
    droplet._host()
    assert [getattr(droplet, each) for each in names] == list(names)
