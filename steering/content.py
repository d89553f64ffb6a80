"""What exists and who shall hold it: catalog and plans, read from S3 in a thread and kept.

While S3 is away, what was read last stays in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts import catalog, plan
from contracts.objectkey import title_of
from daemon.s3 import S3Config, S3Error, get, open_client


@dataclass(frozen=True)
class Title:
    """What an answer needs to know of a title."""

    hls: str
    dash: str
    countries: tuple[str, ...] | None


@dataclass(frozen=True)
class Content:
    catalog: str | None = None
    plan: str | None = None
    titles: dict[str, Title] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    planned: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Titles by (plan version, appliance); the newest two versions."""


class ContentReader:
    """Blocking: for a thread of its own."""

    def __init__(self, config: S3Config) -> None:
        self._client = open_client(config)
        self._bucket = config.bucket

    def read(self, known: Content, appliances: Iterable[str]) -> Content:
        """What is newer than ``known``, with what has not changed taken over.

        Raises `S3Error`, `BadDocument`.
        """
        version, titles, entries = self._catalog(known)
        newest, planned = self._plans(known, appliances)
        return Content(version, newest, titles, entries, planned)

    def _catalog(self, known: Content) -> tuple[str, dict[str, Title], dict[str, str]]:
        raw = get(self._client, self._bucket, catalog.LATEST_KEY, limit_bytes=catalog.MAX_LATEST_BYTES)
        version = catalog.decode_latest(raw, catalog.LATEST_KEY).version
        if version == known.catalog:
            return version, known.titles, known.entries
        key = catalog.index_key(version)
        index = catalog.decode_index(
            get(self._client, self._bucket, key, limit_bytes=catalog.MAX_INDEX_BYTES), key
        )
        titles: dict[str, Title] = {}
        entries: dict[str, str] = {}
        for ref in index.titles:
            entries[ref.title] = ref.entry
            if known.entries.get(ref.title) == ref.entry:
                titles[ref.title] = known.titles[ref.title]
                continue
            raw = get(self._client, self._bucket, ref.entry, limit_bytes=catalog.MAX_ENTRY_BYTES)
            entry = catalog.decode_entry(raw, ref.entry, ref.title)
            titles[ref.title] = Title(entry.hls, entry.dash, entry.countries)
        return version, titles, entries

    def _plans(
        self, known: Content, appliances: Iterable[str]
    ) -> tuple[str | None, dict[tuple[str, str], frozenset[str]]]:
        try:
            raw = get(self._client, self._bucket, plan.LATEST_KEY, limit_bytes=catalog.MAX_LATEST_BYTES)
        except S3Error as error:
            if error.missing:
                return None, {}
            raise
        version = catalog.decode_latest(raw, plan.LATEST_KEY).version
        if version == known.plan:
            return version, known.planned
        planned = {pair: titles for pair, titles in known.planned.items() if pair[0] == known.plan}
        for appliance in appliances:
            key = plan.plan_key(version, appliance)
            try:
                raw = get(self._client, self._bucket, key, limit_bytes=plan.MAX_PLAN_BYTES)
            except S3Error as error:
                if error.missing:
                    continue  # joined the fleet after this plan was made
                raise
            mine = plan.decode_plan(raw, key, appliance)
            planned[version, appliance] = frozenset(title_of(item.key) for item in mine.objects)
        return version, planned
