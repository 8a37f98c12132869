"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Registry: TypeAlias = Annotated[
    str | None,
    typer.Option("--registry", metavar="URL", help="The mesh's Registry; else REGISTRY_URL, else the data directory."),
]
Data: TypeAlias = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data directory; else UDC_DATA, else .udc.")
]
As: TypeAlias = Annotated[
    int | None, typer.Option("--as", metavar="N", min=1, help="The droplet id to speak as; else operator.id, 999.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON for machines, on one line.")]
Seconds: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait for an answer.")
]
Droplet: TypeAlias = Annotated[
    str, typer.Argument(metavar="DROPLET", help="A droplet's id or name, or what it can do.")
]
Pairs: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="The data: JSON if it can be read as such, else text; KEY:=JSON must be."),
]
Body: TypeAlias = Annotated[
    str | None, typer.Option("--body", metavar="JSON", help="The data as a whole, in place of KEY=VALUE.")
]
