"""What an edge worker counts: one table, a sentence per row. Counters only rise."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Counters(msgspec.Struct):
    requests: Annotated[int, Meta(description="requests answered, whatever the answer")] = 0
    hits: Annotated[int, Meta(description="answers with a body from our disks alone")] = 0
    misses: Annotated[int, Meta(description="answers for which something was fetched from upstream")] = 0
    hit_bytes: Annotated[int, Meta(description="body bytes sent of hits")] = 0
    miss_bytes: Annotated[int, Meta(description="body bytes sent of misses")] = 0
    status_2xx: Annotated[int, Meta(description="answers that succeeded")] = 0
    status_3xx: Annotated[int, Meta(description="answers that said not modified")] = 0
    status_4xx: Annotated[int, Meta(description="answers that blamed the request")] = 0
    status_5xx: Annotated[int, Meta(description="answers that blamed us or upstream")] = 0
    tokens_refused: Annotated[int, Meta(description="requests refused for their token")] = 0
    cold_reads: Annotated[int, Meta(description="spans read by a thread before they were sent")] = 0
    accepted: Annotated[int, Meta(description="connections accepted")] = 0
    refused: Annotated[int, Meta(description="connections closed at once, for the worker has its share")] = 0
    aborted: Annotated[int, Meta(description="responses cut short: client or upstream gone, or too slow")] = 0

    def answered(self, status: int, object_bytes: int, *, missed: bool) -> None:
        """Counts one answer that is out; ``object_bytes`` of it came from an object."""
        self.requests += 1
        if status < 300:
            self.status_2xx += 1
        elif status < 400:
            self.status_3xx += 1
        elif status < 500:
            self.status_4xx += 1
        else:
            self.status_5xx += 1
        if not object_bytes:
            return
        if missed:
            self.misses += 1
            self.miss_bytes += object_bytes
        else:
            self.hits += 1
            self.hit_bytes += object_bytes

    def add(self, other: Counters) -> None:
        """Adds ``other`` row by row."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def descriptions() -> dict[str, str]:
    """The sentence of each row, for whoever shows them."""
    info = msgspec.inspect.type_info(Counters)
    assert isinstance(info, msgspec.inspect.StructType)
    rows: dict[str, str] = {}
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        rows[field.name] = (field.type.extra_json_schema or {})["description"]
    return rows
