"""The key of this example: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from udc.identity.keys import SigningKey


def key_file() -> Path:
    """The file with the key; makes it if it is not there."""
    path = Path(os.environ.get("UDC_DATA") or ".udc").absolute() / "hello.pem"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(SigningKey.generate().private_pem)
    return path
