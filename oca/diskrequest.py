"""What `POST /v1/disks` is asked: one operation on one disk of a running appliance."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from oca.tier import Tier

FolderPath = Annotated[str, Meta(pattern="^/", max_length=4096)]


class Operation(enum.Enum):
    ADD = "add"  # take the folder into service; marked as ours first if it is new and empty
    DRAIN = "drain"  # nothing new onto it; what is planned or hot moves to other disks
    UNDRAIN = "undrain"  # take objects again
    REMOVE = "remove"  # end its use
    REPLACE = "replace"  # add another, drain this one onto it, remove this one
    RETRY = "retry"  # look at a failed disk now


class DiskRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operation: Operation
    path: FolderPath
    by: Annotated[FolderPath | None, Meta(description="replace: the new disk")] = None
    tier: Tier | None = msgspec.field(default=None, name="class")
    capacity_bytes: Annotated[int, Meta(ge=1)] | None = None
    now: Annotated[bool, Meta(description="remove: though it is not drained")] = False


class Refused(Exception):
    """The operation was not begun; the message says why, and what would be right."""
