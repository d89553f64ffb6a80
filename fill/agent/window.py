"""When a site fills: windows of its own clock, and one start for all its appliances. Pure: the time is passed in.

Over a change of the clock a window opens and closes when the clocks of the site say so. A time that the clock
skips counts as the moment of the change; of a time that it shows twice the first opens and the second closes:
a window is never shorter for it, but where the hour itself is not there.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_clock = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z").match
_AHEAD_DAYS: Final = 9
"""A window that opens on one day of the week has opened again within so many."""

Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description="such as 03:00")]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``start`` to ``end`` of the site's clock, on the days on which it starts; past midnight if ``end`` is earlier."""

    start: Clock = "03:00"
    end: Clock = "07:00"
    days: Annotated[tuple[Day, ...], Meta(min_length=1, max_length=7)] = DAYS

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError(f"a window from {self.start} to {self.end} has no length")


class State(enum.Enum):
    """Whether the agent may work, and what it then does."""

    OPEN = "open"  # fill until `Slot.end`
    CLOSED = "closed"  # only what is urgent; the next window is `Slot`


@dataclass(frozen=True, slots=True)
class Slot:
    """One opening, in seconds since 1970; ``end`` is exclusive."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Now:
    state: State
    slot: Slot
    """The one that is open, or the next."""


def jitter_s(site: str, most_s: float) -> float:
    """How much later than its windows say this site starts: from 0 to ``most_s``, always the same.

    Sites of one time zone do not fall upon the origin as one; the appliances of one site start together, so
    that what one of them fetches the others can copy.
    """
    drawn = int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "big")
    return most_s * (drawn / 2**64)


def at(now: float, windows: Sequence[Window], zone: ZoneInfo, later_s: float) -> Now:
    """What holds at ``now``; windows that touch or overlap are one. ``windows`` is not empty."""
    today = datetime.fromtimestamp(now, zone).date()
    for slot in slots(today - timedelta(days=2), _AHEAD_DAYS + 2, windows, zone, later_s):
        if now < slot.end:
            return Now(State.OPEN if slot.start <= now else State.CLOSED, slot)
    raise AssertionError("a window opens at least once a week")


def slots(first: date, days: int, windows: Sequence[Window], zone: ZoneInfo, later_s: float) -> list[Slot]:
    """What opens on ``days`` days from ``first`` on, in order; each begins ``later_s`` late, if it is still open."""
    found: list[Slot] = []
    for ahead in range(days):
        day = first + timedelta(days=ahead)
        for window in windows:
            if DAYS[day.weekday()] in window.days:
                ends_on = day if window.end > window.start else day + timedelta(days=1)
                found.append(Slot(_moment(day, window.start, zone, 0), _moment(ends_on, window.end, zone, 1)))
    joined: list[Slot] = []
    for slot in sorted((one for one in found if one.end > one.start), key=lambda one: one.start):
        if joined and slot.start <= joined[-1].end:
            joined[-1] = Slot(joined[-1].start, max(joined[-1].end, slot.end))
        else:
            joined.append(slot)
    # A window shorter than the jitter still opens: at most half of it is waited away.
    late = [Slot(one.start + min(later_s, (one.end - one.start) / 2), one.end) for one in joined]
    return [one for one in late if one.start < one.end]


def _moment(day: date, clock: str, zone: ZoneInfo, fold: int) -> float:
    """When the site's clock shows ``clock``: the first time or, with ``fold`` 1, the last."""
    found = _clock(clock)
    assert found is not None
    shown = datetime.combine(day, time(int(found[1]), int(found[2]), fold=fold), zone)
    moment = shown.timestamp()
    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == shown.replace(tzinfo=None):
        return moment
    return _change_near(moment, zone)


def _change_near(moment: float, zone: ZoneInfo) -> float:
    """When the clock was put forward, within a day of ``moment``."""
    low, high = moment - 86_400, moment + 86_400
    before = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 0.5:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return float(round(high))


def shown(moment: float, zone: tzinfo) -> str:
    """``moment`` on the site's clock, for a person."""
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).strftime("%a %H:%M %Z")
