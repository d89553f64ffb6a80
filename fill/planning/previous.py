"""The plan in force, as the next one is made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contracts import placement
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, check_sha256, signature_key
from contracts.fleet import Site
from contracts.signature import SignatureKeys
from daemon.s3 import S3Error, Trouble, get
from fill.planning.churn import Before
from fill.planning.documents import decode_before
from fill.planning.table import ObjectTable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, eq=False)
class HeldAt:
    """Who holds what at one site, in rows of today's table."""

    before: Before
    reasons: NDArray[np.uint8]
    """Of each of its rows."""
    names: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.before.rows)

    def appliances(self, row: int) -> tuple[str, ...]:
        at = self._at(row)
        holders = self.before.holders[at] if at is not None else ()
        return tuple(name for name, held in zip(self.names, holders, strict=False) if held)

    def reason(self, row: int) -> placement.Reason:
        at = self._at(row)
        return placement.Reason(int(self.reasons[at]) & 0x7F if at is not None else 0)

    def _at(self, row: int) -> int | None:
        at = int(np.searchsorted(self.before.rows, row))
        return at if at < self.count and self.before.rows[at] == row else None


class PublishedPlan:
    """One version in S3; every document of it is believed by signature and digest. Raises `S3Error`, `BadDocument`."""

    def __init__(
        self, open_client: Callable[[], S3Client], bucket: str, version: str, keys: SignatureKeys | None
    ) -> None:
        self._open = open_client
        self._bucket = bucket
        self.version = version
        name = placement.index_key(version)
        raw = self._get(name, placement.MAX_INDEX_BYTES)
        if keys is not None:
            keys.verify(raw, self._get(signature_key(name), MAX_SIGNATURE_BYTES), name)
        self.index = placement.decode_index(raw, name)
        if self.index.version != version:
            raise BadDocument(name, f"is the index of version {self.index.version}, not of {version}")
        self._sites = {site.site: site for site in self.index.sites}

    @cached_property
    def rows(self) -> list[tuple[str, int]]:
        """Key and size of every object it was made for."""
        name = placement.objects_key(self.version)
        raw = self._get(name, placement.MAX_OBJECTS_BYTES)
        check_sha256(raw, self.index.objects, name, "plan")
        return placement.object_rows(placement.decode_objects(raw, name), name)

    def site(self, site: str) -> placement.SitePlacement | None:
        """None for a site that it has no plan for."""
        known = self._sites.get(site)
        if known is None:
            return None
        name = placement.site_key(self.version, site)
        raw = self._get(name, placement.MAX_SITE_BYTES)
        check_sha256(raw, known.placement, name, "plan")
        return placement.decode_site(raw, name, self.version, site)

    def held_at(self, site: Site, table: ObjectTable) -> HeldAt | None:
        """Who of ``site`` holds what, and why; None for a site that is not in the plan."""
        found = self.site(site.id)
        if found is None:
            return None
        name = placement.site_key(self.version, site.id)
        rows = table.rows_of([key for key, _ in self.rows])
        before = decode_before(found, rows, found.appliances, len(table), name)
        wanted = np.frombuffer(placement.unpack(found.wanted, found.rows, name), np.uint8)
        held = np.flatnonzero(wanted)
        reasons = np.frombuffer(placement.unpack(found.reasons, len(held), name), np.uint8)
        of_row = np.zeros(len(table), np.uint8)
        some = rows[held] >= 0
        of_row[rows[held][some]] = reasons[some]
        return HeldAt(before, of_row[before.rows], found.appliances)

    def before(self, table: ObjectTable) -> Callable[[Site], Before | None]:
        """What each site of today's fleet holds so far, in rows of today's ``table``.

        An object whose size has changed is another one: it was published again.
        """
        rows = table.rows_of([key for key, _ in self.rows])
        then = np.array([size for _, size in self.rows], np.int64)
        same: NDArray[np.bool_] = rows >= 0
        same[same] = table.size[rows[same]] == then[same]
        rows[~same] = -1

        def of_site(site: Site) -> Before | None:
            found = self.site(site.id)
            if found is None:
                return None
            name = placement.site_key(self.version, site.id)
            return decode_before(found, rows, [box.id for box in site.appliances], len(table), name)

        return of_site

    def _get(self, key: str, limit_bytes: int) -> bytes:
        return get(self._open(), self._bucket, key, limit_bytes=limit_bytes)


def read_published(
    open_client: Callable[[], S3Client], bucket: str, version: str, keys: SignatureKeys | None
) -> PublishedPlan | None:
    """None for a version without an index: it was never published, or by a planner of before there were any."""
    try:
        return PublishedPlan(open_client, bucket, version, keys)
    except S3Error as error:
        if error.trouble is Trouble.NO_OBJECT:
            return None
        raise
