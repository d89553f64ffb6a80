"""How players' sessions are kept: some hundreds in one record, for thousands are answered each second.

A session that is answered again is in a later record too, and the later one counts. A record goes when all of its
sessions have expired. Records of one session under its own name are those of an older version, and are read.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from steering.sessions import MAX_SESSIONS, Session
from steering.store import Entry, Kind, Write

BATCH: Final = 500
"""Sessions in a record, made in a millisecond: 50 KB."""
MAX_KEPT: Final = 2 * MAX_SESSIONS
"""With those that are in several records."""

Named = list[tuple[str, Session]]


class _Batch(msgspec.Struct):
    sessions: Named
    version: int = 1


_encode = msgspec.msgpack.Encoder().encode
_batch = msgspec.msgpack.Decoder(_Batch).decode
_single = msgspec.msgpack.Decoder(Session).decode


def read(name: str, value: bytes) -> Named:
    """The sessions in a record; raises `msgspec.MsgspecError` on one of a version that is not known here."""
    try:
        return _batch(value).sessions
    except msgspec.ValidationError:
        return [(name, _single(value))]


def read_all(entries: Mapping[str, Entry]) -> tuple[dict[str, Session], int]:
    """Every session as it was kept last, the first to expire first; and how many records could not be read."""
    found: dict[str, Session] = {}
    unread = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].revision):
        try:
            found.update(read(name, entry.value))
        except msgspec.MsgspecError:
            unread += 1
    return dict(sorted(found.items(), key=lambda item: item[1].expires_at)), unread


class Records:
    """Those that are in the store and ours to remove. ``draw`` gives a name that nobody else gives."""

    def __init__(self, draw: Callable[[], str] = lambda: f"batch-{secrets.token_hex(8)}") -> None:
        self._draw = draw
        self._kept: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._count = 0

    def made(self, sessions: Named) -> Write:
        """A new record of these."""
        name = self._draw()
        self._keep(name, sessions)
        return Write(Kind.SESSION, name, _encode(_Batch(sessions)))

    def adopt(self, entries: Mapping[str, Entry]) -> None:
        """What was in the store at start, whoever wrote it."""
        for name, entry in sorted(entries.items(), key=lambda item: item[1].revision):
            try:
                self._keep(name, read(name, entry.value))
            except msgspec.MsgspecError:
                continue  # a newer version's, which removes it

    def _keep(self, name: str, sessions: Iterable[tuple[str, Session]]) -> None:
        ends = [session.expires_at for _, session in sessions]
        self._kept[name] = max(ends, default=0.0), len(ends)
        self._count += len(ends)

    def ended(self, now: float) -> Iterator[Write]:
        """Removes those that are of no use any more, the oldest first; ``now`` is seconds since 1970."""
        while self._kept:
            name, (ends_at, count) = next(iter(self._kept.items()))
            if ends_at > now and self._count <= MAX_KEPT:
                return
            del self._kept[name]
            self._count -= count
            yield Write(Kind.SESSION, name, None)
