"""Files that a power cut leaves whole: replaced as one, and their names on the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Replaces ``path`` whole or not at all. Nobody else can ever open a draft of it. Raises OSError."""
    with replacing(path, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int) -> Iterator[IO[bytes]]:
    """As `replace_file`, with what is written to the file that it gives, once the block has ended well."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
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
