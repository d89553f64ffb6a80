"""What edge workers and the storekeeper say to one another, over a Unix stream socket.

A hit needs no message. A worker that lacks an object sends `Locate`; one that lacks slices of an
object it has open sends `Want`. Everything else is told to all workers as it happens. Messages are
keyed by object, not by request, so that any number of players waiting in one worker cost one.

    edge worker                                  storekeeper
      | Locate(key)         ------------------>  on a disk, or in the catalog, or nowhere
      | <--------- Found(key, disk, verified)    or Failed
      | Want(key, first, last) --------------->  fetched from upstream, once for everybody
      | <------------- Ready(key, first, last)   as they are verified, or Failed
      | <---------------------- Complete(key)    the file lies under objects/ now
      | <------------------------ Forget(keys)   evicted or replaced: close it
      | <------------------- Disks(in service)   look there and nowhere else, keep nothing of others open
      | <--------------------------- Sync(n)
      | Synced(n)           ------------------>  what was told before Sync has taken effect here
      | <--------------- Revoke(sessions)        tokens that are worth nothing any more
      | <--------------------- Keys(jwks)        what tokens are checked with from now on
      | Report(...)         ------------------>  once a second: what was counted since the last

Of responses that may change they speak in `oca.httpcache.messages`, over the same line.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from oca.counters import Counters, Histograms
from oca.httpcache import messages

SOCKET_NAME: Final = "edge.sock"


class Outcome(enum.Enum):
    """Why a worker does not get what it asked for, and what it then tells its players."""

    UNKNOWN = "unknown"  # not in the catalog: 404
    NO_CATALOG = "no_catalog"  # the catalog was never read and the object is not here: 503
    UPSTREAM = "upstream"  # every upstream failed or lied: 502
    SLOW = "slow"  # no upstream answered in time: 504
    NO_ROOM = "no_room"  # no disk can take it: 503
    ABSENT = "absent"  # not here, and nothing was to be fetched: 504
    LOST = "lost"  # the storekeeper went away: 503, and another appliance is a moment away


class Locate(msgspec.Struct, frozen=True, tag="locate"):
    key: str
    begin: bool = True
    """Whether it is to be begun where it is not here."""


class Want(msgspec.Struct, frozen=True, tag="want"):
    key: str
    first: int
    last: int
    """The last slice wanted, inclusive."""


class Playback(msgspec.Struct, array_like=True):
    """What players said of themselves (CMCD) when they asked for an object: sums, and of how many."""

    requests: int = 0
    starvations: int = 0
    buffers: int = 0
    buffer_s: float = 0.0
    bitrates: int = 0
    bitrate_bps: int = 0

    def add(self, other: Playback) -> None:
        self.requests += other.requests
        self.starvations += other.starvations
        self.buffers += other.buffers
        self.buffer_s += other.buffer_s
        self.bitrates += other.bitrates
        self.bitrate_bps += other.bitrate_bps


class Touch(msgspec.Struct, frozen=True, array_like=True):
    """What clients of one network had of one object, since the last report."""

    key: str
    network: str
    hits: int
    misses: int
    hit_bytes: int
    miss_bytes: int
    sessions: tuple[int, ...]
    """Of `oca.sessions`: at most `KEPT`."""
    playback: Playback | None = None


class Votes(msgspec.Struct, frozen=True, array_like=True):
    """What players of one network went through since the last report: sessions of `oca.sessions` that a token names."""

    network: str
    """An IPv4 /24 or an IPv6 /48."""
    seen: tuple[int, ...]
    """Who was sent something of an object."""
    starved: tuple[int, ...]
    """Who said that its buffer ran empty since its last request, here or elsewhere."""
    slowed: tuple[int, ...]
    """Who was sent something more slowly than it plays, and took it as fast as it came."""


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Everything but ``connections`` is since the last report."""

    worker: int
    counters: Counters
    histograms: Histograms
    refusals: dict[str, int]
    """Tokens refused, by reason."""
    connections: int
    touched: tuple[Touch, ...]
    votes: tuple[Votes, ...] = ()


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """A read of this object failed with this errno: the disk under it may be dying."""

    key: str
    disk: str
    errno: int


class Sync(msgspec.Struct, frozen=True, tag="sync"):
    number: int


class Synced(msgspec.Struct, frozen=True, tag="synced"):
    number: int


class Found(msgspec.Struct, frozen=True, tag="found"):
    key: str
    disk: str
    verified: bytes | None
    """Bit i (of byte i // 8, least significant first) is slice i; None when the object is complete."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Slices ``first`` to ``last``, inclusive."""

    key: str
    first: int
    last: int


def ready(key: str, indices: Sequence[int]) -> list[Ready]:
    """A message for each run of neighbours in ``indices``, which rise."""
    found: list[Ready] = []
    for index in indices:
        if found and index == found[-1].last + 1:
            found[-1] = Ready(key, found[-1].first, index)
        else:
            found.append(Ready(key, index, index))
    return found


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    key: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Without slices: the object itself. With: those from ``first`` to ``last``."""

    key: str
    outcome: Outcome
    first: int = 0
    last: int = -1


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    keys: tuple[str, ...]
    disk: str = ""
    """Only what is open from this disk; from any when empty."""


class Disks(msgspec.Struct, frozen=True, tag="disks"):
    """The disks in service, from now on."""

    in_service: tuple[str, ...]


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    on: bool


class Revoke(msgspec.Struct, frozen=True, tag="revoke"):
    """From now on these sessions, and no others, are revoked."""

    sessions: frozenset[str]


class Keys(msgspec.Struct, frozen=True, tag="keys"):
    """From now on viewers' tokens are checked with these public keys (a JWK Set), and no others."""

    jwks: bytes


ToStore: TypeAlias = Locate | Want | Report | Fault | Synced | messages.ToStore
ToEdge: TypeAlias = (
    Found | Ready | Complete | Failed | Forget | Disks | Sync | Drain | Revoke | Keys | messages.ToEdge
)

encode = msgspec.msgpack.Encoder().encode
decode_to_store = msgspec.msgpack.Decoder(ToStore).decode
decode_to_edge = msgspec.msgpack.Decoder(ToEdge).decode
