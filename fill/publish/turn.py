"""Whose turn it is: what two `fill publish` of one user on one machine must not do at once.

A lock of the kernel's (flock) on an empty file: gone with the process, however that ends. Publishers on
two machines do not see each other's; what then protects the catalog stands at `upload.write_catalog`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.cli import CommandError


@contextmanager
def only_publisher(where: str, title: str) -> Iterator[None]:
    """Holds ``title`` of the bucket ``where``; raises `CommandError` when another publisher holds it."""
    with _open(f"{where} {title}") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"{title}: another `fill publish` is at work on this title; wait until it has ended"
            ) from None
        yield


@contextmanager
def catalog_turn(where: str) -> Iterator[None]:
    """Holds the catalog of the bucket ``where``, and waits for it: it is changed within a second."""
    with _open(where) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _open(name: str) -> Iterator[int]:
    folder = Path(tempfile.gettempdir()) / f"nearcast-publish-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # The folder above is everybody's: another user may have made this one first, or a link.
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise CommandError(f"{folder}: belongs to somebody else; remove it, or set TMPDIR")
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    opened = os.open(folder / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield opened
    finally:
        os.close(opened)
