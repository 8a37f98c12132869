"""What `udc run TARGET` takes, and what it says to everything else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from udc import Droplet
from udc.cli.faults import Usage
from udc.cli.target import load_droplet

ONE = """
from udc import Droplet
class Unbox{name}(Droplet):
    id, name, steward = 30, "Unbox", "tests"
"""
BOTH = ONE.format(name="One") + ONE.format(name="Two")
MADE = ONE.format(name="One") + "droplet = UnboxOne()\n"
IMPORTING = "from only_one import UnboxOne\nclass Further(UnboxOne): id = 31\n"
OTHERS = "import math\nclass Plain: pass\nnumber = 3\n"
NEEDY = "from udc import Droplet\nclass Needy(Droplet):\n    def __init__(self, place): super().__init__()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sources = {
        "only_one": ONE.format(name="One"),
        "both": BOTH,
        "made": MADE,
        "importing": IMPORTING,
        "others": OTHERS,
        "needy": NEEDY,
        "broken": "def (:\n",
        "raising": "1 / 0\n",
        "wanting": "import there_is_no_such_thing\n",
        "undefined": "from udc import Droplet\nclass A(Droplet):\n    def on(self): ...\n",
        "json": ONE.format(name="Json"),
    }
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner.py").write_text(ONE.format(name="Inner"), encoding="utf-8")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("only_one:UnboxOne", "UnboxOne"),
        ("only_one", "UnboxOne"),
        ("only_one.py", "UnboxOne"),
        ("./only_one.py:UnboxOne", "UnboxOne"),
        ("both:UnboxTwo", "UnboxTwo"),
        ("both.py:UnboxOne", "UnboxOne"),
        ("made", "UnboxOne"),
        ("made.py:droplet", "UnboxOne"),
        ("importing.py", "Further"),
        ("package.inner", "UnboxInner"),
        ("package/inner.py", "UnboxInner"),
        ("json.py", "UnboxJson"),
    ],
)
def test_what_it_takes(target: str, name: str) -> None:
    droplet = load_droplet(target)

    assert isinstance(droplet, Droplet)
    assert type(droplet).__name__ == name


def test_a_file_may_be_called_like_a_module_that_is_there() -> None:
    import json

    load_droplet("json.py")

    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere:App", ["no module 'nowhere'", "write module:Class, file.py or file.py:Class"]),
        ("package.nowhere:App", ["no module 'package.nowhere'"]),
        ("nowhere.py", ["no file 'nowhere.py'"]),
        ("", ["'' is no module name"]),
        ("my-app:App", ["'my-app' is no module name"]),
        ("both", ["both has several droplets: UnboxOne, UnboxTwo", "choose one: both:UnboxOne"]),
        ("others", ["others has no droplet: a class that inherits from udc.Droplet"]),
        ("both:Nope", ["both has no 'Nope'", "droplets in it: UnboxOne, UnboxTwo"]),
        ("others:Plain", ["others:Plain is the class Plain, not a droplet"]),
        ("others:number", ["others:number is of type int, not a droplet"]),
        ("broken", ["broken cannot be imported", 'broken.py", line 1', "SyntaxError"]),
        ("broken.py", ["broken.py cannot be imported", "line 1", "SyntaxError"]),
        ("raising", ['raising.py", line 1', "ZeroDivisionError: division by zero"]),
        ("wanting", ["wanting cannot be imported", "No module named 'there_is_no_such_thing'"]),
        ("undefined", ["undefined cannot be imported", "A.on hides Droplet.on"]),
        (
            "needy",
            [
                "cannot be made without arguments",
                "'place'",
                "make one in its module",
                "run an instance of it: :droplet",
            ],
        ),
    ],
)
def test_what_it_says_to_the_rest(target: str, words: list[str]) -> None:
    with pytest.raises(Usage) as refused:
        load_droplet(target)

    said = str(refused.value)
    assert [word for word in words if word not in said] == []
    assert "udc/cli" not in said
