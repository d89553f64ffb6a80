"""Files that a power cut leaves whole: replaced as one, and their names on the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Replaces ``path`` whole or not at all. Nobody else can ever open a draft of it. Raises OSError."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def sync_folder(folder: Path) -> None:
    """Returns once the names in ``folder`` survive a power cut. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # FUSE among others refuses to sync a folder: then a name is as durable as it makes it.
        with contextlib.suppress(PermissionError):
            os.fsync(fd)
    finally:
        os.close(fd)
