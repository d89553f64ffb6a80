"""The delivery log: what an appliance delivered, one row for each minute, object and client network.

Parts of the log lie in S3 as gzipped NDJSON, which DuckDB and Spark read as they are:

    delivery/date=2026-11-21/hour=10/isp-a1-1f0c9a3e.ndjson.gz

A part is immutable and is written once. Several parts of one appliance and hour are normal (a
restart ends a part), and so are several rows of one minute: whoever reads adds them up. Every column but
``sessions`` is a sum, or a mean beside the number that it is of; sessions of several rows overlap.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.objectkey import KEY_PATTERN
from contracts.plan import Name

PREFIX: Final = "delivery"
SUFFIX: Final = ".ndjson.gz"
MINUTE_FORMAT: Final = "%Y-%m-%dT%H:%M:00Z"
"""Of strftime, in UTC."""
HOUR_FORMAT: Final = "%Y-%m-%dT%H"

_hour = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}\Z").match
_unique = re.compile(r"[0-9a-f]{8,32}\Z").match

Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Mean = Annotated[float, Meta(ge=0)]


class DeliveryRow(msgspec.Struct, frozen=True):
    minute: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:00Z\Z", description="its start, UTC")]
    appliance: Name
    key: Annotated[str, Meta(pattern=KEY_PATTERN, max_length=512)]
    network: Annotated[str, Meta(max_length=43, description="the clients' IPv4 /16 or IPv6 /32; empty: many")]
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")] | None
    """ISO 3166-1, where the appliance can tell; it cannot yet."""
    requests: Annotated[Count, Meta(description="answered with bytes of the object")]
    hits: Annotated[Count, Meta(description="of those, from our disks alone")]
    misses: Annotated[Count, Meta(description="of those, with something fetched from upstream")]
    bytes: Annotated[Count, Meta(description="of the body, sent in this minute")]
    hit_bytes: Count
    miss_bytes: Count
    sessions: Annotated[Count, Meta(description="different playbacks, estimated; exact below 64")]
    cmcd_requests: Annotated[Count, Meta(description="requests in which the player spoke of itself")] = 0
    cmcd_starvations: Annotated[Count, Meta(description="of those: its buffer had run empty")] = 0
    cmcd_buffers: Annotated[Count, Meta(description="of those: it told its buffer")] = 0
    cmcd_mean_buffer_s: Mean | None = None
    cmcd_bitrates: Annotated[Count, Meta(description="of those: it told the encode's bitrate")] = 0
    cmcd_mean_bitrate_bps: Mean | None = None
    contract: int = VERSION


def part_key(prefix: str, hour: str, appliance: str, unique: str) -> str:
    """Where in the bucket a part lies; ``hour`` is of `HOUR_FORMAT`. Raises ValueError for another form."""
    if _hour(hour) is None or _unique(unique) is None:
        raise ValueError(f"{hour!r}, {unique!r}: an hour such as 2026-11-21T10 and hex digits are expected")
    return f"{prefix}/date={hour[:10]}/hour={hour[11:]}/{appliance}-{unique}{SUFFIX}"
