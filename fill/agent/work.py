"""What is to be fetched: the plan's titles, as the newest catalog has them.

A title that was published again after the plan was made is taken as it is now: its bytes at the origin are
the new ones, and the old digests would only refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.catalog import LATEST_KEY, CatalogIndex, Kind, TitleEntry, TitleRef
from contracts.ingest import Wanted
from contracts.objectkey import title_of
from contracts.plan import Plan, PlannedObject
from fill.s3documents import read_entry, read_index, read_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_entry_version = re.compile(r"catalog/([0-9A-Za-z-]+)/").match


class NoCatalog(Exception):
    """A plan, but no catalog: somebody emptied the bucket."""


@dataclass(frozen=True, slots=True)
class Work:
    """``wanted`` in the plan's order; ``refs`` says where each title's digests are."""

    catalog: str
    wanted: tuple[Wanted, ...]
    refs: Mapping[str, TitleRef]
    published_again: frozenset[str] = field(default_factory=frozenset)
    """Titles that are not as they were when they were planned."""
    gone: tuple[str, ...] = ()
    """Planned keys whose title the catalog no longer has."""

    @property
    def size(self) -> int:
        """Bytes of everything wanted."""
        return sum(item.size for item in self.wanted)

    def changed_since(self, before: Work) -> frozenset[str]:
        """The titles that stand elsewhere, or not at all, in an earlier catalog's work."""
        return frozenset(title for title, ref in self.refs.items() if before.refs.get(title) != ref)


def read_work(client: S3Client, bucket: str, plan: Plan) -> Work:
    """The work of ``plan`` by the newest catalog; raises `S3Error`, `BadDocument`, `NoCatalog`."""
    latest = read_latest(client, bucket, LATEST_KEY)
    if latest is None:
        raise NoCatalog(f"s3://{bucket}/{LATEST_KEY}: does not exist, though plan {plan.version} does")
    index = read_index(client, bucket, latest.version)
    # Only entries that may differ from the plan are read now: the others come one by one.
    entries = {ref.title: read_entry(client, bucket, ref) for ref in suspects(plan, index)}
    return resolve(plan, index, entries)


def suspects(plan: Plan, index: CatalogIndex) -> list[TitleRef]:
    """Planned titles whose entry is younger than the plan's catalog, or whose size is not the planned one."""
    planned: dict[str, int] = {}
    for item in plan.objects:
        title = title_of(item.key)
        planned[title] = planned.get(title, 0) + item.size
    return [
        ref
        for ref in index.titles
        if ref.title in planned and (_younger(ref, plan) or ref.size != planned[ref.title])
    ]


def resolve(plan: Plan, index: CatalogIndex, entries: Mapping[str, TitleEntry]) -> Work:
    """The work; ``entries`` has those of `suspects`. A title that changed is taken whole, as it was planned."""
    refs = {ref.title: ref for ref in index.titles}
    changed = {
        title: entry
        for title, entry in entries.items()
        if _younger(refs[title], plan) or not _holds(entry, plan.objects)
    }
    wanted: list[Wanted] = []
    gone: list[str] = []
    begun: set[str] = set()
    for item in plan.objects:
        title = title_of(item.key)
        if title not in refs:
            gone.append(item.key)
        elif title not in changed:
            wanted.append(Wanted(item.key, item.size))
        elif title not in begun:
            begun.add(title)
            now = sorted(changed[title].objects, key=lambda one: one.kind is not Kind.MANIFEST)
            wanted += [Wanted(one.key, one.size) for one in now]
    planned = {title_of(item.key) for item in wanted}
    return Work(
        index.version,
        tuple(wanted),
        {title: refs[title] for title in sorted(planned)},
        frozenset(changed),
        tuple(gone),
    )


def _younger(ref: TitleRef, plan: Plan) -> bool:
    # Versions sort by age, and an entry stands under the version that published it.
    found = _entry_version(ref.entry)
    return found is not None and found[1] > plan.catalog


def _holds(entry: TitleEntry, planned: Sequence[PlannedObject]) -> bool:
    """Whether everything planned of this title is in its entry, size for size."""
    sizes = {item.key: item.size for item in entry.objects}
    return all(sizes.get(item.key) == item.size for item in planned if title_of(item.key) == entry.title)
