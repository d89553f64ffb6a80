"""Where steering keeps what a restart, or another replica, must know: named values by kind.

Belongs here: the interface, its engines (`local`: one SQLite file), and the records that are kept.
Does not: what the values mean for a decision. May call: `serve`, `cli` and what keeps state in memory.

A decision never waits for this: everything is read once at start, and answered from memory.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

MAX_VALUE_BYTES: Final = 64 << 20


class Kind(enum.Enum):
    """What is kept, and under which name."""

    APPLIANCE = "appliance"  # what was heard of it last, by its id
    ROUTES = "routes"  # its serial, and which table it announces, by its id
    TABLE = "table"  # routes that are announced together, by their digest in hex
    KEY = "key"  # an enrolled public key, or that it was revoked, by the appliance's id
    CODE = "code"  # an enrolment code's hash, by the appliance's id
    SESSION = "session"  # playback sessions, some hundreds at a time, by the record's name
    REVOKED = "revoked"  # until when a session's tokens are refused, by its name


class Entry(NamedTuple):
    value: bytes
    revision: int
    """Rises with each write of this name; above 0."""


class Write(NamedTuple):
    kind: Kind
    name: str
    value: bytes | None
    """None removes it."""


Listener = Callable[[str, Entry | None], None]
"""Told of a name what it is now; None when it is gone."""


class StoreError(Exception):
    """The engine failed, in a line for an operator. What is in memory stays in force."""


class Store(Protocol):
    """An engine. Every method but `watch` raises `StoreError` when the engine fails."""

    async def load(self, kind: Kind) -> dict[str, Entry]:
        """Everything of one kind, by name."""

    async def get(self, kind: Kind, name: str) -> Entry | None: ...

    async def write(self, writes: Sequence[Write]) -> None:
        """Writes whatever was there before. Durable, in order, and all or none, when it returns."""

    async def replace(self, kind: Kind, name: str, value: bytes | None, revision: int) -> bool:
        """Writes only if the name stands at ``revision`` (0: does not exist). Durable when it returns True.

        False: somebody else was first, in this process or another; nothing was written.
        """

    def watch(self, kind: Kind, listener: Listener) -> None:
        """From `run` on, ``listener`` hears what others write, within a second, and what this process
        writes possibly too.
        """

    async def run(self) -> None:
        """Listens for what others write, until cancelled."""

    async def close(self) -> None: ...


class Bus(Protocol):
    """What replicas tell one another in passing: nothing of it is kept, and some of it may be lost."""

    def tell(self, message: bytes) -> None:
        """Sends it to every other replica, soon; nothing is raised."""

    def hear(self, listener: Callable[[bytes], None]) -> None:
        """While the store runs, ``listener`` is called with what others tell."""


__all__ = ["MAX_VALUE_BYTES", "Bus", "Entry", "Kind", "Listener", "Store", "StoreError", "Write"]
