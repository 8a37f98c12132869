"""From `module:Class` or `file.py` to a droplet."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from udc import Droplet
from udc.cli.faults import Usage
from udc.errors import UdcError

FORMS: Final = "write module:Class, file.py or file.py:Class"
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load_droplet(target: str) -> Droplet:
    """The droplet that a target names; without a name, the only one that the module defines.

    The current folder can be imported from, and so can a file's own folder. The module is imported under its own
    name, so that what stands under `if __name__ == "__main__":` does not run.

    Raises:
        Usage: there is no such thing; says why, and what to write.
    """
    place, _, name = target.partition(":")
    _importable(Path.cwd())
    module = _from_file(Path(place)) if place.endswith(".py") or "/" in place else _from_module(place)
    return _made(_named(module, name) if name else _only(module, place), target)


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _from_module(name: str) -> ModuleType:
    if not _MODULE.fullmatch(name):
        raise Usage(f"{name!r} is no module name; {FORMS}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Usage(f"there is no module {error.name!r} here or among the installed ones; {FORMS}") from None
        raise Usage(_failed(name, error)) from None
    except Exception as error:  # noqa: BLE001 - a border: whatever a user's module raises is told
        raise Usage(_failed(name, error)) from None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Usage(f"there is no file {str(path)!r}; {FORMS}")
    _importable(path.resolve().parent)
    # Its own name, as if imported from its folder, unless that would hide a module that is there already.
    name = path.stem if importlib.util.find_spec(path.stem) is None or _is_at(path) else f"_udc_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Usage(f"{str(path)!r} is no Python file; {FORMS}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - likewise
        del sys.modules[name]
        raise Usage(_failed(str(path), error)) from None
    return module


def _is_at(path: Path) -> bool:
    spec = importlib.util.find_spec(path.stem)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path.resolve()


def _failed(place: str, error: Exception) -> str:
    """The error as Python shows it, from the user's own lines on."""
    if isinstance(error, SyntaxError | UdcError):
        return f"{place} cannot be imported:\n" + "".join(traceback.format_exception_only(error)).rstrip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _ours(frame.filename)]
    lines = [*traceback.format_list(frames), *traceback.format_exception_only(error)]
    return f"{place} cannot be imported:\n" + "".join(lines).rstrip()


def _ours(filename: str) -> bool:
    return "importlib" in filename or filename == __file__


def _named(module: ModuleType, name: str) -> object:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            there = _listed(_candidates(module))
            raise Usage(f"{module.__name__} has no {name!r}; droplets in it: {there}")
        found = getattr(found, part)
    return found


def _only(module: ModuleType, place: str) -> object:
    found = _candidates(module)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise Usage(f"{place} has several droplets: {_listed(found)}; choose one: {place}:{next(iter(found))}")
    raise Usage(f"{place} has no droplet: a class that inherits from udc.Droplet")


def _candidates(module: ModuleType) -> dict[str, object]:
    """The droplets a module defines; ready-made ones go before their classes."""
    values = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    made: dict[str, object] = {name: value for name, value in values.items() if isinstance(value, Droplet)}
    return made or {
        name: value
        for name, value in values.items()
        if isinstance(value, type) and issubclass(value, Droplet) and value.__module__ == module.__name__
    }


def _listed(found: dict[str, object]) -> str:
    return ", ".join(found) or "none"


def _made(found: object, target: str) -> Droplet:
    if isinstance(found, Droplet):
        return found
    if not isinstance(found, type) or not issubclass(found, Droplet):
        raise Usage(f"{target} is {_kind(found)}, not a droplet: wanted a class that inherits from udc.Droplet")
    try:
        return found()
    except TypeError as error:
        raise Usage(
            f"{target} cannot be made without arguments ({error}); make one in its module, "
            f"`droplet = {found.__name__}(...)`, and run an instance of it: :droplet in the place of :{found.__name__}"
        ) from error


def _kind(found: object) -> str:
    return f"the class {found.__qualname__}" if isinstance(found, type) else f"of type {type(found).__name__}"
