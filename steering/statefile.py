"""How steering keeps what it must not lose or half-write: JSON, each file replaced whole."""

from __future__ import annotations

import json
from pathlib import Path

from daemon import durable


def replace_file(path: Path, value: object, *, mode: int) -> None:
    """Raises OSError."""
    durable.replace_file(path, json.dumps(value).encode() + b"\n", mode=mode)
