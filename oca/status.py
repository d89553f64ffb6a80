"""What an appliance says of itself: `/v1/status`, read by `oca status` and by whoever watches it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.players import Players
from oca.bgp.feed import BgpStatus
from oca.counters import Counters


class HitRatio(msgspec.Struct, frozen=True):
    """Since the storekeeper started; None before the first answer with a body."""

    requests: float | None
    bytes: float | None

    @classmethod
    def of(cls, counters: Counters) -> HitRatio:
        answers = counters.hits + counters.misses
        sent = counters.hit_bytes + counters.miss_bytes
        return cls(
            round(counters.hits / answers, 4) if answers else None,
            round(counters.hit_bytes / sent, 4) if sent else None,
        )


class ServedCount(msgspec.Struct, frozen=True):
    """Answers, and their body bytes, since the storekeeper started."""

    requests: int
    bytes: int


class ScrubStatus(msgspec.Struct, frozen=True):
    """Reading again what is on a disk, to find what has rotted."""

    reading: Annotated[bool, Meta(description="whether a pass is under way; else it rests until the next")]
    share_done: Annotated[float, Meta(description="of the pass under way; 1 between two")]
    rate_bytes_per_s: int
    checked_bytes: Annotated[int, Meta(description="since the storekeeper started")]
    began_at: Annotated[float, Meta(description="of this pass or the last, seconds since 1970; 0: none yet")]
    ended_at: Annotated[float, Meta(description="of the last whole pass, seconds since 1970; 0: none yet")]
    bad_objects: Annotated[int, Meta(description="found on this disk, ever")]


class DiskStatus(msgspec.Struct, frozen=True):
    path: str
    state: str
    capacity_bytes: int
    used_bytes: Annotated[int, Meta(description="complete objects, and all of each incomplete one")]
    objects: int
    why: Annotated[str, Meta(description="why it is not in service")] = ""
    tier: Annotated[str, Meta(description="flash or bulk")] = msgspec.field(default="bulk", name="class")
    pinned_bytes: Annotated[int, Meta(description="of the plan")] = 0
    demand_bytes: Annotated[int, Meta(description="complete, and not in the plan")] = 0
    hot_bytes: Annotated[int, Meta(description="not in the plan, but asked for often")] = 0
    faults: Annotated[int, Meta(description="how often it was taken out of service")] = 0
    heat: Annotated[float, Meta(description="requests of the last ten minutes, older ones count half")] = 0
    stays: Annotated[int, Meta(description="drained: objects that found no room elsewhere")] = 0
    quarantined_files: int = 0
    quarantined_bytes: Annotated[int, Meta(description="among the used ones")] = 0
    scrub: Annotated[ScrubStatus | None, Meta(description="null: it is not scrubbed")] = None


class PlanStatus(msgspec.Struct, frozen=True):
    version: str
    objects: int
    bytes: int
    held_objects: int
    held_bytes: int
    share_done: float
    issued_at: Annotated[
        int, Meta(description="seconds since 1970, when the planner put it in force; 0: it did not sign that")
    ] = 0


class SteeringStatus(msgspec.Struct, frozen=True):
    url: str
    state: Annotated[str, Meta(description="what steering takes us for; empty before its first answer")]
    error: Annotated[str, Meta(description="why the last heartbeat failed; empty when it did not")]
    age_s: Annotated[float | None, Meta(description="since the last heartbeat that was answered")]


class UpstreamStatus(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    faults: dict[str, int]
    breaker: Annotated[str, Meta(description="open: it kept failing, and is not asked for a while")]


class DeliveryStatus(msgspec.Struct, frozen=True):
    """The delivery log, since the storekeeper started."""

    waiting_parts: int
    held_bytes: Annotated[int, Meta(description="on our disk: of waiting parts, and of the open one")]
    uploaded_parts: int
    failed_uploads: int
    dropped_parts: Annotated[int, Meta(description="deleted before they were uploaded, for want of room")]
    dropped_rows: Annotated[int, Meta(description="that our disk did not take")]
    dropped_requests: Annotated[int, Meta(description="for which there was no row: too many objects")]
    error: Annotated[str, Meta(description="why the last write or upload failed; empty when it did not")]


class RouteStatus(msgspec.Struct, frozen=True):
    """What `oca bgp` says, and what is made of it."""

    prefixes: Annotated[int, Meta(description="told to steering")]
    known: Annotated[bool, Meta(description="false: no table was whole yet, and steering keeps the last one")]
    error: Annotated[str, Meta(description="why there is no word from oca bgp; empty when there is")]
    bgp: BgpStatus | None


class Status(msgspec.Struct, frozen=True):
    id: str
    state: Literal["starting", "serving", "draining"]
    version: str
    uptime_s: float
    workers: int
    connections: int
    tx_bps: int
    requests: int
    hit_ratio: HitRatio
    disks: tuple[DiskStatus, ...]
    plan: PlanStatus | None
    incomplete: int
    steering: tuple[SteeringStatus, ...]
    upstreams: tuple[UpstreamStatus, ...]
    catalog: str | None
    catalog_error: str | None
    catalog_refused: Annotated[
        dict[str, str], Meta(description="what is wrong, by S3 key, with what of it is not believed")
    ] = {}
    hits: Annotated[dict[str, ServedCount], Meta(description="by class of the disk")] = {}
    misses: Annotated[dict[str, ServedCount], Meta(description="by why the object was not here")] = {}
    moved_objects: Annotated[int, Meta(description="from one disk to another")] = 0
    moved_bytes: int = 0
    delivery: Annotated[DeliveryStatus | None, Meta(description="null: no delivery log is configured")] = None
    routes: Annotated[RouteStatus | None, Meta(description="null: no BGP is configured")] = None
    players: Annotated[Players | None, Meta(description="null: none of late, or tokens are not required")] = (
        None
    )
    keys: Annotated[
        int | None,
        Meta(description="version of steering's signed key set, 0: none yet; null: keys are files"),
    ] = None


class Purged(msgspec.Struct, frozen=True):
    """The answer to `/v1/purge`."""

    purged: Annotated[int, Meta(description="objects; their files are gone")]
    workers: Annotated[int, Meta(description="edge workers that no longer know them")]
    silent: Annotated[int, Meta(description="edge workers that did not say so in time: they hang")]


class ObjectStatus(msgspec.Struct, frozen=True):
    """`/v1/objects/{key}`"""

    key: str
    size: int
    etag: str
    disk: str
    complete: bool
    pinned: bool
    verified_slices: int
    slices: int
    requests: Annotated[int, Meta(description="since the storekeeper started, complete objects only")]
