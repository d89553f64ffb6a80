"""How the fill agent puts objects onto an appliance: reserve, write, commit.

One Unix stream socket, messages framed by `contracts.framing`, each the msgpack of a tagged struct;
one answer to each request, in order. The socket's file permissions are the authentication.

    agent                                    storekeeper
      | Adopt(plan)        ------------------->  pins what it names
      | <------------------------  Adopted(held)
      | Reserve(object)    ------------------->  finds room on a disk, makes the incomplete file
      | <-----------  Reserved(path, verified)  or Held or Refused
      | pwrite(a verified slice) into path
      | Wrote(key, slices) ------------------->  hashes it, counts and serves it from now on
      | <-------------------  Noted  or Held or Refused
      | Abort(key, errno)  ------------------->  only when pwrite fails: drops it, may blame the disk
      | <------------------------------- Noted
      | Commit(key)        ------------------->  hashes what it was not told of, fsync, rename, index
      | <--------------------------- Committed  or Refused

An incomplete file takes only slices whose digest was checked in memory; pull-through may write the
same file at the same time, because both can only ever write the same bytes. Nothing else is
journalled: after a crash the storekeeper hashes the file to learn which slices it has.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import CatalogObject, ETag, Key, Version
from contracts.inforce import InForce, IssuedAt

SOCKET_NAME: Final = "ingest.sock"


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    key: Key
    size: int


class Refusal(enum.Enum):
    """Why the storekeeper did not do it, and what the agent then does."""

    NO_ROOM = "no_room"  # leave the object out, go on with the next, exit 1 at the end
    CORRUPT = "corrupt"  # the named slices are dropped: fetch them again
    UNKNOWN = "unknown"  # not reserved, or no longer (evicted, purged, replaced): reserve again
    DISK = "disk"  # the disk failed underneath: reserve again, another disk is chosen
    IDENTITY = "identity"  # no token for this audience: fill without it
    CONTRACT = "contract"  # the two programs are of different versions: stop


class Adopt(msgspec.Struct, frozen=True, tag="adopt"):
    """From now on this is the plan: what it names is pinned, what it does not may be evicted."""

    version: Version
    objects: tuple[Wanted, ...]
    contract: int = VERSION
    issued_at: IssuedAt = 0
    """Of the signed `plans/latest` that was obeyed: kept with the plan over a restart, and told in `Holdings`."""


class Reserve(msgspec.Struct, frozen=True, tag="reserve"):
    object: CatalogObject


class Commit(msgspec.Struct, frozen=True, tag="commit"):
    key: Key


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """The slices are in the reserved file. Not believed: the storekeeper reads them back. With the ``inode`` of
    the file that was written it takes the word of an agent that verified them for most: it looks whether this
    is still the reserved file, whether anything was written there, and reads back one slice of sixteen.

    Answered by `Noted`, by `Held` when pull-through completed the object meanwhile, or by `Refused`.
    """

    key: Key
    etag: Annotated[ETag, Meta(description="of the object that was reserved")]
    index: Annotated[int, Meta(ge=0)]
    count: Annotated[int, Meta(ge=1, le=1 << 20, description="of slices, from `index` on")] = 1
    inode: Annotated[int, Meta(ge=0, description="st_ino of the file; 0 is not known")] = 0


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Writing the reserved file failed: drop it, so that the next reserve makes another."""

    key: Key
    etag: Annotated[ETag, Meta(description="of the object that was reserved")]
    errno: Annotated[
        int, Meta(ge=0, le=4095, description="what the kernel said; EIO speaks against the disk")
    ]


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """What is here? Answered by `Holdings`."""


class Which(msgspec.Struct, frozen=True, tag="which"):
    """Which of these are complete? Answered by `Adopted`; nothing is adopted."""

    keys: tuple[str, ...]


class Token(msgspec.Struct, frozen=True, tag="token"):
    """Who are we to ``audience``, an appliance to fill from? Answered by `Issued`, or `Refused`."""

    audience: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]


class Issued(msgspec.Struct, frozen=True, tag="issued"):
    """An identity token that is good for a minute: the agent itself holds no key."""

    token: str


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    held: Annotated[tuple[str, ...], Meta(description="keys of the plan that are complete")]


class Reserved(msgspec.Struct, frozen=True, tag="reserved"):
    path: str
    verified: Annotated[tuple[int, ...], Meta(description="slices that need not be fetched")]


class Held(msgspec.Struct, frozen=True, tag="held"):
    """The object is complete already."""


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    pass


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    pass


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    why: Refusal
    detail: str
    slices: tuple[int, ...] = ()


class Incomplete(msgspec.Struct, frozen=True):
    key: str
    size: int
    verified_slices: int


class Holdings(msgspec.Struct, frozen=True, tag="holdings"):
    appliance: str
    plan: str | None
    planned_objects: int
    planned_bytes: int
    held_objects: Annotated[int, Meta(description="of the plan")]
    held_bytes: Annotated[int, Meta(description="of the plan")]
    other_objects: Annotated[int, Meta(description="complete, and not in the plan: the demand cache")]
    other_bytes: int
    incomplete: tuple[Incomplete, ...]
    plan_issued_at: Annotated[
        int, Meta(description="seconds since 1970, as adopted; 0: by an unsigned word")
    ] = 0
    catalog: Annotated[
        InForce | None, Meta(description="which catalog is obeyed here, by the publisher's word")
    ] = None


Request: TypeAlias = Adopt | Reserve | Wrote | Abort | Commit | Ask | Which | Token
Reply: TypeAlias = Adopted | Reserved | Held | Noted | Committed | Refused | Holdings | Issued

encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
