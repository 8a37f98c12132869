"""Starts the `udc` command; says what to install when it cannot."""

from __future__ import annotations

import sys

_OPTIONAL = ("typer", "rich", "uvicorn")


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    try:
        from udc.cli.app import app

        app(prog_name="udc")
    except ModuleNotFoundError as error:
        if error.name not in _OPTIONAL:
            raise
        sys.stderr.write('udc: the udc command needs more packages: pip install "udc-mesh[run]"\n')
        sys.exit(2)


if __name__ == "__main__":
    main()
