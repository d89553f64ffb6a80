"""The store of several steering replicas: a key-value bucket of NATS JetStream, which each of them watches.

A value that does not fit into one message of NATS (1 MiB) lies in parts beside its head, which names them: a
reader that finds a part gone reads the head again, for the value has been replaced meanwhile.

Unlike a file, a bucket takes no two writes as one: `NatsStore.write` is in order and durable, and may end half-way
when NATS goes away; whoever gets the error writes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import KeyValueConfig, StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
)
from nats.js.kv import KeyValue

from steering.store import MAX_VALUE_BYTES, Entry, Kind, Listener, StoreError, Write

SCHEMA: Final = 1
"""Part of the bucket's name: a change that an older program would misread gets a bucket of its own."""
BUCKET: Final = f"steering_{SCHEMA}"

_WAIT_S: Final = 5.0
"""For each answer of NATS."""
_PART_BYTES: Final = 512 << 10
_WHOLE: Final = b"\x00"
_PARTED: Final = b"\x01"
_AT_ONCE: Final = 200
_TRIES: Final = 5
_TELLING: Final = 20_000
"""Messages that wait for NATS: a heartbeat of every appliance of a large fleet."""
_AGAIN_S: Final = 1.0
_WRONG_LAST_SEQUENCE: Final = 10071
"""JetStream's err_code of an expected revision that is not the last."""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    parts: int


