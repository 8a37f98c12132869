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
