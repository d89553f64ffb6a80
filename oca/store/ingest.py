"""The fill agent's door: `contracts.ingest` on a Unix socket that only our group may open."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from contracts import VERSION, ingest
from contracts.framing import HEADER_BYTES, BadFrame, pack, payload_length
from contracts.heartbeat import AUDIENCE
from contracts.inforce import InForce
from contracts.ingest import Refusal
from daemon.log import event
from oca.store.incomplete import Corrupt, Incomplete
from oca.store.place import NoRoom
from oca.store.store import Store

log = logging.getLogger("oca.store.ingest")


class IngestServer:
    """``on_adopt`` is told the plan before it is in force, in a thread, to remember it over a restart; it may raise
    OSError. ``identify`` makes a token out to an appliance;
    ``obeyed`` says which catalog is.
    """

    def __init__(
        self,
        store: Store,
        on_adopt: Callable[[ingest.Adopt], None],
        identify: Callable[[str], str] | None = None,
        obeyed: Callable[[], InForce | None] = lambda: None,
    ) -> None:
        self._store = store
        self._on_adopt = on_adopt
        self._identify = identify
        self._obeyed = obeyed

    async def listen(self, path: Path) -> asyncio.Server:
        path.unlink(missing_ok=True)
        before = os.umask(0o117)  # rw-rw----: the socket's permissions are the authentication
        try:
            return await asyncio.start_unix_server(self._serve, path)
        finally:
            os.umask(before)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = await reader.readexactly(HEADER_BYTES)
                payload = await reader.readexactly(payload_length(header))
                reply = await self._answer(ingest.decode_request(payload))
                writer.write(pack(ingest.encode(reply)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the agent hung up, or was killed: what it reserved stays, and it comes back for it
        except (BadFrame, msgspec.MsgspecError) as error:
            event(log, "ingest client refused", logging.WARNING, why=str(error))
        finally:
            writer.close()

    async def _answer(self, request: ingest.Request) -> ingest.Reply:
        if isinstance(request, ingest.Adopt):
            return await self._adopt(request)
        if isinstance(request, ingest.Reserve):
            return await self._reserve(request)
        if isinstance(request, ingest.Wrote):
            return await self._wrote(request)
        if isinstance(request, ingest.Abort):
            return self._abort(request)
        if isinstance(request, ingest.Commit):
            return await self._commit(request)
        if isinstance(request, ingest.Which):
            return ingest.Adopted(
                tuple(key for key in request.keys if self._store.index.get(key) is not None)
            )
        if isinstance(request, ingest.Token):
            return self._token(request.audience)
        return holdings(self._store, self._obeyed())

    def _token(self, audience: str) -> ingest.Reply:
        # Steering is told of us by the heartbeat alone.
        if self._identify is None or audience == AUDIENCE:
            return ingest.Refused(Refusal.IDENTITY, f"no token is made out to {audience!r}")
        return ingest.Issued(self._identify(audience))

    async def _adopt(self, request: ingest.Adopt) -> ingest.Reply:
        if request.contract != VERSION:
            return ingest.Refused(
                Refusal.CONTRACT,
                f"the agent speaks contract version {request.contract}, and the storekeeper {VERSION}",
            )
        try:
            await asyncio.to_thread(self._on_adopt, request)
        except OSError as error:
            # Obeyed and forgotten, an older one could be put in its place after a restart.
            return ingest.Refused(Refusal.DISK, f"the plan cannot be kept for a restart: {error}")
        planned = {item.key: item.size for item in request.objects}
        self._store.adopt(request.version, planned, request.issued_at)
        held = tuple(item.key for item in request.objects if self._store.index.get(item.key) is not None)
        event(log, "plan adopted", version=request.version, objects=len(request.objects), held=len(held))
        return ingest.Adopted(held)

    async def _reserve(self, request: ingest.Reserve) -> ingest.Reply:
        item = request.object
        entry = await self._store.held(item.key)
        if entry is not None and entry.etag == item.etag and entry.size == item.size:
            return ingest.Held()
        try:
            begun = await self._store.begin(item, allocate=True)
            await self._store.verify(begun, begun.missing())
        except NoRoom as error:
            return ingest.Refused(Refusal.NO_ROOM, str(error))
        except OSError as error:
            return ingest.Refused(Refusal.DISK, f"{item.key}: {error.strerror}")
        if self._store.incomplete.get(item.key) is not begun:
            return self._elsewhere(item.key, item.etag, begun)
        return ingest.Reserved(str(begun.path), tuple(i for i in range(begun.slices) if begun.has(i)))

    async def _wrote(self, request: ingest.Wrote) -> ingest.Reply:
        """Counts slices once they are read back: they are served, and not fetched again, from now on."""
        begun = self._store.incomplete.get(request.key)
        if begun is None:
            return self._elsewhere(request.key, request.etag, None)
        said = range(request.index, request.index + request.count)
        if begun.item.etag != request.etag or said.stop > begun.slices:
            return ingest.Refused(Refusal.UNKNOWN, f"{request.key} was reserved for other bytes since")
        unread = [index for index in said if not begun.has(index)]
        if unread:
            await self._store.verify(begun, unread, request.inode)
        if self._store.incomplete.get(request.key) is not begun:
            return self._elsewhere(request.key, request.etag, begun)
        wrong = tuple(index for index in unread if not begun.has(index))
        if wrong:
            # Most often another file: dropped and begun again by pull-through since it was reserved.
            detail = f"{request.key}: slice {wrong[0]} is not in its file"
            return ingest.Refused(Refusal.CORRUPT, detail, wrong)
        return ingest.Noted()

    def _elsewhere(self, key: str, etag: str, begun: Incomplete | None) -> ingest.Reply:
        """What to say of an object that is no longer (``begun``: as we knew it) incomplete."""
        entry = self._store.index.get(key)
        if entry is not None and entry.etag == etag:
            return ingest.Held()  # pull-through was faster
        if begun is not None and not begun.disk.in_service:
            return ingest.Refused(Refusal.DISK, f"{key}: {begun.disk.why}")
        return ingest.Refused(Refusal.UNKNOWN, f"{key} was not reserved, or purged since")

    def _abort(self, request: ingest.Abort) -> ingest.Reply:
        begun = self._store.incomplete.get(request.key)
        if begun is None or begun.item.etag != request.etag:
            return ingest.Noted()
        error = OSError(request.errno, os.strerror(request.errno))
        event(log, "fill gave up a file", logging.WARNING, key=request.key, why=error.strerror)
        begun.failed = True
        # Permission is the agent's own affair, whose group may be wrong: it does not speak against the disk.
        if isinstance(error, PermissionError) or not self._store.blame(begun.disk, error):
            self._store.abandon(begun)
        return ingest.Noted()

    async def _commit(self, request: ingest.Commit) -> ingest.Reply:
        begun = self._store.incomplete.get(request.key)
        if begun is None:
            if self._store.index.get(request.key) is not None:
                return ingest.Committed()  # pull-through was faster by a slice
            return ingest.Refused(Refusal.UNKNOWN, f"{request.key} was not reserved, or purged since")
        try:
            await self._store.finish(begun, recheck=True)
        except Corrupt as error:
            return ingest.Refused(Refusal.CORRUPT, str(error), tuple(error.slices))
        except OSError as error:
            return ingest.Refused(Refusal.DISK, f"{request.key}: {error.strerror}")
        return ingest.Committed()


def holdings(store: Store, catalog: InForce | None = None) -> ingest.Holdings:
    """What the store has, beside what its plan wants."""
    held_objects, held_bytes = store.index.in_plan()
    total_bytes = sum(entry.size for entry in store.index)
    return ingest.Holdings(
        appliance=store.appliance,
        plan=store.plan,
        planned_objects=len(store.index.pinned),
        planned_bytes=sum(store.index.pinned.values()),
        held_objects=held_objects,
        held_bytes=held_bytes,
        other_objects=len(store.index) - held_objects,
        other_bytes=total_bytes - held_bytes,
        incomplete=tuple(
            ingest.Incomplete(key, item.item.size, item.verified) for key, item in store.incomplete.items()
        ),
        plan_issued_at=store.plan_issued_at,
        catalog=catalog,
    )