class NatsStore:
    """Made by `open_store`."""

    def __init__(self, client: Client, bucket: KeyValue) -> None:
        self._client = client
        self._bucket = bucket
        self._listeners: dict[Kind, list[Listener]] = {}
        self._seen: dict[Kind, dict[str, int]] = {}
        self._told: list[Callable[[bytes], None]] = []
        self._telling: asyncio.Queue[bytes] = asyncio.Queue(_TELLING)

    def tell(self, message: bytes) -> None:
        if self._telling.full():
            self._telling.get_nowait()  # NATS is away: the newest is worth most
        self._telling.put_nowait(message)

    def hear(self, listener: Callable[[bytes], None]) -> None:
        self._told.append(listener)

    async def load(self, kind: Kind) -> dict[str, Entry]:
        with _said():
            return {name: entry async for name, entry in self._all(kind)}

    async def get(self, kind: Kind, name: str) -> Entry | None:
        with _said():
            return await self._get(kind, name)

    async def write(self, writes: Sequence[Write]) -> None:
        with _said():
            for at in range(0, len(writes), _AT_ONCE):
                # Sent in order, one after the other; only their confirmations are waited for together.
                await asyncio.gather(*(self._put(write) for write in writes[at : at + _AT_ONCE]))

    async def _put(self, write: Write) -> None:
        if write.value is None:
            await self._bucket.delete(_key(write.kind, write.name))
        else:
            body = await self._body(write.kind, write.name, write.value)
            await self._bucket.put(_key(write.kind, write.name), body)
        await self._sweep(write.kind, write.name, write.value)

    async def replace(self, kind: Kind, name: str, value: bytes | None, revision: int) -> bool:
        key = _key(kind, name)
        with _said():
            try:
                if value is None:
                    if not revision:
                        return await self._get(kind, name) is None
                    await self._bucket.delete(key, last=revision)
                elif revision:
                    await self._bucket.update(key, await self._body(kind, name, value), last=revision)
                else:
                    await self._bucket.create(key, await self._body(kind, name, value))
            except KeyWrongLastSequenceError:
                return False
            except APIError as error:  # of a deletion, which the client does not name so
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    return False
                raise
            await self._sweep(kind, name, value)
            return True

    def watch(self, kind: Kind, listener: Listener) -> None:
        self._listeners.setdefault(kind, []).append(listener)

    async def run(self) -> None:
        """Each kind is followed by itself, and from the beginning again when NATS was away."""
        async with asyncio.TaskGroup() as group:
            for kind in self._listeners:
                group.create_task(self._follow(kind))
            if self._told:
                group.create_task(self._talk())

    async def close(self) -> None:
        with contextlib.suppress(Error, TimeoutError):
            await self._client.close()

    async def _talk(self) -> None:
        async def told(message: Msg) -> None:
            for listener in self._told:
                listener(message.data)

        # It stays subscribed through every reconnection.
        await self._client.subscribe(f"{BUCKET}.told", cb=told)
        while True:
            message = await self._telling.get()
            with contextlib.suppress(Error, TimeoutError):
                await self._client.publish(f"{BUCKET}.told", message)

    async def _follow(self, kind: Kind) -> None:
        while True:
            # What is in memory serves on; what was missed is told once NATS answers.
            with contextlib.suppress(Error, TimeoutError, StoreError):
                watcher: Any = await self._bucket.watch(f"{kind.value}.*")
                try:
                    await self._listen(kind, watcher)
                finally:
                    with contextlib.suppress(Error, TimeoutError):
                        await watcher.stop()
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, kind: Kind, watcher: Any) -> None:
        """Tells what ``watcher`` brings, and at its first pause what went while nobody watched."""
        known = self._seen.setdefault(kind, {})
        here: set[str] | None = set()
        while True:
            try:
                update = await watcher.updates(timeout=_WAIT_S)
            except TimeoutError:
                if not self._client.is_connected:
                    return
                continue
            if update is None:
                for name in [name for name in known if here is not None and name not in here]:
                    self._tell(kind, name, None)
                here = None
                continue
            name = _name(update.key)
            entry = None if update.operation else await self._read(kind, name, update.value, update.revision)
            if here is not None and entry is not None:
                here.add(name)
            if known.get(name) != (entry.revision if entry else None):
                self._tell(kind, name, entry)

    def _tell(self, kind: Kind, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._seen[kind].pop(name, None)
        else:
            self._seen[kind][name] = entry.revision
        for listener in self._listeners[kind]:
            listener(name, entry)

    async def _all(self, kind: Kind) -> AsyncIterator[tuple[str, Entry]]:
        watcher: Any = await self._bucket.watch(f"{kind.value}.*", ignore_deletes=True)
        try:
            while (update := await watcher.updates(timeout=_WAIT_S)) is not None:
                name = _name(update.key)
                entry = await self._read(kind, name, update.value, update.revision)
                if entry is not None:
                    yield name, entry
        finally:
            await watcher.stop()

    async def _get(self, kind: Kind, name: str) -> Entry | None:
        for _ in range(_TRIES):
            try:
                found = await self._bucket.get(_key(kind, name))
            except (KeyNotFoundError, KeyDeletedError):
                return None
            value = await self._value(kind, name, found.value or b"")
            if value is not None:
                return Entry(value, found.revision or 0)
        raise StoreError(f"NATS: parts of {kind.value} {name} are missing")

    async def _read(self, kind: Kind, name: str, body: bytes, revision: int) -> Entry | None:
        value = await self._value(kind, name, body)
        return Entry(value, revision) if value is not None else await self._get(kind, name)

    async def _value(self, kind: Kind, name: str, body: bytes) -> bytes | None:
        """What ``body`` stands for; None when a part of it is gone. Raises `StoreError` on what is not ours."""
        if body[:1] == _WHOLE:
            return body[1:]
        try:
            if body[:1] != _PARTED:
                raise ValueError("neither a value nor a head")
            head = msgspec.json.decode(body[1:], type=_Head)
        except ValueError as error:
            raise StoreError(f"NATS: {kind.value} {name} was not written by steering: {error}") from None
        pieces = []
        for part in range(min(head.parts, MAX_VALUE_BYTES // _PART_BYTES + 1)):
            try:
                pieces.append((await self._bucket.get(_part(kind, name, head.digest, part))).value or b"")
            except (KeyNotFoundError, KeyDeletedError):
                return None
        value = b"".join(pieces)
        return value if hashlib.sha256(value).hexdigest() == head.digest else None

    async def _body(self, kind: Kind, name: str, value: bytes) -> bytes:
        """What goes under the name itself; parts are written first, so that a head never lacks one."""
        if len(value) > MAX_VALUE_BYTES:
            raise StoreError(
                f"{kind.value} {name}: {len(value)} bytes, and at most {MAX_VALUE_BYTES} are kept"
            )
        if len(value) <= _PART_BYTES:
            return _WHOLE + value
        digest = hashlib.sha256(value).hexdigest()
        starts = range(0, len(value), _PART_BYTES)
        for part, start in enumerate(starts):
            await self._bucket.put(_part(kind, name, digest, part), value[start : start + _PART_BYTES])
        return _PARTED + msgspec.json.encode(_Head(digest, len(starts)))

    async def _sweep(self, kind: Kind, name: str, value: bytes | None) -> None:
        """Removes parts of what the name held before. Only tables are so large that they have some."""
        if kind is not Kind.TABLE:
            return
        kept = "" if value is None else hashlib.sha256(value).hexdigest()
        watcher: Any = await self._bucket.watch(
            f"part.{kind.value}.{name}.*.*", meta_only=True, ignore_deletes=True
        )
        try:
            while (update := await watcher.updates(timeout=_WAIT_S)) is not None:
                if update.key.split(".")[3] != kept:
                    await self._bucket.purge(update.key)
        finally:
            await watcher.stop()


async def open_store(
    servers: Sequence[str], *, replicas: int = 1, credentials: str | None = None
) -> NatsStore:
    """Connects, and makes the bucket where there is none. Raises `StoreError`."""

    async def quiet(_: Exception) -> None:
        """What fails is raised where it was asked; a reconnection is nobody's news."""

    connecting = nats.connect(
        list(servers),
        name="nearcast steering",
        connect_timeout=_WAIT_S,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
        ping_interval=2,
        max_outstanding_pings=2,
        no_echo=True,
        user_credentials=credentials,
        error_cb=quiet,
    )
    with _said():
        try:
            # Its own patience is without end, for a server that is away later; at start somebody waits.
            client = await asyncio.wait_for(connecting, _WAIT_S)
        except TimeoutError:
            raise StoreError(
                f"NATS: no answer within {_WAIT_S:.0f} s of {', '.join(map(_without_secret, servers))}"
            ) from None
        try:
            return NatsStore(client, await _bucket(client.jetstream(timeout=_WAIT_S), replicas))
        except BaseException:
            await client.close()
            raise


async def _bucket(stream: JetStreamContext, replicas: int) -> KeyValue:
    try:
        return await stream.key_value(BUCKET)
    except BucketNotFoundError:
        return await stream.create_key_value(
            KeyValueConfig(bucket=BUCKET, history=1, storage=StorageType.FILE, replicas=replicas)
        )


@contextlib.contextmanager
def _said() -> Any:
    """An error of NATS as the store's own."""
    try:
        yield
    except (Error, TimeoutError, OSError) as error:
        raise StoreError(f"NATS: {error or type(error).__name__}") from None


def _key(kind: Kind, name: str) -> str:
    return f"{kind.value}.{name}"


def _part(kind: Kind, name: str, digest: str, part: int) -> str:
    return f"part.{kind.value}.{name}.{digest}.{part}"


def _name(key: str) -> str:
    return key.partition(".")[2]


def _without_secret(url: str) -> str:
    """A user and a password may stand before the host."""
    return url.rpartition("@")[2]
