"""Ports that stay a test's own: chosen by the kernel, and given to nobody else until the tests end."""

from __future__ import annotations

import atexit
import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; whoever sets SO_REUSEADDR may, as all our servers do.

    It stays bound, so that the kernel gives it to no connection and to no other test, neither before the server
    has started nor while it is down. A bound socket that does not listen refuses every connection.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    _held.append(sock)
    port: int = sock.getsockname()[1]
    return port


@atexit.register
def _release() -> None:
    for sock in _held:
        sock.close()
