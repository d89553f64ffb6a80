"""One worker of a fill: takes one object at a time from nothing to committed, over its own line to the storekeeper."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from contracts import ingest
from contracts.catalog import CatalogObject
from contracts.ingest import Refusal
from contracts.objectkey import slice_count, slice_span
from daemon.log import event
from fill.agent.backoff import Patience, Retry
from fill.agent.reservation import CannotWrite, Reservation
from fill.agent.source import Source
from fill.agent.storekeeper import Refused, Storekeeper, StorekeeperGone
from fill.agent.tally import Tally
from fill.agent.transfer import Assignment, Router, Transfer

log = logging.getLogger("fill.agent")

T = TypeVar("T")

_TRIES: Final = 3
"""Of one object, each with a new reservation; and of one request to a storekeeper that goes away."""
_AGAIN: Final = frozenset({Refusal.CORRUPT, Refusal.UNKNOWN, Refusal.DISK})
_RESTART: Final = Retry(tries=60, first_s=0.2, longest_s=5.0)
"""For the storekeeper: it scans its disks when it starts, 540,000 files in about a minute; this waits two."""


class Hand:
    """Raises `StorekeeperGone`, `Refused`, `CannotWrite`, and what `Transfer.fetch` raises."""

    def __init__(
        self, storekeeper: Storekeeper, transfer: Transfer, patience: Patience, tally: Tally
    ) -> None:
        self._storekeeper = storekeeper
        self._transfer = transfer
        self._patience = patience
        self._tally = tally
        self.adopted: ingest.Adopt | None = None

    def adopt(self, plan: ingest.Adopt) -> frozenset[str]:
        """Tells the storekeeper the plan, now and whenever it has been away; the keys that are held already."""
        self.adopted = plan
        return self.kept(self._adopt)

    def put(self, item: CatalogObject, router: Router) -> bool:
        """Whether it was held already. A disk that fails or a file that vanishes costs a try each."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self.kept(lambda: self._put_once(item, router))
            except Refused as error:
                if error.why not in _AGAIN or attempt == _TRIES:
                    raise
                event(log, "again", logging.WARNING, key=item.key, why=str(error))
            except CannotWrite as error:
                self.kept(partial(self._storekeeper.abort, item, error.number))
                if attempt == _TRIES:
                    raise
                event(log, "again", logging.WARNING, key=item.key, why=str(error))
        raise AssertionError("the last try returns or raises")

    def _put_once(self, item: CatalogObject, router: Router) -> bool:
        """Reserve, fetch, commit; whether it was there already."""
        reserved = self._storekeeper.reserve(ingest.Reserve(item))
        if reserved is None:
            return True
        verified = set(reserved.verified)
        missing = [index for index in range(slice_count(item.size)) if index not in verified]
        self._tally.begun(item, sum(_size(index, item) for index in missing))
        with Reservation(self._storekeeper, item, reserved.path, partial(self._tally.came, item.key)) as file:
            self._transfer.fetch(item, missing, _Heard(router, partial(self._tally.source, item.key)), file)
        self._storekeeper.commit(item.key)
        return False

    def kept(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns; when the storekeeper goes away meanwhile, asked again once it is back."""
        for _ in range(_TRIES):
            try:
                return ask()
            except StorekeeperGone as error:
                event(log, "storekeeper gone", logging.WARNING, why=str(error))
                self._reconnect()
        return ask()

    def _reconnect(self) -> None:
        """Waits for a storekeeper and tells it the plan again; raises `StorekeeperGone` in the end."""
        patience = replace(self._patience, retry=_RESTART)
        for failures in range(1, _RESTART.tries + 1):
            patience.pause(failures)
            try:
                self._storekeeper.reconnect()
                self._adopt()
                return
            except StorekeeperGone:
                if failures == _RESTART.tries:
                    raise

    def _adopt(self) -> frozenset[str]:
        if self.adopted is None:
            return frozenset()
        return frozenset(self._storekeeper.adopt(self.adopted).held)


class _Heard:
    """``router``, while ``on_source`` hears from whom bytes come."""

    def __init__(self, router: Router, on_source: Callable[[str], None]) -> None:
        self._router = router
        self._on_source = on_source

    def choose(self, left: set[int]) -> Assignment | float:
        return self._router.choose(left)

    def came(self, source: Source, count: int) -> None:
        self._on_source(source.name)
        self._router.came(source, count)

    def failed(self, source: Source, error: Exception, index: int) -> bool:
        return self._router.failed(source, error, index)


def _size(index: int, item: CatalogObject) -> int:
    start, end = slice_span(index, item.size)
    return end - start
