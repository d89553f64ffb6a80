"""What a plan changes of another one: bytes in and out, per appliance and site, and for each hour of the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.documents import BadDocument
from contracts.placement import SiteIndex, site_key
from fill.planning.churn import Before, bytes_of_each
from fill.planning.documents import decode_before
from fill.planning.previous import PublishedPlan
from fill.planning.rules import Rules

_HOUR_S = 3600


class SiteChange(msgspec.Struct, frozen=True):
    site: str
    added_bytes: int
    removed_bytes: int
    outside_bytes: int
    """Of what is added: objects that no appliance of the site has, which one of them fetches from outside."""
    by_hour: tuple[int, ...]
    """Bytes in each hour of the window, as the appliances fetch at their rate, all from its start."""
    left_bytes: int
    """What the window does not carry: it is fetched on the nights after."""
    appliances: tuple[tuple[str, int, int], ...]
    """Name, bytes added, bytes removed."""


def differences(old: PublishedPlan, new: PublishedPlan, rules: Rules) -> Iterator[SiteChange]:
    """Of each site of either plan that changes. Raises `S3Error`, `BadDocument`."""
    keys = sorted({key for key, _ in old.rows} | {key for key, _ in new.rows})
    row_of = {key: row for row, key in enumerate(keys)}
    size = np.zeros(len(keys), np.int64)
    for key, count in old.rows:
        size[row_of[key]] = count
    # An object that was published again in another size is fetched anew by whoever has the old one.
    changed = np.zeros(len(keys), np.bool_)
    for key, count in new.rows:
        row = row_of[key]
        changed[row] = size[row] not in {0, count}
        size[row] = count
    sites: dict[str, SiteIndex] = {site.site: site for site in (*old.index.sites, *new.index.sites)}
    for name in sorted(sites):
        change = _site(old, new, name, row_of, size, changed, rules)
        if change is not None:
            yield change


def _site(
    old: PublishedPlan,
    new: PublishedPlan,
    name: str,
    row_of: dict[str, int],
    size: NDArray[np.int64],
    changed: NDArray[np.bool_],
    rules: Rules,
) -> SiteChange | None:
    boxes = _appliances(old, new, name)
    before = _held(old, name, boxes, row_of)
    after = _held(new, name, boxes, row_of)
    had = np.zeros((len(size), len(boxes)), np.bool_)
    had[before.rows] = before.holders
    has = np.zeros_like(had)
    has[after.rows] = after.holders
    kept = had & has & ~changed[:, None]
    added = bytes_of_each(has & ~kept, size)
    removed = bytes_of_each(had & ~kept, size)
    if not added.any() and not removed.any():
        return None
    outside = has.any(axis=1) & ~(had.any(axis=1) & ~changed)
    hours = _by_hour(added, rules)
    return SiteChange(
        name,
        int(added.sum()),
        int(removed.sum()),
        int(size[outside].sum()),
        hours,
        int(added.sum()) - sum(hours),
        tuple((box, int(added[at]), int(removed[at])) for at, box in enumerate(boxes)),
    )


def _appliances(old: PublishedPlan, new: PublishedPlan, name: str) -> list[str]:
    found: dict[str, None] = {}
    for plan in (new, old):
        site = plan.site(name)
        found |= dict.fromkeys(site.appliances if site is not None else ())
    return list(found)


def _held(plan: PublishedPlan, name: str, boxes: Sequence[str], row_of: dict[str, int]) -> Before:
    site = plan.site(name)
    if site is None:
        return Before(np.zeros(0, np.int64), np.zeros((0, len(boxes)), np.bool_), len(row_of))
    key = site_key(plan.version, name)
    if site.rows != len(plan.rows):
        raise BadDocument(key, f"is about {site.rows} objects, and the catalog had {len(plan.rows)}")
    rows = np.fromiter((row_of[known] for known, _ in plan.rows), np.int32, len(plan.rows))
    return decode_before(site, rows, boxes, len(row_of), key)


def _by_hour(added: NDArray[np.int64], rules: Rules) -> tuple[int, ...]:
    """All appliances of a site start at once, and each fetches at its rate until it has everything."""
    found = []
    left = added.astype(np.float64)
    for start in range(0, int(np.ceil(rules.window_s)), _HOUR_S):
        carried = np.minimum(left, rules.rate_bps / 8 * min(_HOUR_S, rules.window_s - start))
        found.append(int(carried.sum()))
        left = left - carried
    return tuple(found)
