"""What a title that is not out yet will be watched: from titles that are like it. Pure.

Named ones first (the operator's, in the catalog entry), else those that share most tags, else whatever came out of
late. Of each, the first days after its own release count, encode by encode: so the ladder that an audience of that
kind watches comes with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.objectkey import title_of
from fill.popularity.forecast import History

MOST_COMPARED: Final = 8
TOP_SHARE: Final = 0.1
"""Of a region's titles: what a release is taken for where nothing came out within the history."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog says of a title, for finding those that are like it."""

    title: str
    released: int
    """The column of the history on which it came out; before 0: earlier."""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A title to come, as published: ``keys`` are its objects."""

    title: str
    keys: tuple[str, ...]
    comparable: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Prior:
    bytes_per_day: dict[str, float]
    """By key."""
    reason: str


def comparable_titles(
    scheduled: Scheduled, others: Sequence[Known], first_days: int, days: int
) -> tuple[list[str], str]:
    """(titles that are like it, best first; how they were found).

    Found by tags, only those count whose first days lie within the history of ``days``.
    """
    if scheduled.comparable:
        return list(scheduled.comparable), "named in the catalog"
    recent = [
        other
        for other in others
        if 0 <= other.released <= days - first_days and other.title != scheduled.title
    ]
    alike = sorted(
        ((_likeness(scheduled.tags, other.tags), other.released, other.title) for other in recent),
        reverse=True,
    )
    found = [title for likeness, _, title in alike if likeness > 0]
    if found:
        return found[:MOST_COMPARED], "by their tags"
    return [title for _, _, title in alike], "whatever came out lately"


def _likeness(tags: frozenset[str], others: frozenset[str]) -> float:
    """Shared tags of all tags (Jaccard)."""
    return len(tags & others) / len(tags | others) if tags & others else 0.0


def first_days_of(
    history: History, keys: Sequence[str], released: Mapping[str, int], first_days: int
) -> dict[str, dict[str, float]]:
    """{title: {path below it: bytes a day in its first days}}, of titles whose first days the history has.

    ``keys`` by object. Who makes many priors of one unit calls this once.
    """
    # Who came out and was not watched at all here counts as such, and makes the mean smaller.
    found: dict[str, dict[str, float]] = {
        title: {} for title, start in released.items() if 0 <= start <= history.days - first_days
    }
    for row, number in enumerate(history.objects.tolist()):
        key = keys[number]
        title = title_of(key)
        if title in found:
            start = released[title]
            mean = float(history.bytes[row, start : start + first_days].mean())
            found[title][key.partition("/")[2]] = mean
    return found


def by_path(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """{key: bytes a day} as {title: {path below it: bytes a day}}."""
    found: dict[str, dict[str, float]] = {}
    for key, figure in figures.items():
        title, _, path = key.partition("/")
        found.setdefault(title, {})[path] = figure
    return found


def prior(
    scheduled: Scheduled,
    alike: Sequence[str],
    how: str,
    starts: Mapping[str, Mapping[str, float]],
    now: Mapping[str, Mapping[str, float]],
) -> Prior:
    """What one unit will watch of it a day in its first days.

    ``starts`` is of `first_days_of`; ``now``, what is watched of each title today, stands in for a title that came
    out before the history began, and without any comparable one for the top of what is watched.
    """
    told = [starts[title] for title in alike if title in starts]
    reason = f"like the first days of {_listed([title for title in alike if title in starts])}, {how}"
    if not any(told):
        told = [now[title] for title in alike if title in now]
        reason = f"as {_listed([title for title in alike if title in now])} today, {how}"
    if not told:
        ranked = sorted(now.values(), key=lambda paths: -sum(paths.values()))
        told = ranked[: max(1, round(len(ranked) * TOP_SHARE))]
        reason = (
            f"like the mean of the {len(told)} titles watched most: nothing came out that it could be like"
        )
    if not told:
        return Prior({}, "nothing was watched yet")
    return Prior(_spread(scheduled, told), reason)


def _spread(scheduled: Scheduled, told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of ``told``, on the paths that the title has; what they watched of others goes along in proportion."""
    total = sum(sum(paths.values()) for paths in told) / len(told)
    of_key = {
        key: float(np.mean([paths.get(key.partition("/")[2], 0.0) for paths in told]))
        for key in scheduled.keys
    }
    matched = sum(of_key.values())
    if matched <= 0:
        return dict.fromkeys(scheduled.keys, total / len(scheduled.keys))
    return {key: figure * total / matched for key, figure in of_key.items()}


def _listed(titles: Sequence[str], most: int = 3) -> str:
    more = f" and {len(titles) - most} more" if len(titles) > most else ""
    return ", ".join(titles[:most]) + more
