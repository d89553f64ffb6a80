"""The same over TLS: aiofastnet's transport encrypts, our connection code stays as it is.

Measured (docs/decisions/0001-architecture.md): a SSLSocket driven by hand and uvloop's own TLS are
both slower than nginx; this transport writes through OpenSSL without copies and is faster.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import aiofastnet

from daemon.config import ConfigError
from daemon.log import event
from oca.config import Tls
from oca.edge.wire import pace, reset, waits_for_client

if TYPE_CHECKING:
    from oca.edge.wire import Receiver

log = logging.getLogger("oca.edge")
# It warns of every write to a client that is gone.
logging.getLogger("aiofastnet").setLevel(logging.ERROR)

_PIECE_BYTES: Final = 512 << 10
"""Read from the file and encrypted at a time."""
_INCOMING_BYTES: Final = 16 << 10
_OUTGOING_BYTES: Final = 256 << 10
_SHUTDOWN_S: Final = 1.0
_OP_ENABLE_KTLS: Final = getattr(ssl, "OP_ENABLE_KTLS", 1 << 3)  # OpenSSL 3; named from Python 3.12 on
_ON: Final = "on"
_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# A span on its way from the page cache through OpenSSL. One for the whole worker: what the wire does
# not take at once, the transport copies.
_piece = memoryview(bytearray(_PIECE_BYTES))


class Acceptor:
    """Makes wires of accepted sockets; raises `ConfigError` when the certificate cannot be used."""

    def __init__(self, config: Tls) -> None:
        self._config = config
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = _MINIMUM[config.minimum]
        self._context.set_alpn_protocols(["http/1.1"])
        self._context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
        # A player has few connections and resumes each with the ticket of the one before.
        self._context.num_tickets = 1
        kernel_tls = _kernel_tls(config.kernel)
        if kernel_tls == _ON:
            # Only then: aiofastnet looks for the kernel's module anew for each connection that may have it.
            self._context.options |= _OP_ENABLE_KTLS
        event(log, "tls", minimum=config.minimum, kernel_tls=kernel_tls)
        self._opening: set[asyncio.Task[None]] = set()
        self.reload()

    def reload(self) -> None:
        """Reads certificate and key again, for connections from now on; raises `ConfigError`."""
        config = self._config
        try:
            self._context.load_cert_chain(config.certificate_file, config.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls: {config.certificate_file} with {config.key_file}: {error.strerror or error}"
            ) from None

    def accept(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> TlsWire:
        wire = TlsWire(sock)
        task = loop.create_task(self._open(loop, sock, wire))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return wire

    async def _open(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, wire: TlsWire) -> None:
        try:
            await aiofastnet.connect_accepted_socket(
                loop,
                lambda: wire,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._config.handshake_timeout_s,
                ssl_shutdown_timeout=_SHUTDOWN_S,
                ssl_incoming_bio_size=_INCOMING_BYTES,
                ssl_outgoing_bio_size=_OUTGOING_BYTES,
            )
        except (OSError, asyncio.CancelledError) as error:
            # A scanner, a client that does not trust us, one that left: its affair.
            event(log, "handshake failed", logging.DEBUG, why=str(error))
            wire.connection_lost(None)


def _kernel_tls(wanted: bool) -> str:
    """What is in force, for the log. OpenSSL falls back by itself where the kernel has none."""
    if not wanted:
        return "off: tls.kernel is false"
    try:
        offered = "tls" in Path("/proc/sys/net/ipv4/tcp_available_ulp").read_text().split()
    except OSError:
        offered = False
    return _ON if offered else "not offered by this kernel (modprobe tls)"


class TlsWire(asyncio.Protocol):
    """One client over TLS: a `Wire` to its connection, a protocol to its transport."""

    secure: Final = True

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._transport: aiofastnet.Transport | None = None
        self._receiver: Receiver | None = None
        self._head: bytes | memoryview = b""
        self._full = False
        self._watching = False
        self._paused = False
        self._lost = False

    # To the connection

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, data: bytes | memoryview, flags: int, /) -> int:
        self._check_room()
        if flags & socket.MSG_MORE and len(data) < _PIECE_BYTES // 2:
            # Into one record with the bytes that follow.
            self._head = bytes(self._head) + data
        else:
            self._write(bytes(self._head) + data if self._head else data)
        return len(data)

    def sendfile(self, fd: int, start: int, count: int) -> int:
        self._check_room()
        head = len(self._head)
        got = os.preadv(fd, [_piece[head : head + min(count, _PIECE_BYTES - head)]], start)
        if head:
            _piece[:head] = self._head
        self._write(_piece[: head + got])
        return got

    def _check_room(self) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        if self._full:
            raise BlockingIOError

    def _write(self, data: bytes | memoryview) -> None:
        assert self._transport is not None
        self._head = b""
        self._transport.write(data)

    def read(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def unread(self) -> bool:
        return False  # the transport reads at once what comes

    def watch_room(self) -> None:
        self._watching = True

    def pace(self, bytes_per_s: int) -> None:
        pace(self._sock, bytes_per_s)

    def waits_for_client(self) -> bool:
        return waits_for_client(self._sock)

    def finish(self) -> None:
        """Sends what is left and a close_notify; the client sees an end that nobody forged."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.close()

    def reset(self) -> None:
        reset(self._sock)

    def close(self) -> None:
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # aiofastnet's transports are not asyncio's by class, only by what they do.
        self._transport = cast("aiofastnet.Transport", transport)
        if self._lost:
            self._transport.abort()
            return
        # One piece ahead of the client, and no more: what waits here is memory.
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None and not self._lost:
            self._receiver.received(bytes(data))

    def eof_received(self) -> None:
        if self._receiver is not None and not self._lost:
            self._receiver.ended()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._watching and not self._lost and self._receiver is not None:
            self._watching = False
            self._receiver.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost and self._receiver is not None:
            self._lost = True
            self._receiver.failed()
