"""Sessions whose tokens are worth nothing any more, though they have not expired.

A token is checked by appliances alone, with a public key and a clock. So that one can be taken back all
the same, every appliance is told the list with the answer to its heartbeat. It is kept in the store: a
steering that forgot it at a restart would give back what it had taken, and every replica tells the same list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from heapq import nlargest
from pathlib import Path
from typing import Final

import msgspec

from contracts.heartbeat import MAX_REVOKED, Revocations
from daemon.config import ConfigError
from steering.store import Entry, Kind, Store, Write

OLD_FILE_NAME: Final = "revocations.json"
"""Where an older steering kept the list."""
_GRACE_S: Final = 300
"""Beyond the end of a session's tokens: the clocks of replicas and appliances differ, and a second more costs nothing."""


class TooMany(Exception):
    """The list is full; what stands on it expires within the lifetime of a token."""


class RevokedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Kept by the session's name. A field that a reader does not know is none of its business."""

    until: float
    """Seconds since 1970; by then its tokens have expired."""
    version: int = 1


class _OldFile(msgspec.Struct):
    until: dict[str, float]


class RevocationList:
    """What the store has, in memory. Its version follows from what stands on it, and is every replica's."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._told: Revocations | None = None

    def load(self, entries: Mapping[str, Entry]) -> None:
        """At start."""
        for name, entry in entries.items():
            self.changed(name, entry)

    def changed(self, name: str, entry: Entry | None) -> None:
        """The store's word on one session; see `Store.watch`."""
        if entry is None:
            self._until.pop(name, None)
        else:
            try:
                self._until[name] = msgspec.json.decode(entry.value, type=RevokedRecord).until
            except msgspec.MsgspecError:
                # Of another version: it says that the session is revoked, and nothing that lifts it.
                self._until[name] = float("inf")
        self._told = None

    async def revoke(self, store: Store, session: str, until: float, now: float) -> None:
        """Puts ``session`` on the list until ``until`` (seconds since 1970), for every replica.

        It is on the disk when this returns. Raises `TooMany`, `StoreError`.
        """
        over = [name for name, end in self._until.items() if end + _GRACE_S < now and name != session]
        if session not in self._until and len(self._until) - len(over) >= MAX_REVOKED:
            raise TooMany(f"{MAX_REVOKED} sessions are revoked already")
        until = max(until, self._until.get(session, 0.0))
        await store.write([_write(session, until), *(Write(Kind.REVOKED, name, None) for name in over)])
        # At once here: a store tells of what is written a moment later.
        for name in over:
            self._until.pop(name, None)
        self._until[session] = until
        self._told = None

    def is_revoked(self, session: str) -> bool:
        return session in self._until

    def news(self, known: str) -> Revocations | None:
        """The list for an appliance that has the version ``known``; None when that is this one."""
        if not known and not self._until:
            return None
        told = self._told
        if told is None:
            # Two replicas at once may put one too many on it, and an appliance takes no longer list.
            names = tuple(sorted(nlargest(MAX_REVOKED, self._until, key=self._until.__getitem__)))
            told = self._told = Revocations(hashlib.sha256(",".join(names).encode()).hexdigest()[:16], names)
        return None if known == told.version else told


async def adopt_old_file(store: Store, file: Path) -> None:
    """Puts what an older steering had in a file into the store, and removes the file.

    Raises `ConfigError`, `StoreError`.
    """
    try:
        old = msgspec.json.decode(file.read_bytes(), type=_OldFile)
        await store.write([_write(name, until) for name, until in old.until.items()])
        file.unlink()
    except FileNotFoundError:
        return
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file}: {error}: mend it, or remove it to revoke nothing") from None


def _write(session: str, until: float) -> Write:
    return Write(Kind.REVOKED, session, msgspec.json.encode(RevokedRecord(until)))
