"""Every site's plan, several at a time: sites do not depend on one another, and each takes a processor."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalog import Version
from contracts.fleet import Site
from fill.planning.churn import Before
from fill.planning.documents import SiteDocuments, encode_site
from fill.planning.report import SiteReport, report
from fill.planning.rules import Rules
from fill.planning.site import plan_site
from fill.planning.table import ObjectTable
from fill.planning.validate import check

_ALONE: Final = 8
"""Fewer sites than this are planned in this process: starting others takes longer."""


@dataclass(frozen=True, eq=False)
class Task:
    """What all sites' plans are made from."""

    table: ObjectTable
    rules: Rules
    now: float
    version: Version
    demand: Callable[[Site], NDArray[np.float64]]
    """Bytes a day of each object that a site's viewers are expected to ask for."""
    before: Callable[[Site], Before | None]


def plan_sites(
    task: Task, sites: Sequence[Site], processes: int
) -> Iterator[tuple[SiteDocuments, SiteReport]]:
    """The documents and the report of each site, in their order; raises what ``demand`` and ``before`` do."""
    if processes < 2 or len(sites) < _ALONE:
        for site in sites:
            yield plan_one(task, site)
        return
    # fork: the catalog's arrays are shared as they are, and not a byte of them is copied.
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _adopt, (task,)) as pool:
        yield from pool.imap(_plan_adopted, sites, chunksize=1)


def plan_one(task: Task, site: Site) -> tuple[SiteDocuments, SiteReport]:
    """One site, checked before it is written. Raises `BadPlan`."""
    placed = plan_site(task.table, site, task.demand(site), task.rules, task.now, task.before(site))
    check(task.table, placed)
    return encode_site(task.table, placed, task.version), report(task.table, placed, task.rules)


_adopted: Task | None = None


def _adopt(task: Task) -> None:
    global _adopted
    _adopted = task


def _plan_adopted(site: Site) -> tuple[SiteDocuments, SiteReport]:
    assert _adopted is not None
    return plan_one(_adopted, site)
