"""The service's port, plain or TLS, and another certificate for it from one connection to the next."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

BACKLOG: Final = 4096


class Listening:
    """``protocol`` makes the protocol of a connection, which hears of it when a handshake is done."""

    def __init__(
        self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol], handshake_timeout_s: float | None
    ) -> None:
        self._socket = sock
        self._protocol = protocol
        self._handshake_timeout_s = handshake_timeout_s
        self._server: asyncio.Server | None = None

    async def begin(self, tls: ssl.SSLContext | None) -> None:
        """Accepts, or goes on with another ``tls``: connections that are open stay as they are."""
        before = self._server
        # Two servers on one socket for a moment: whoever connects meanwhile is accepted by either.
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=self._socket.dup(),
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=self._handshake_timeout_s if tls is not None else None,
        )
        if before is not None:
            before.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()
