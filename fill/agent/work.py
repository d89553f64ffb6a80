"""What is to be fetched: the plan's titles, as the newest catalog has them.

A title that was published again after the plan was made is taken as it is now: its bytes at the origin are
the new ones, and the old digests would only refuse them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from contracts.catalog import LATEST_KEY, CatalogIndex, Kind, TitleEntry, TitleRef
from contracts.documents import BadDocument
from contracts.ingest import Wanted
from contracts.objectkey import title_of
from contracts.plan import Plan, PlannedObject
from daemon.log import event
from daemon.s3 import S3Error, Trouble
from fill.agent.backoff import Patience
from fill.catalog import CatalogReader, Trust
from fill.s3documents import read_entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("fill.agent.work")


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
    refused: str = ""
    """Why it is not the catalog that `catalog/latest` names; empty when it is."""

    @property
    def size(self) -> int:
        """Bytes of everything wanted."""
        return sum(item.size for item in self.wanted)

    def changed_since(self, before: Work) -> frozenset[str]:
        """The titles that stand elsewhere, or not at all, in an earlier catalog's work."""
        return frozenset(title for title, ref in self.refs.items() if before.refs.get(title) != ref)


def read_work(client: S3Client, bucket: str, plan: Plan, patience: Patience, trust: Trust) -> Work:
    """The work of ``plan`` by the newest catalog that is believed; raises `S3Error`, `BadDocument`, `NoCatalog`."""
    reader = CatalogReader(client, bucket, trust, patience.read)
    index, refused = reader.newest_or_obeyed()
    if index is None:
        raise NoCatalog(f"s3://{bucket}/{LATEST_KEY}: does not exist, though plan {plan.version} does")
    if refused:
        event(log, "latest catalog refused", logging.ERROR, why=refused, catalog_kept=index.version)
    before: CatalogIndex | None = index
    if index.version != plan.catalog:
        before = _read_if_there(reader, plan.catalog)
    # Only entries that may differ from the plan are read now: the others come one by one.
    entries: dict[str, TitleEntry] = {}
    for ref in suspects(plan, index, before):
        try:
            entries[ref.title] = patience.read(partial(read_entry, client, bucket, ref))
        except BadDocument as error:
            # Its own title is left out when its turn comes; the others go on.
            event(log, "catalog entry refused", logging.DEBUG, why=str(error))
    return replace(resolve(plan, index, before, entries), refused=refused)


def _read_if_there(reader: CatalogReader, version: str) -> CatalogIndex | None:
    try:
        return reader.version(version)
    except BadDocument as error:
        # Sizes say then which titles are not as they were planned.
        event(log, "the plan's catalog refused", logging.WARNING, why=str(error))
        return None
    except S3Error as error:
        if error.trouble is not Trouble.NO_OBJECT:
            raise
        return None


def suspects(plan: Plan, index: CatalogIndex, before: CatalogIndex | None) -> list[TitleRef]:
    """Planned titles that were published again since ``before`` (the plan's catalog; None when it is gone),
    or whose size is not the planned one.
    """
    planned: dict[str, int] = {}
    for item in plan.objects:
        title = title_of(item.key)
        planned[title] = planned.get(title, 0) + item.size
    again = _published_again(index, before)
    return [
        ref
        for ref in index.titles
        if ref.title in planned and (ref.title in again or ref.size != planned[ref.title])
    ]


def _published_again(index: CatalogIndex, before: CatalogIndex | None) -> frozenset[str]:
    if before is None or before is index:
        return frozenset()
    known = {ref.title: ref for ref in before.titles}
    return frozenset(ref.title for ref in index.titles if known.get(ref.title) != ref)


def resolve(
    plan: Plan, index: CatalogIndex, before: CatalogIndex | None, entries: Mapping[str, TitleEntry]
) -> Work:
    """The work; ``entries`` has those of `suspects`. A title that changed is taken whole, as it was planned."""
    refs = {ref.title: ref for ref in index.titles}
    again = _published_again(index, before)
    changed = {
        title: entry for title, entry in entries.items() if title in again or not _holds(entry, plan.objects)
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


def _holds(entry: TitleEntry, planned: Sequence[PlannedObject]) -> bool:
    """Whether everything planned of this title is in its entry, size for size."""
    sizes = {item.key: item.size for item in entry.objects}
    return all(sizes.get(item.key) == item.size for item in planned if title_of(item.key) == entry.title)
