"""What `oca bgp` tells the storekeeper over a Unix socket: the whole table at first, then what changes.

    the reader: WANT_TABLE, and it is told all of this; WANT_STATUS, and it is told one BgpStatus
    BgpStatus                     at least every two seconds, and at once when a session changes
    Begin, Changes..., Whole      the table; until Whole, what the reader had stays in force
    Changes                       from then on

The writer keeps nothing for a reader that is slow but which prefixes it has yet to hear of.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts.framing import pack
from contracts.route import Announcement

SOCKET_NAME: Final = "bgp.sock"
WANT_TABLE: Final = b"t"
WANT_STATUS: Final = b"s"
MAX_MESSAGE_PREFIXES: Final = 5_000
MAX_MESSAGE_BYTES: Final = 8 << 20
"""5,000 routes, each with attributes of its own and a path of 128."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    pass


class Whole(msgspec.Struct, frozen=True, tag=True):
    pass


class Changes(msgspec.Struct, frozen=True, tag=True):
    announced: tuple[Announcement, ...] = ()
    withdrawn: tuple[str, ...] = ()


class NeighbourStatus(msgspec.Struct, frozen=True):
    address: str
    remote_as: int
    state: Annotated[str, Meta(description="up, down or stopped")]
    age_s: Annotated[float, Meta(description="of this state")]
    why: Annotated[str, Meta(description="why it is not up; empty when it is")]
    accepted: Annotated[int, Meta(description="prefixes in force, those that outlive a lost session too")]
    refused: Annotated[dict[str, int], Meta(description="prefixes, by the reason's name")]
    stale: Annotated[int, Meta(description="of a session before, not announced in this one yet")]
    whole: Annotated[bool, Meta(description="whether the router has told its table to the end")]
    limit: int
    flaps: Annotated[int, Meta(description="sessions lost since `oca bgp` started")]


class BgpStatus(msgspec.Struct, frozen=True, tag=True):
    neighbours: tuple[NeighbourStatus, ...]
    prefixes: Annotated[int, Meta(description="distinct, the best of each")]
    ready: Annotated[bool, Meta(description="whether the table has been whole since `oca bgp` started")]
    bad_lines: Annotated[int, Meta(description="of exabgp, that could not be read")] = 0


Message = Begin | Whole | Changes | BgpStatus

_encode = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Message)


def frame(message: Message) -> bytes:
    return pack(_encode(message))


def decode(payload: bytes) -> Message:
    """Raises `msgspec.MsgspecError`, a ValueError."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise msgspec.ValidationError(f"a message of {len(payload)} bytes")
    message: Message = _decoder.decode(payload)
    return message
