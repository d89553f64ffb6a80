"""What an edge worker and the storekeeper say of responses that may change; carried by `oca.ipc`.

edge worker                                    storekeeper
  | Ask(id, key, method, fields)   --------->  nothing fresh here
  | Body(id, data, last)           --------->  of a request that has one, as the client sends it
  | <---------------- Taken(id, count)         so much of it went upstream: send more
  | <---------------- Interim(id, ...)         1xx from the origin
  | <---------------- Reply(id, ...)           the head; with `stored`, the body is in that file
  | <-------------- Grown(number, size)        to all workers: so much of the file is there
  | <---------- Piece(id, data, last)          the body of what is not stored
  | Took(id, count)                --------->  so much of it went to the client: send more
  | Gone(id)                       --------->  the client is gone
  | Missing(number, key)           --------->  its file is not there: forget it
  | <------------------- Drop(keys)            to all workers: these are no longer what they were
"""

from __future__ import annotations

from typing import Final

import msgspec

from oca.httpcache.fields import Fields
from oca.httpcache.policy import Freshness
from oca.httpcache.vary import Selecting

WINDOW_BYTES: Final = 1 << 20
"""Of one body under way between the processes: what a client that stalls costs."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    id: int
    origin: int
    """Which of the configured origins."""
    key: str
    method: str
    fields: Fields
    address: str
    secure: bool
    authorised: bool
    """Whether Authorization is the origin's to judge."""
    body_bytes: int | None = 0
    """Of the request's body, which follows; None for one of unknown length, 0 for none."""


class Body(msgspec.Struct, frozen=True, tag="body"):
    id: int
    data: bytes
    last: bool


class Took(msgspec.Struct, frozen=True, tag="took"):
    id: int
    count: int


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    id: int


class Missing(msgspec.Struct, frozen=True, tag="missing"):
    """The file of this response cannot be opened."""

    number: int
    key: str


class Stored(msgspec.Struct, frozen=True):
    """One stored response, as far as a worker must know it to answer from it alone."""

    number: int
    """Of the file; never used twice while the storekeeper lives."""
    origin: int
    key: str
    path: str
    status: int
    fields: Fields
    selecting: Selecting
    fresh: Freshness
    start: int
    """Where the first byte of the file stands in the representation; 0 but for a part."""
    total: int | None
    """Bytes of the representation; None while that is not known."""
    size: int | None
    """Bytes that the file will have; None while that is not known."""
    ready: int
    """Bytes of it that are there."""
    done: bool


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    id: int
    status: int
    fields: Fields
    cache: str
    """Our member of Cache-Status, without our name."""
    stored: Stored | None = None
    body_bytes: int | None = 0
    """Of the `Piece`s that follow; None when that is not known. Not for what is stored."""
    problem: str | None = None
    """Name of a `contracts.problem.Problem`; then nothing above counts but ``id``."""
    detail: str | None = None


class Interim(msgspec.Struct, frozen=True, tag="interim"):
    id: int
    status: int
    fields: Fields


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    id: int
    count: int


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    id: int
    data: bytes
    last: bool
    cut: bool = False
    """Upstream broke off: so must we."""


class Grown(msgspec.Struct, frozen=True, tag="grown"):
    number: int
    ready: int
    done: bool = False
    cut: bool = False


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    keys: tuple[str, ...]


ToStore = Ask | Body | Took | Gone | Missing
ToEdge = Reply | Interim | Taken | Piece | Grown | Drop
