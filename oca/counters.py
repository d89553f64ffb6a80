"""What an edge worker counts and measures: tables, a sentence per row, rendered as metrics by `oca.admin`.

A worker counts since its last report and then begins anew; the storekeeper adds up. So nothing ever
goes down while the storekeeper lives, whatever becomes of a worker.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Annotated, Final

import msgspec
from msgspec import Meta


class Counters(msgspec.Struct):
    requests: Annotated[int, Meta(description="requests answered, whatever the answer")] = 0
    hits: Annotated[int, Meta(description="answers with a body from our disks alone")] = 0
    misses: Annotated[int, Meta(description="answers for which something was fetched from upstream")] = 0
    hit_bytes: Annotated[int, Meta(description="body bytes sent of hits")] = 0
    miss_bytes: Annotated[int, Meta(description="body bytes sent of misses")] = 0
    peer_bytes: Annotated[int, Meta(description="body bytes sent to appliances that fill from us")] = 0
    status_2xx: Annotated[int, Meta(description="answers that succeeded")] = 0
    status_3xx: Annotated[int, Meta(description="answers that said not modified")] = 0
    status_4xx: Annotated[int, Meta(description="answers that blamed the request")] = 0
    status_5xx: Annotated[int, Meta(description="answers that blamed us or upstream")] = 0
    tokens_refused: Annotated[int, Meta(description="requests refused for their token")] = 0
    cold_reads: Annotated[int, Meta(description="spans read by a thread before they were sent")] = 0
    accepted: Annotated[int, Meta(description="connections accepted")] = 0
    refused: Annotated[int, Meta(description="connections closed at once, for the worker has its share")] = 0
    aborted: Annotated[int, Meta(description="responses cut short: client or upstream gone, or too slow")] = 0
    cmcd_requests: Annotated[int, Meta(description="requests of objects with CMCD in them")] = 0
    cmcd_starvations: Annotated[
        int, Meta(description="of those, how many said that the buffer ran empty")
    ] = 0
    cmcd_unread: Annotated[int, Meta(description="CMCD that was too long, or did not read as CMCD")] = 0
    log_lines_lost: Annotated[int, Meta(description="lines of the access log that the disk did not take")] = 0
    touches_lost: Annotated[
        int, Meta(description="requests that are in no delivery log: too many objects")
    ] = 0

    def answered(self, status: int) -> None:
        """Counts one answer, whatever it was."""
        self.requests += 1
        if status < 300:
            self.status_2xx += 1
        elif status < 400:
            self.status_3xx += 1
        elif status < 500:
            self.status_4xx += 1
        else:
            self.status_5xx += 1

    def add(self, other: Counters) -> None:
        """Adds ``other`` row by row."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self) -> Counters:
        """What was counted; from here on it counts from 0."""
        taken = Counters()
        for name in self.__struct_fields__:
            setattr(taken, name, getattr(self, name))
            setattr(self, name, 0)
        return taken


TIME_BOUNDS_S: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
)
_BUFFER_BOUNDS_S: Final = (0, 0.5, 1, 2, 4, 8, 15, 30, 60)
_RATE_BOUNDS_BPS: Final = (250e3, 500e3, 1e6, 2e6, 4e6, 6e6, 8e6, 16e6, 25e6, 50e6, 100e6)

BOUNDS: Final[dict[str, tuple[float, ...]]] = {
    # The upper, inclusive bounds of each histogram's buckets; above the last one is one more.
    "first_byte_s": TIME_BOUNDS_S,
    "send_s": TIME_BOUNDS_S,
    "loop_lag_s": TIME_BOUNDS_S,
    "player_buffer_s": _BUFFER_BOUNDS_S,
    "player_bitrate_bps": _RATE_BOUNDS_BPS,
    "player_throughput_bps": _RATE_BOUNDS_BPS,
}


class Histogram(msgspec.Struct, array_like=True):
    """How many values fell into each bucket, and their sum. Empty until the first value."""

    counts: list[int] = msgspec.field(default_factory=list)
    total: float = 0.0

    def observe(self, value: float, bounds: tuple[float, ...], times: int = 1) -> None:
        if not self.counts:
            self.counts = [0] * (len(bounds) + 1)
        self.counts[bisect_left(bounds, value)] += times
        self.total += value * times

    def add(self, other: Histogram) -> None:
        if not other.counts:
            return
        if not self.counts:
            self.counts = [0] * len(other.counts)
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Histograms(msgspec.Struct):
    first_byte_s: Annotated[
        Histogram, Meta(description="from a request's last byte in to its answer's first byte out")
    ] = msgspec.field(default_factory=Histogram)
    send_s: Annotated[
        Histogram, Meta(description="from a request's last byte in to its answer's last byte out")
    ] = msgspec.field(default_factory=Histogram)
    loop_lag_s: Annotated[
        Histogram, Meta(description="how late a worker's event loop was, looked at ten times a second")
    ] = msgspec.field(default_factory=Histogram)
    player_buffer_s: Annotated[
        Histogram, Meta(description="video that players still had when they asked (CMCD bl)")
    ] = msgspec.field(default_factory=Histogram)
    player_bitrate_bps: Annotated[
        Histogram, Meta(description="bitrate of what players asked for (CMCD br)")
    ] = msgspec.field(default_factory=Histogram)
    player_throughput_bps: Annotated[
        Histogram, Meta(description="throughput as players measured it (CMCD mtp)")
    ] = msgspec.field(default_factory=Histogram)

    def observe(self, name: str, value: float) -> None:
        histogram: Histogram = getattr(self, name)
        histogram.observe(value, BOUNDS[name])

    def add(self, other: Histograms) -> None:
        for name in self.__struct_fields__:
            getattr(self, name).add(getattr(other, name))


class Traffic(msgspec.Struct):
    """All that all workers counted since the storekeeper started."""

    counters: Counters = msgspec.field(default_factory=Counters)
    histograms: Histograms = msgspec.field(default_factory=Histograms)
    loop_lag_s: dict[int, Histogram] = msgspec.field(default_factory=dict)
    """By worker: one that is late does not show in a sum over all."""
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    """Tokens refused, by reason."""

    def add(self, worker: int, counters: Counters, histograms: Histograms, refusals: dict[str, int]) -> None:
        self.counters.add(counters)
        self.loop_lag_s.setdefault(worker, Histogram()).add(histograms.loop_lag_s)
        self.histograms.add(histograms)
        for reason, count in refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + count


def descriptions(table: type[msgspec.Struct] = Counters) -> dict[str, str]:
    """The sentence of each row of a table, for whoever shows them."""
    info = msgspec.inspect.type_info(table)
    assert isinstance(info, msgspec.inspect.StructType)
    rows: dict[str, str] = {}
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        rows[field.name] = (field.type.extra_json_schema or {})["description"]
    return rows
