"""How long the plan of a planet takes, how much memory, and how many bytes it is; and what steering holds of it."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

import numpy as np
from joserfc.jwk import OKPKey
from numpy.typing import NDArray

from bench.planet.world import Scale, encode_shares, make_fleet, make_table, taste
from contracts import placement
from contracts.documents import encode, sha256
from contracts.fleet import Fleet, Site, Tier
from contracts.placement import PlanIndex, TitleShares
from contracts.plan import PlacementRef
from daemon.cli import human_bytes, print_table
from fill.planning.documents import objects_of
from fill.planning.fleetplan import Task, plan_sites
from fill.planning.planner import appliance_plans
from fill.planning.report import SiteReport
from fill.planning.rules import Rules
from fill.signing import Signer

_VERSION = "20260101T000000Z-000000"


def run_planet(scale: Scale, processes: int, seed: int) -> None:
    """Prints the table. Timed: everything from the catalog's and the demand's arrays to signed documents."""
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    table = make_table(scale, rng)
    shares = encode_shares(table)
    weights = taste(scale, rng)
    sites = make_fleet(scale, rng)
    made_s = time.monotonic() - began
    by_region = {f"r{region}": weights[region] for region in range(scale.regions)}

    def demand(site: Site) -> NDArray[np.float64]:
        found: NDArray[np.float64] = by_region[site.region][table.title] * shares * 1e15
        return found

    task = Task(table, Rules(), 1.79e9, _VERSION, demand, lambda site: None)
    signer = Signer(OKPKey.generate_key("Ed25519"))
    by_id = {site.id: site for site in sites}
    began, cpu = time.monotonic(), _cpu_s()
    objects = placement.encode_objects(objects_of(table, _VERSION, _VERSION))
    digest = sha256(objects)
    written = {"objects, once": len(objects), "sites": 0, "titles, for steering": 0, "appliances": 0}
    held, reports, indexed, count = [], [], [], 0
    for documents, report in plan_sites(task, sites, processes):
        index = documents.index
        written["sites"] += len(documents.placement)
        written["titles, for steering"] += len(documents.titles)
        for plan in appliance_plans(
            by_id[index.site], _VERSION, _VERSION, PlacementRef(digest, index.placement), ()
        ):
            body = encode(plan)
            written["appliances"] += len(body) + len(signer.sign(body))
            count += 1
        reports.append(report)
        indexed.append(index)
        held.append(documents.titles)
    raw = encode(PlanIndex(_VERSION, _VERSION, table.titles, digest, tuple(indexed)))
    written["index"] = len(raw) + len(signer.sign(raw))
    took_s = time.monotonic() - began
    cpu = _cpu_s() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    _, steering = _held_by_steering(held, indexed, len(table.titles))
    print_table(
        ("what", "figure"),
        [
            ("appliances, sites", f"{count:,}, {len(sites):,}"),
            ("encodes and other objects", f"{len(table):,} of {len(table.titles):,} titles"),
            ("catalog", human_bytes(float(table.size.sum()))),
            ("making the planet (not timed below)", f"{made_s:.1f} s"),
            (f"planned, encoded, signed by {processes} processes", f"{took_s:.1f} s, {cpu:.0f} s of CPU"),
            (
                "memory, this process and the largest of its children",
                f"{human_bytes(peak)}, {human_bytes(children)}",
            ),
            ("memory of all at most", human_bytes(peak + processes * children)),
            *((f"written: {name}", human_bytes(size)) for name, size in written.items()),
            ("held by steering, of one version", human_bytes(steering)),
            *_quality(reports),
        ],
        title="The plan of a planet",
    )
    print()
    Fleet(tuple(sites))  # it is one that a fleet file could hold


def _quality(reports: Sequence[SiteReport]) -> list[tuple[str, str]]:
    rows = []
    for tier in (Tier.ISP, Tier.IXP):
        mine = [report for report in reports if report.tier is tier]
        if not mine:
            continue
        hits = [report.hit_share for report in mine]
        loads = [max(box.load for box in report.appliances) for report in mine]
        steered = [max(box.steered_load for box in report.appliances) for report in mine]
        shares = [max(box.share for box in report.appliances) for report in mine]
        rows += [
            (f"{tier.value}: of the demand held, mean and least", f"{np.mean(hits):.2%}, {min(hits):.2%}"),
            (f"{tier.value}: load, max / mean, median and most", f"{np.median(loads):.3f}, {max(loads):.3f}"),
            (
                f"{tier.value}: the same once steering has evened it out",
                f"{np.median(steered):.3f}, {max(steered):.3f}",
            ),
            (f"{tier.value}: fullest appliance", f"{max(shares):.1%}"),
        ]
    return rows


def _held_by_steering(
    held: Sequence[bytes], indexed: Sequence[placement.SiteIndex], titles: int
) -> tuple[list[TitleShares], int]:
    """Every site's titles as steering keeps them, and the bytes that they take."""
    kept = [
        TitleShares.decode(raw, site.site, site.appliances, titles)
        for raw, site in zip(held, indexed, strict=True)
    ]
    return kept, sum(titles * len(site.appliances) for site in indexed)


def _cpu_s() -> float:
    found = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        found += used.ru_utime + used.ru_stime
    return found
