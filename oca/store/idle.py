"""Reading that nobody waits for: its thread's requests come to a disk after everybody else's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """The reads of the calling thread are of idle priority meanwhile, where the disk's scheduler knows that.

    Only its reads: with an idle share of the processor it would keep the interpreter's lock from the event
    loop for as long as others compute.
    Source: ioprio_set(2). BFQ and mq-deadline heed it; without a scheduler there is no queue to wait in.
    """
    thread = psutil.Process(threading.get_native_id())
    try:
        thread.ionice(psutil.IOPRIO_CLASS_IDLE)
        yield
    finally:
        thread.ionice(psutil.IOPRIO_CLASS_NONE)
