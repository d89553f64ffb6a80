"""What must be so before the demo starts; each thing that is not is one clear line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from daemon.cli import CommandError, Exit, human_bytes
from demo.layout import HOST, Layout

_MARKER: Final = ".nearcast-demo"
_SMALLEST_FREE_BYTES: Final = 1_000_000_000
_COPIES: Final = 8
"""Of a user's video: three encodes, once in S3, on three appliances, and once while they are made."""


@contextlib.contextmanager
def fresh_folder(root: Path) -> Iterator[None]:
    """``root``, empty and ours alone until the end; raises `CommandError` when another demo has it.

    The lock is the kernel's and goes with its process, so a killed demo leaves none behind.
    """
    with _writable(root):
        _refuse_others(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            root.with_name(root.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode() or "unknown"
            raise CommandError(
                f"a demo is running already (pid {pid}, in {root}): stop that one first, "
                "or start this one with another --dir and --port-offset",
                Exit.USAGE,
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        with _writable(root):
            _empty(root)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        at = f" ({error.filename})" if error.filename not in {None, str(root)} else ""
        raise CommandError(
            f"--dir {root}: {(error.strerror or str(error)).lower()}{at}: name a folder that you may write",
            Exit.USAGE,
        ) from None


def _refuse_others(root: Path) -> None:
    """Raises `CommandError` when ``root`` holds what no demo made; nothing has been touched then."""
    if root.exists() and any(root.iterdir()) and not (root / _MARKER).exists():
        raise CommandError(f"{root} holds something that is not a demo's: name another --dir", Exit.USAGE)


def _empty(root: Path) -> None:
    _refuse_others(root)
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(mode=0o755)
    (root / _MARKER).touch()


def check_source(source: Path) -> None:
    """Raises `CommandError` when ``source`` is no file that we may read; what is in it, the encoder will tell."""
    try:
        with source.open("rb") as file:
            why = "" if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else "not a regular file"
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    if why:
        raise CommandError(f"--source {source}: {why}; a video file is wanted", Exit.USAGE)


def check_ports(layout: Layout) -> None:
    """Raises `CommandError` that names the first port somebody else listens on."""
    for port, owner in layout.ports():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Connections of the last demo that are still being forgotten are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise CommandError(
                    f"port {port} ({owner}) {why}: stop what listens there, or shift every port: "
                    f'make demo DEMO_ARGS="--port-offset {layout.offset + 1000}"',
                    Exit.USAGE,
                ) from None


def check_space(root: Path, source: Path | None) -> None:
    """Raises `CommandError` when the demo would fill the disk."""
    needed = max(_SMALLEST_FREE_BYTES, _COPIES * source.stat().st_size if source is not None else 0)
    free = shutil.disk_usage(root.parent).free
    if free < needed:
        raise CommandError(
            f"{root.parent} has {human_bytes(free)} free, and the demo needs {human_bytes(needed)}: "
            "make room, or name another --dir"
        )
