"""Whom to ask for which slices of one object: the master of the site, its other holders, the parents, S3.

Each appliance asks its site first. Only the master goes outside for what nobody has; the others wait for it, and
copy slice by slice what it has already. When the master, and who stands before us after it, cannot be reached
for `Escalation.unreachable_s`, or nothing has come for `Escalation.stalled_s` for each of them, we go outside
too, from the other end of the object. What is there of it by then stays: nobody begins again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from contracts.catalog import CatalogObject
from daemon.log import event
from fill.agent.rangeclient import NoAnswer
from fill.agent.source import Absent, BadSource, Kind, Source, Unwilling
from fill.agent.transfer import LONGEST_ORIGIN_RUN_SLICES, Assignment, first_run, last_run

log = logging.getLogger("fill.agent")

STRIKES: Final = 3
"""Wrong answers after which a source is left out for the rest of the run."""
_POLL_S: Final = 0.5
_LONGEST_POLL_S: Final = 5.0
_DOWN_S: Final = 2.0
_LONGEST_DOWN_S: Final = 60.0

Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Escalation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How soon, and how far, an appliance goes for what another of its site is to fetch."""

    unreachable_s: Seconds = 15.0
    stalled_s: Seconds = 120.0
    to: Literal["site", "parent", "origin"] = "origin"


class Lookable(Source, Protocol):
    def look(self, item: CatalogObject) -> list[range]: ...


@dataclass(slots=True)
class Standing:
    """What is known of one appliance, for all objects of the run."""

    strikes: int = 0
    failures: int = 0
    down_since: float = float("inf")
    """Since when it has not answered at all."""
    down_until: float = float("-inf")
    left_out: bool = False
    moved_at: float | None = None
    """When it was first asked, or last had more of anything than before."""

    def usable(self, now: float) -> bool:
        return not self.left_out and now >= self.down_until


class Standings:
    """Of all appliances that are asked in a run. Assignments are atomic: a count that is one off does no harm."""

    def __init__(self) -> None:
        self._known: dict[str, Standing] = {}

    def of(self, source: Source) -> Standing:
        return self._known.setdefault(source.name, Standing())

    @property
    def left_out(self) -> list[str]:
        """Names of those that gave wrong bytes too often."""
        return sorted(name for name, one in self._known.items() if one.left_out)

    def no_answer(self, source: Source, now: float, why: str) -> None:
        one = self.of(source)
        if one.usable(now):
            one.failures += 1
            one.down_since = min(one.down_since, now)
            one.down_until = now + min(_LONGEST_DOWN_S, _DOWN_S * 2.0 ** min(one.failures - 1, 6))
            event(log, "source does not answer", logging.WARNING, source=source.name, why=why)

    def answered(self, source: Source, now: float, *, more: bool) -> None:
        one = self.of(source)
        one.failures, one.down_since = 0, float("inf")
        if more or one.moved_at is None:
            one.moved_at = now

    def unwilling(self, source: Source, why: str) -> None:
        """It would not have us: nothing that passes by itself."""
        if not self.of(source).left_out:
            self.of(source).left_out = True
            event(log, "source left out", logging.WARNING, source=source.name, why=why)

    def struck(self, source: Source, why: str) -> None:
        """It sent wrong bytes."""
        one = self.of(source)
        one.strikes += 1
        event(log, "source lied", logging.WARNING, source=source.name, strikes=one.strikes, why=why)
        if one.strikes >= STRIKES and not one.left_out:
            one.left_out = True
            event(log, "source left out", logging.ERROR, source=source.name, strikes=one.strikes)


@dataclass(slots=True)
class _View:
    """What one appliance has of the object, as it said when it was last asked."""

    source: Lookable
    held: set[int] = field(default_factory=set)
    asked_at: float = float("-inf")
    wrong: set[int] = field(default_factory=set)
    """Slices of which it sent other bytes: not asked of it again."""


