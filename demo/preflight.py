"""What must be so before the demo starts; each thing that is not is one clear line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
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
    root.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root.with_name(root.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        _empty(root)
        yield
    finally:
        os.close(descriptor)


def _empty(root: Path) -> None:
    if root.exists() and any(root.iterdir()):
        if not (root / _MARKER).exists():
            raise CommandError(f"{root} holds something that is not a demo's: name another --dir", Exit.USAGE)
        shutil.rmtree(root)
    root.mkdir(mode=0o755, exist_ok=True)
    (root / _MARKER).touch()


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
