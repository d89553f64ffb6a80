"""A site's plan as the documents of `contracts.placement`, and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.catalog import Version
from contracts.documents import encode, sha256
from contracts.placement import (
    Objects,
    SiteIndex,
    SitePlacement,
    pack,
    unpack,
)
from fill.planning.churn import Before
from fill.planning.site import Placed
from fill.planning.table import ObjectTable


@dataclass(frozen=True, slots=True)
class SiteDocuments:
    index: SiteIndex
    placement: bytes
    titles: bytes


def objects_of(table: ObjectTable, version: Version, catalog: Version) -> Objects:
    """Keys and sizes, in the order of the table."""
    sizes = table.size.tolist()
    bounds = table.starts.tolist()
    return Objects(
        version,
        catalog,
        tuple(
            (
                title,
                tuple((table.keys[row][len(title) + 1 :], sizes[row]) for row in range(start, end)),
            )
            for title, start, end in zip(table.titles, bounds, bounds[1:], strict=False)
        ),
    )


def encode_site(table: ObjectTable, placed: Placed, version: Version) -> SiteDocuments:
    """What is written of one site."""
    site = placed.site
    wanted = np.zeros(len(table), np.uint8)
    # The upper byte, and never 0: 60,000 levels are 235 steps.
    wanted[placed.rows] = (placed.level >> 8) + 1
    appliances = tuple(box.id for box in site.appliances)
    document = encode(
        SitePlacement(
            version,
            site.id,
            appliances,
            len(table),
            pack(wanted.tobytes()),
            pack(np.packbits(np.ascontiguousarray(placed.holders), axis=1).tobytes()),
            pack((placed.reason | (placed.urgent << 7)).astype(np.uint8).tobytes()),
        )
    )
    titles = pack(title_shares(table, placed).tobytes())
    return SiteDocuments(SiteIndex(site.id, appliances, sha256(document), sha256(titles)), document, titles)


def title_shares(table: ObjectTable, placed: Placed) -> NDArray[np.uint8]:
    """Of each title and appliance: 0 to 255, the share of what is asked for of the title that it shall hold."""
    # A byte a day of each, so that a title that nobody asks for has shares too.
    asked = placed.wanted.demand + table.size * 1e-12 + 1e-12
    total = table.by_title(asked)
    found = np.zeros((len(table.titles), placed.holders.shape[1]))
    titles = table.title[placed.rows]
    first = np.flatnonzero(np.diff(titles, prepend=-1))
    held = asked[placed.rows]
    if len(first):
        for box in range(found.shape[1]):
            found[titles[first], box] = np.add.reduceat(np.where(placed.holders[:, box], held, 0.0), first)
        found /= total[:, None]
    # Something is never 0, and all is 255 whatever rounding says.
    return np.where(found > 0, np.clip(np.rint(found * 255), 1, 255), 0).astype(np.uint8)


def decode_before(
    placement: SitePlacement, rows: NDArray[np.int32], appliances: Sequence[str], objects: int, name: str
) -> Before:
    """The plan in force of a site, for today's catalog and fleet; raises `BadDocument`.

    ``rows`` has today's row of each row of then, or -1; ``appliances`` and ``objects`` are today's.
    """
    wanted = np.frombuffer(unpack(placement.wanted, placement.rows, name), np.uint8)
    held = np.flatnonzero(wanted)
    width = -(-len(placement.appliances) // 8)
    packed = np.frombuffer(unpack(placement.holders, len(held) * width, name), np.uint8)
    bits = np.unpackbits(packed.reshape(len(held), width), axis=1, count=len(placement.appliances))
    columns = {appliance: at for at, appliance in enumerate(placement.appliances)}
    holders = np.zeros((len(held), len(appliances)), np.bool_, order="F")
    for at, appliance in enumerate(appliances):
        if appliance in columns:
            holders[:, at] = bits[:, columns[appliance]]
    now = rows[held]
    some = (now >= 0) & holders.any(axis=1)
    order = np.argsort(now[some], kind="stable")
    return Before(now[some][order].astype(np.int64), holders[some][order], objects)