class SiteOrder:
    """The router (`fill.agent.transfer.Router`) of one object. ``before`` of ``holders``, the master first,
    stand before us; we are not among ``holders``.
    """

    def __init__(
        self,
        item: CatalogObject,
        holders: Sequence[Lookable],
        before: int,
        parents: Sequence[Lookable],
        origin: Source,
        escalation: Escalation,
        standings: Standings,
        now: Callable[[], float],
    ) -> None:
        self._item = item
        self._site = [_View(one) for one in holders]
        self._before = before
        self._parents = [_View(one) for one in parents]
        self._origin = origin
        self._escalation = escalation
        self._standings = standings
        self._now = now
        self._moved_at = now()
        self._poll_s = _POLL_S
        self._outside = before == 0
        self._turn = 0

    def choose(self, left: set[int]) -> Assignment | float:
        now = self._now()
        found = self._of(self._site, left, now)
        if found is not None:
            return found
        if not self._outside and self._may_escalate(now):
            self._outside = True
            event(log, "going outside for another", key=self._item.key, before=self._before)
        if not self._outside or (self._escalation.to == "site" and self._before):
            return self._wait()
        found = self._of(self._parents, left, now)
        if found is not None:
            return found
        if self._before and self._escalation.to == "parent":
            return self._wait()
        return Assignment(self._origin, self._end_of(left))

    def _end_of(self, left: set[int]) -> range:
        """The first slices; the last for one who fetches in another's stead, who may be back at the front."""
        if not self._before:
            return first_run(left, LONGEST_ORIGIN_RUN_SLICES)
        return last_run(left)

    def _wait(self) -> float:
        wait_s, self._poll_s = self._poll_s, min(_LONGEST_POLL_S, self._poll_s * 1.5)
        return wait_s

    def _of(self, views: list[_View], left: set[int], now: float) -> Assignment | None:
        """From the first who has any, in turns among those who have."""
        having: list[tuple[_View, set[int]]] = []
        for view in views:
            if not self._standings.of(view.source).usable(now):
                continue
            there = (view.held & left) - view.wrong
            if not there and now - view.asked_at >= self._poll_s:
                self._look(view, now)
                there = (view.held & left) - view.wrong
            if there:
                having.append((view, there))
        if not having:
            return None
        self._turn += 1
        view, there = having[self._turn % len(having)]
        return Assignment(view.source, first_run(there))

    def _look(self, view: _View, now: float) -> None:
        view.asked_at = now
        try:
            held = {index for run in view.source.look(self._item) for index in run}
        except NoAnswer as error:
            self._standings.no_answer(view.source, now, str(error))
            return
        except Unwilling as error:
            self._standings.unwilling(view.source, str(error))
            return
        self._standings.answered(view.source, now, more=bool(held - view.held))
        if held - view.held:
            self._moved_at, self._poll_s = now, _POLL_S
        view.held = held

    def _may_escalate(self, now: float) -> bool:
        """Whether those who stand before us have had their time."""
        before = [self._standings.of(view.source) for view in self._site[: self._before]]
        alive = [
            one
            for one in before
            if not one.left_out and now - one.down_since < self._escalation.unreachable_s
        ]
        patience_s = self._escalation.stalled_s * len(alive)
        # Who has fetched nothing at all for so long is not asked to move first for each object anew.
        idle = all(one.moved_at is not None and now - one.moved_at >= patience_s for one in alive)
        return idle or now - self._moved_at >= patience_s

    def came(self, source: Source, count: int) -> None:
        self._moved_at, self._poll_s = self._now(), _POLL_S

    def failed(self, source: Source, error: Exception, index: int) -> bool:
        """There is always somebody else: S3 in the end."""
        if source.kind is Kind.ORIGIN:
            return True
        for view in (*self._site, *self._parents):
            if view.source is source:
                if isinstance(error, Absent):
                    view.held.clear()
                view.held.discard(index)
                if isinstance(error, BadSource):
                    view.wrong.add(index)
        if isinstance(error, BadSource):
            self._standings.struck(source, str(error))
        elif isinstance(error, NoAnswer):
            self._standings.no_answer(source, self._now(), str(error))
        elif isinstance(error, Unwilling):
            self._standings.unwilling(source, str(error))
        return True
