"""The kinds of values that settings have, each with the words that tell a person what it must be."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from udc._frozen import dataclass
from udc.config.secret import Secret


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a setting must be, as the end of the sentence "wanted …"."""

    words: str


def _no_boolean(value: object) -> object:
    # bool is an int in Python and to pydantic, but never on the wire (contract, "Types").
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")
    return value


def decoded(value: object) -> object:
    """A text that looks like JSON as what it stands for; anything else as it is.

    Raises:
        ValueError: it looks like JSON and is none.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return value


def _comma_list(value: object) -> object:
    value = decoded(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


_HOST: Final = re.compile(r"[a-z0-9_.\-]+|[0-9a-f:.]*:[0-9a-f:.]*")


def base_url(text: str) -> str:
    """The URL in one form: scheme and host in lower case, no slash at the end.

    Raises:
        ValueError: not an absolute http or https URL, or it has a user, a query or a fragment.
    """
    # urlsplit drops control characters in silence, so they are refused before it sees them.
    if re.search(r"[\x00-\x20\x7f\\?#@]", text):
        raise ValueError("a space, a backslash, a user, a query or a fragment")
    parts = urlsplit(text)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or parts.port == 0:
        raise ValueError("not an absolute http or https URL")
    shown = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{shown}{port}{parts.path.rstrip('/')}"


def _pem(text: str) -> str:
    # Environment files cannot hold line ends, so tools write them as the two characters \n.
    return text.replace("\\n", "\n").strip() + "\n"


def _public_pem(text: str) -> str:
    pem = _pem(text)
    if not re.match(r"-----BEGIN (RSA )?PUBLIC KEY-----\n", pem):
        raise ValueError("not a PEM public key")
    return pem


def _private_pem(secret: Secret) -> Secret:
    pem = _pem(secret.reveal())
    if not re.match(r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----\n", pem):
        raise ValueError("not a PEM private key")
    return Secret(pem)


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


_number = BeforeValidator(_no_boolean)

Id: TypeAlias = Annotated[int, _number, Field(ge=1), Wanted("a whole number from 1 up")]
Count: TypeAlias = Annotated[int, _number, Field(ge=1), Wanted("a whole number from 1 up")]
Port: TypeAlias = Annotated[int, _number, Field(ge=0, le=65535), Wanted("a port from 0 to 65535 (0 = any free one)")]
Seconds: TypeAlias = Annotated[
    float, _number, Field(gt=0, allow_inf_nan=False), Wanted("a number of seconds greater than 0")
]
Grace: TypeAlias = Annotated[
    float, _number, Field(ge=0, allow_inf_nan=False), Wanted("a number of seconds, 0 or greater")
]
Flag: TypeAlias = Annotated[bool, Wanted("true or false")]
Text: TypeAlias = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Wanted("a text of 1 to 256 characters without line ends"),
]
Url: TypeAlias = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(base_url),
    Wanted("an absolute http:// or https:// URL without user, query and fragment"),
]
TextList: TypeAlias = Annotated[
    tuple[Text, ...], BeforeValidator(_comma_list), Wanted("texts separated by commas, or a JSON list of texts")
]
Permissions: TypeAlias = Annotated[
    tuple[Literal["read", "write", "admin"], ...],
    BeforeValidator(_comma_list),
    Field(min_length=1),
    Wanted("some of read, write and admin, separated by commas, or a JSON list of them"),
]
PublicPem: TypeAlias = Annotated[str, AfterValidator(_public_pem), Wanted("a public key in PEM form")]
PrivatePem: TypeAlias = Annotated[Secret, AfterValidator(_private_pem), Wanted("a private key in PEM form")]


def _origin(text: str) -> str:
    if text == "*":
        return text
    url = base_url(text)
    parts = urlsplit(url)
    if parts.path:
        raise ValueError("an origin has no path")
    standard = {"http": ":80", "https": ":443"}[parts.scheme]
    return url.removesuffix(standard)  # as browsers write it


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


Rate: TypeAlias = Annotated[
    float, _number, Field(gt=0, allow_inf_nan=False), Wanted("a number of requests a second, greater than 0")
]
WholeSeconds: TypeAlias = Annotated[int, _number, Field(ge=0), Wanted("a whole number of seconds, 0 or greater")]
Token: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=128, pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
]
TokenList: TypeAlias = Annotated[
    tuple[Token, ...], BeforeValidator(_comma_list), Wanted("names separated by commas, or a JSON list of names")
]
OriginList: TypeAlias = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_origin)], ...],
    BeforeValidator(_comma_list),
    Wanted("origins like https://app.example separated by commas, a JSON list of them, or *"),
]
NetworkList: TypeAlias = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_network)], ...],
    BeforeValidator(_comma_list),
    Wanted("addresses or networks like 10.0.0.0/8 separated by commas, or a JSON list of them"),
]
SecretText: TypeAlias = Annotated[Secret, Wanted("a text that is not empty")]
Directory: TypeAlias = Annotated[Path, Wanted("the path of a directory")]
KeyFile: TypeAlias = Annotated[Path, Wanted("the path of a file that can be read and is not empty")]
LogLevel: TypeAlias = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(_upper),
    Wanted("one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
]
RegistryStyle: TypeAlias = Annotated[
    Literal["contract", "plain", "v2", "sqlite", "services"],
    BeforeValidator(_lower),
    Wanted("one of contract, plain, v2, sqlite, services"),
]
OrchestratorStyle: TypeAlias = Annotated[
    Literal["contract", "v2"], BeforeValidator(_lower), Wanted("one of contract, v2")
]
JsonText: Final = BeforeValidator(decoded)
"""Lets a JSON text stand for the list or object it holds, as in a variable."""
