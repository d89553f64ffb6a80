"""What a run works with, put together from its configuration."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.s3 import S3Config
from fill.agent.backoff import Patience
from fill.agent.budget import SharedBudget, most_receive_bytes, receive_bytes
from fill.agent.exposition import Exposition
from fill.agent.order import Escalation
from fill.agent.rangeclient import RangeClient
from fill.agent.s3source import S3Source
from fill.agent.source import Source
from fill.agent.storekeeper import Storekeeper
from fill.agent.transfer import Transfer
from fill.agent.watch import Watch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from fill.config import Agent as AgentConfig


@dataclass(frozen=True, slots=True)
class Engine:
    """What a run works with. ``objects`` at once, each over a line of its own to the storekeeper."""

    connect: Callable[[], Storekeeper]
    patience: Patience
    transfer: Transfer
    budget: SharedBudget
    ranges: RangeClient
    origin: Source
    watch: Watch
    exposition: Exposition
    escalation: Escalation
    objects: int
    stopped: threading.Event
    now: Callable[[], float]
    clock: Callable[[], float]
    """Seconds since 1970: windows are told by it."""

    def end(self) -> None:
        """Whoever waits for anything hears at once that it is over."""
        self.stopped.set()
        self.ranges.end()


@contextmanager
def engine(config: AgentConfig, origin: S3Config, client: S3Client) -> Iterator[Engine]:
    """Until the block ends; its threads have ended then."""
    stopped = threading.Event()
    budget = SharedBudget(config.rate_bps, time.monotonic, stopped.wait)
    most_bytes = most_receive_bytes()
    ranges = RangeClient(
        origin.connect_timeout_s,
        origin.read_timeout_s,
        lambda round_trip_s: receive_bytes(config.rate_bps, config.requests, round_trip_s, most_bytes),
    )
    patience = Patience(config.retry, stopped.wait, random.random)
    with ThreadPoolExecutor(config.requests, "fetch") as pool:
        made = Engine(
            connect=lambda: Storekeeper(config.ingest_socket),
            patience=patience,
            transfer=Transfer(pool, config.requests, patience, budget, stopped),
            budget=budget,
            ranges=ranges,
            origin=S3Source(client, origin.bucket, ranges, time.monotonic),
            exposition=Exposition(config.metrics_file),
            watch=Watch(config.give_way, budget, stopped),
            escalation=config.escalation,
            objects=config.objects,
            stopped=stopped,
            now=time.monotonic,
            clock=time.time,
        )
        try:
            yield made
        finally:
            made.end()
