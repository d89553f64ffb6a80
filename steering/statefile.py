"""How steering keeps what it must not lose or half-write: each file replaced whole, and on the disk."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, value: object, *, mode: int) -> None:
    """Replaces ``path`` whole or not at all. Nobody else can ever open a draft of it."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
