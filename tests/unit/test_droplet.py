"""The façade: names that would hide the framework are refused, and nothing is read before it is served."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.contract.served import Life, Placed, Sample, settings
from udc import Droplet, query
from udc._wiring.surroundings import Surroundings
from udc.asgi import App
from udc.errors import ConfigError, DefinitionError, LifecycleError


@pytest.mark.parametrize("name", ["on", "mesh"])
def test_what_is_ours_cannot_be_hidden(name: str) -> None:
    with pytest.raises(DefinitionError, match=rf"Hiding\.{name} hides Droplet\.{name}"):
        type("Hiding", (Droplet,), {name: 5})


@pytest.mark.parametrize("name", ["id", "name", "steward", "version", "capabilities", "needs", "wants", "endpoints"])
def test_an_attribute_cannot_be_a_method(name: str) -> None:
    def method(self: object) -> None: ...

    with pytest.raises(DefinitionError, match=rf"Odd\.{name} is a method"):
        type("Odd", (Droplet,), {name: method})


@pytest.mark.parametrize("name", ["capabilities", "needs", "wants", "endpoints"])
def test_a_text_in_the_place_of_a_list_is_refused(name: str) -> None:
    """It would be read letter by letter."""
    with pytest.raises(DefinitionError, match=rf"Odd\.{name} is the text 'Notes', .*; write {name} = \('Notes',\)"):
        type("Odd", (Droplet,), {name: "Notes"})


def test_an_attribute_may_be_a_property() -> None:
    class Named(Droplet):
        @property
        def name(self) -> str:  # type: ignore[override]  # computed
            return "computed"

    assert Named().name == "computed"


def test_making_one_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a file: both would be of the wrong time and place."""
    monkeypatch.setenv("UDC_DROPLET__ID", "nonsense")
    Sample()


async def test_serving_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDC_DROPLET__STEWARD", "from-environment")
    hosted = Sample()._host()
    assert hosted.parts.facts.steward == "from-environment"
    monkeypatch.setenv("UDC_DROPLET__ID", "nonsense")
    with pytest.raises(ConfigError, match="UDC_DROPLET__ID"):
        Sample()._host()


async def test_the_mesh_is_there_while_it_runs() -> None:
    droplet = Sample()
    with pytest.raises(LifecycleError, match="Sample is not running"):
        _ = droplet.mesh
    life = Life(App(Placed(droplet, Surroundings(sample_process=False))))
    async with anyio.create_task_group() as tasks:
        await tasks.start(life.run)
        mesh = droplet.mesh
        assert mesh is droplet.mesh
        life.stop.set()
    with pytest.raises(LifecycleError):
        _ = droplet.mesh


async def test_handlers_come_too_late_after_the_start() -> None:
    droplet = Sample()

    @droplet.on.query("early")
    async def early() -> int:
        return 1

    droplet._host(Surroundings(sample_process=False))
    with pytest.raises(LifecycleError, match="too late"):

        @droplet.on.query("late")
        async def late() -> int:
            return 1


async def test_the_default_lifespan_opens_nothing() -> None:
    async with Droplet().lifespan():
        pass


def test_settings_given_to_one_droplet_are_its_own() -> None:
    config = settings()
    droplet = Droplet(config=config)
    config["droplet.id"] = 99
    assert "droplet.id" not in droplet._inside.explicit


def test_a_subclass_of_a_subclass_is_checked_too() -> None:
    class Base(Droplet):
        @query("a")
        async def a(self) -> int:
            return 1

    with pytest.raises(DefinitionError):
        type("Sub", (Base,), {"mesh": None})
