"""Our side of `contracts.ingest`: one blocking Unix socket, one request at a time."""

from __future__ import annotations

import errno
import socket
from types import TracebackType
from typing import Final, TypeVar

import msgspec

from contracts import ingest
from contracts.catalog import CatalogObject
from contracts.framing import HEADER_BYTES, BadFrame, pack, payload_length

_TIMEOUT_S: Final = 900
"""The longest answer hashes and syncs an object: 20 GB at the 50 MB/s of a busy disk take 400 s."""

_ADVICE: Final = {
    errno.ENOENT: "no such socket: is `oca serve` running, and agent.ingest_socket right?",
    errno.ECONNREFUSED: "nobody listens: is `oca serve` running?",
    errno.EACCES: "permission denied: run as a user of the appliance's group",
}

T = TypeVar("T")


class StorekeeperGone(Exception):
    """No storekeeper, or one that stopped answering; the message names the socket."""


class Refused(Exception):
    """The storekeeper said no; ``why`` says what to do about it."""

    def __init__(self, refused: ingest.Refused) -> None:
        super().__init__(refused.detail)
        self.why = refused.why
        self.slices = refused.slices


class Storekeeper:
    """Raises `StorekeeperGone` and `Refused` from every call."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(_TIMEOUT_S)
        try:
            made.connect(self.path)
        except OSError as error:
            made.close()
            why = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
            raise StorekeeperGone(f"{self.path}: {why}") from None
        return made

    def reconnect(self) -> None:
        """A new connection in the place of one that broke; raises `StorekeeperGone` when there is none yet."""
        self._socket.close()
        self._socket = self._connected()

    def __enter__(self) -> Storekeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def adopt(self, request: ingest.Adopt) -> ingest.Adopted:
        return self._expect(request, ingest.Adopted)

    def reserve(self, request: ingest.Reserve) -> ingest.Reserved | None:
        """Where to write; None when the object is held already."""
        reply = self._ask(request)
        if isinstance(reply, ingest.Held):
            return None
        return self._of(reply, ingest.Reserved)

    def wrote(self, item: CatalogObject, index: int, count: int = 1, inode: int = 0) -> bool:
        """Tells of slices that are in the reserved file; False when the object is complete already."""
        reply = self._ask(ingest.Wrote(item.key, item.etag, index, count, inode))
        if isinstance(reply, ingest.Held):
            return False
        self._of(reply, ingest.Noted)
        return True

    def abort(self, item: CatalogObject, error_number: int) -> None:
        """Gives the reserved file up, as it cannot be written."""
        self._expect(ingest.Abort(item.key, item.etag, error_number), ingest.Noted)

    def commit(self, key: str) -> None:
        self._expect(ingest.Commit(key), ingest.Committed)

    def which(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Those of ``keys`` that are complete."""
        return frozenset(self._expect(ingest.Which(keys), ingest.Adopted).held)

    def token(self, audience: str) -> str:
        """Who we are to ``audience``, good for a minute."""
        return self._expect(ingest.Token(audience), ingest.Issued).token

    def holdings(self) -> ingest.Holdings:
        return self._expect(ingest.Ask(), ingest.Holdings)

    def _expect(self, request: ingest.Request, kind: type[T]) -> T:
        return self._of(self._ask(request), kind)

    def _of(self, reply: ingest.Reply, kind: type[T]) -> T:
        if not isinstance(reply, kind):
            raise StorekeeperGone(f"{self.path}: answered {type(reply).__name__} out of turn")
        return reply

    def _ask(self, request: ingest.Request) -> ingest.Reply:
        try:
            self._socket.sendall(pack(ingest.encode(request)))
            reply: ingest.Reply = ingest.decode_reply(self._read(payload_length(self._read(HEADER_BYTES))))
        except TimeoutError:
            raise StorekeeperGone(f"{self.path}: no answer within {_TIMEOUT_S} s") from None
        except (OSError, BadFrame, msgspec.MsgspecError) as error:
            raise StorekeeperGone(f"{self.path}: {error}") from None
        if isinstance(reply, ingest.Refused):
            raise Refused(reply)
        return reply

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise StorekeeperGone(f"{self.path}: the storekeeper hung up")
            data += part
        return bytes(data)
