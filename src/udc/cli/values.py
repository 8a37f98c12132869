"""What `key=value` on a command line means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from udc.cli.faults import Usage

_PAIR: Final = re.compile(r"([^=:]+)(:?=)(.*)", re.DOTALL)


def data_of(pairs: Iterable[str], body: str | None) -> Any:  # Any: JSON values
    """The data of a message: an object of the pairs, or the JSON that was given whole.

    `key=value` is JSON if it can be read as such, else text: `n=3` is a number, `n='"3"'` a text. `key:=value`
    must be JSON. Of a key given twice the last counts.

    Raises:
        Usage: no pair, no JSON, or both forms at once.
    """
    listed = list(pairs)
    if body is None:
        return dict(map(_pair, listed))
    if listed:
        raise Usage("give the data as key=value, or whole with --body, not both")
    return _strict("--body", body)


def _pair(text: str) -> tuple[str, Any]:  # Any: JSON values
    found = _PAIR.fullmatch(text)
    if found is None:
        raise Usage(f"{text!r} is no key=value; write for example steward=ada, or n:=3 for JSON")
    key, sign, value = found.groups()
    if sign == ":=":
        return key, _strict(key, value)
    try:
        return key, _parsed(value)
    except (ValueError, RecursionError):
        return key, value


def _strict(name: str, text: str) -> Any:  # Any: JSON values
    try:
        return _parsed(text)
    except (ValueError, RecursionError) as error:
        raise Usage(f"{name}: {text!r} is no JSON ({error})") from None


def _parsed(text: str) -> Any:  # Any: JSON values
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:  # Any: json's own
    raise ValueError(f"{constant} is no JSON")
