"""The listening sockets of an appliance: opened here, or handed over by systemd.

Under socket activation systemd keeps the sockets while the appliance restarts, so that players who
connect in between wait in the queue instead of being refused.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from daemon.cli import CommandError
from oca.config import split_address

_BACKLOG: Final = 4096
_FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START, sd_listen_fds(3)."""


class Sockets:
    """Those that systemd handed over are used first, by their address."""

    def __init__(self) -> None:
        self._inherited = _inherited()

    def listen(self, key: str, address: str, count: int) -> list[socket.socket]:
        """``count`` sockets that share ``address``; raises `CommandError` with one line when it cannot be had.

        Each of several is one worker's own (SO_REUSEPORT): the kernel spreads the connections. An
        inherited one is shared by all.
        """
        wanted = split_address(address)
        for sock in self._inherited:
            if sock.getsockname()[:2] == wanted:
                return [sock] * count
        # SO_REUSEPORT would also let us share the port with a stranger: see whether there is one.
        return [_open(key, address, shared=count > 1, probe=number == 0) for number in range(count)]


def _open(key: str, address: str, *, shared: bool, probe: bool) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if probe and shared:
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((host, port))
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        raise CommandError(f"{key}: {address}: {error.strerror}") from None
    return sock


def _inherited() -> list[socket.socket]:
    """The sockets of systemd's socket activation: sd_listen_fds(3)."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    os.environ.pop("LISTEN_FDNAMES", None)
    sockets = []
    for fd in range(_FIRST_FD, _FIRST_FD + count):
        os.set_inheritable(fd, False)
        sockets.append(socket.socket(fileno=fd))
    return sockets
