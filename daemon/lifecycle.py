"""How a process tells systemd how it is, and how it ends with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def notify(state: str) -> None:
    """Sends ``state`` (``READY=1``, ``STATUS=...``, ``WATCHDOG=1``) to systemd, if it started us.

    Source: sd_notify(3). Never raises: a lost notification must not stop a server.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)


def watchdog_interval_s() -> float | None:
    """How often systemd wants to hear ``WATCHDOG=1``: half of what it allows. None if it does not."""
    usec = os.environ.get("WATCHDOG_USEC")
    pid = os.environ.get("WATCHDOG_PID")
    if not usec or not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send this process ``with_signal`` when its parent (a pid) ends, however it ends.

    Source: prctl(2), PR_SET_PDEATHSIG. A parent that ended before the call is noticed too.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), with_signal)


def allow_open_files(most: int = 1 << 20) -> int:
    """Raises this process's soft limit of open files to its hard one, ``most`` at the most; the limit there is then.

    A shell's soft limit is 1024 for the sake of select(2), which nothing of ours uses. Children inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
