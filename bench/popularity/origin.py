"""What a part costs when it comes from a real S3 server, which runs on the same cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from daemon.s3 import open_client
from demo.origin import OriginServer
from fill.popularity.delivered import DeliveryLog
from fill.popularity.spool import Part, batches
from tests.appliance import free_port


def fetched_per_part(root: Path, parts: Sequence[Part], threads: int = 8) -> str:
    """One line: seconds and CPU seconds of this process for each part."""
    with OriginServer(root, free_port(), "bench") as server:
        client = open_client(server.config)
        stored = []
        for part in parts:
            key = f"delivery/date=2026-10-01/hour={part.name[:2]}/{part.name[3:]}.ndjson.gz"
            client.put_object(Bucket="bench", Key=key, Body=Path(part.key).read_bytes())
            stored.append(Part(key, part.name, part.size))
        began, cpu_s = time.perf_counter(), time.process_time()
        spool = root / "spool"
        spool.mkdir()
        lines = sum(
            batch.lines
            for batch in batches(DeliveryLog(client, "bench"), stored, spool, 4_000_000_000, threads)
        )
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        client.close()
    each = f"{took_s / len(parts) * 1000:.1f} ms a part, {cpu_s / len(parts) * 1000:.1f} ms of it our CPU"
    return f"from S3: {len(parts)} parts, {lines:,} rows in {took_s:.1f} s: {each}"
