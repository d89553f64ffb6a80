"""What exists and who shall hold it: catalog and plans, read from S3 in a thread and kept.

While S3 is away, what was read last stays in force. A title or a plan that cannot be believed is left
as it was, named, and does not keep the others from being read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contracts import catalog, plan
from contracts.catalog import TitleRef
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, signature_key
from contracts.inforce import CATALOGS, PLANS, InForce, Subject, to_obey
from contracts.objectkey import title_of
from contracts.signature import SignatureKeys
from daemon.config import ConfigError
from daemon.keyfiles import load_public
from daemon.s3 import S3Config, S3Error, Trouble, get, get_if_there, open_client
from steering.config import Config
from steering.holdings import HD_LINES, Title, holdings_of, holdings_of_titles
from steering.manifests import MAX_MANIFEST_BYTES
from steering.plans import VersionPlans, read_signature

_ASTRAY: Final = frozenset({Trouble.NO_OBJECT, Trouble.TOO_LARGE})
"""S3 answers, and nobody of us left it so: as good as a document that is not believed."""


@dataclass(frozen=True)
class Content:
    catalog: str | None = None
    plan: str | None = None
    titles: dict[str, Title] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    """The catalog entry that each of the titles was read from."""
    planned: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """What it is to hold (`steering.holdings`), by (plan version, appliance); the newest two versions."""
    refused: dict[str, str] = field(default_factory=dict)
    """What is wrong, by the S3 key of each document that was not believed."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of each title that ever was: its bits in ``planned``, for as long as the process runs."""
    plan_issued_at: int = 0
    """When the planner put the plan in force, by its signature, seconds since 1970; 0: it did not sign that."""
    catalog_issued_at: int = 0
    """When the publisher put the catalog in force, likewise."""

    behind: tuple[TitleRef, ...] = ()
    """Titles that are as they were, or not there: their entries are refused, and looked at again."""

    def in_force(self, subject: Subject) -> InForce | None:
        """What is in force here."""
        version, issued_at = (
            (self.plan, self.plan_issued_at) if subject is PLANS else (self.catalog, self.catalog_issued_at)
        )
        return InForce(version, issued_at) if version is not None else None

    def obeyed(self, subject: Subject) -> InForce | None:
        """The signed word that is obeyed: an older one is not."""
        said = self.in_force(subject)
        return said if said is not None and said.issued_at else None


@dataclass(frozen=True)
class Trusted:
    """Whose word is believed; None is anybody's."""

    plans: SignatureKeys | None = None
    catalogs: SignatureKeys | None = None


def load_trusted(config: Config) -> Trusted:
    """The public keys of planner and publisher; raises `ConfigError`."""
    return Trusted(load_keys("plan_key", config.plan_key), load_keys("catalog_key", config.catalog_key))


def load_keys(name: str, path: str | None) -> SignatureKeys | None:
    """The public keys in a file that the configuration names as ``name``; raises `ConfigError`."""
    if path is None:
        return None
    return load_public(Path(path), SignatureKeys.from_jwks, named=name)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A catalog that is in force."""

    version: str
    issued_at: int
    titles: dict[str, Title]
    entries: dict[str, str]
    behind: list[TitleRef] = field(default_factory=list)


class ContentReader:
    """Blocking: for a thread of its own. Raises `ConfigError` when it can be known at once to be wrong."""

    def __init__(self, config: S3Config, trusted: Trusted = Trusted()) -> None:
        from botocore.exceptions import BotoCoreError  # boto3 is loaded when a client is opened

        try:
            # One attempt: it is asked again in any case, in a moment.
            self._client = open_client(config, attempts=1)
        except S3Error as error:
            raise ConfigError(str(error)) from None
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"origin: {error}") from None
        self._bucket = config.bucket
        self._trusted = trusted

    def read(self, known: Content, appliances: Iterable[str]) -> Content:
        """What is newer than ``known``, with what has not changed taken over.

        Raises `S3Error`, and `BadDocument` when there is no catalog yet that is believed.
        """
        refused: dict[str, str] = {}
        numbers = dict(known.numbers)
        listed = self._catalog(known, numbers, refused)
        version, titles, entries = listed.version, listed.titles, listed.entries
        newest = self._in_force(PLANS, known, refused)
        if newest is None:
            return Content(
                *(version, known.plan, titles, entries, known.planned, refused, numbers),
                catalog_issued_at=listed.issued_at,
                behind=tuple(listed.behind),
            )
        planned = self._plans(newest.version, known, appliances, version, titles, refused)
        return Content(
            *(version, newest.version, titles, entries, planned, refused, numbers),
            plan_issued_at=newest.issued_at,
            catalog_issued_at=listed.issued_at,
            behind=tuple(listed.behind),
        )

    def _catalog(self, known: Content, numbers: dict[str, int], refused: dict[str, str]) -> _Listed:
        """The newest catalog that is believed: what was known of one that is not stays, and ``refused`` says why."""
        word = self._in_force(CATALOGS, known, refused)
        if word is None:
            raise _nothing(catalog.LATEST_KEY, refused)
        index = self._index(word.version, refused) if word.version != known.catalog else None
        if index is not None:
            listed = _Listed(word.version, word.issued_at, {}, {})
        elif known.catalog is not None:
            same = word.version == known.catalog
            listed = _Listed(
                known.catalog,
                word.issued_at if same else known.catalog_issued_at,
                dict(known.titles) if known.behind else known.titles,
                dict(known.entries) if known.behind else known.entries,
            )
        else:
            raise _nothing(catalog.index_key(word.version), refused)
        for ref in index.titles if index is not None else known.behind:
            if known.entries.get(ref.title) == ref.entry:
                listed.titles[ref.title], listed.entries[ref.title] = known.titles[ref.title], ref.entry
                continue
            try:
                raw = self._get(ref.entry, catalog.entry_limit_bytes(ref))
                entry = catalog.believed_entry(raw, ref)
            except (BadDocument, S3Error) as error:
                if isinstance(error, S3Error) and error.trouble not in _ASTRAY:
                    raise
                refused[ref.entry] = str(error)
                listed.behind.append(ref)
                if ref.title in known.titles:
                    listed.titles[ref.title] = known.titles[ref.title]
                    listed.entries[ref.title] = known.entries[ref.title]
                continue
            listed.titles[ref.title] = _title(entry, numbers.setdefault(ref.title, len(numbers)))
            listed.entries[ref.title] = ref.entry
        return listed

    def _index(self, version: str, refused: dict[str, str]) -> catalog.CatalogIndex | None:
        """None when it is not believed, or gone. Raises `S3Error`."""
        key, keys = catalog.index_key(version), self._trusted.catalogs
        try:
            raw = self._get(key, catalog.MAX_INDEX_BYTES)
            signature = None
            if keys is not None:
                signature = self._if_there(signature_key(key), MAX_SIGNATURE_BYTES)
            return catalog.believed_index(raw, signature, keys, version)
        except (BadDocument, S3Error) as error:
            if isinstance(error, S3Error) and error.trouble not in _ASTRAY:
                raise
            refused[key] = str(error)
            return None

    def _in_force(self, subject: Subject, known: Content, refused: dict[str, str]) -> InForce | None:
        """What is said now, or what was said before where that cannot be believed; None: nothing yet."""
        before = known.in_force(subject)
        try:
            raw = self._if_there(subject.latest_key, catalog.MAX_LATEST_BYTES)
            if raw is None:
                return before
            keys = self._trusted.plans if subject is PLANS else self._trusted.catalogs
            return to_obey(subject, raw, keys, known.obeyed(subject))
        except BadDocument as error:
            refused[subject.latest_key] = str(error)
            return before
        except S3Error as error:
            if error.trouble is not Trouble.TOO_LARGE:
                raise
            refused[subject.latest_key] = str(error)
            return before

    def _plans(
        self,
        version: str,
        known: Content,
        appliances: Iterable[str],
        catalog_version: str,
        titles: Mapping[str, Title],
        refused: dict[str, str],
    ) -> dict[tuple[str, str], bytes]:
        """What each is to hold by the plan ``version``, and by the one of before."""
        if version == known.plan:
            # Only an appliance that joined the fleet file since is new.
            planned = dict(known.planned)
            below = f"plans/{version}/"
            refused |= {key: why for key, why in known.refused.items() if key.startswith(below)}
        else:
            planned = {pair: held for pair, held in known.planned.items() if pair[0] == known.plan}
        missing = [appliance for appliance in appliances if (version, appliance) not in planned]
        indexed = self._indexed(version, refused) if missing else None
        if indexed is not None and indexed.index.catalog > catalog_version:
            # Of a catalog that came while we read: its titles have no numbers yet. The next time.
            return planned
        for appliance in missing:
            if indexed is not None:
                planned[version, appliance] = self._indexed_holdings(indexed, appliance, titles, refused)
                continue
            mine = self._plan(version, appliance, refused)
            if mine is None or mine.catalog <= catalog_version:
                planned[version, appliance] = _holdings(mine, titles)
        return planned

    def _indexed(self, version: str, refused: dict[str, str]) -> VersionPlans | None:
        """None for a plan without an index: each appliance's is then whole by itself."""
        try:
            return VersionPlans(self._get, version, self._trusted.plans)
        except BadDocument as error:
            refused[error.name] = str(error)
            return None
        except S3Error as error:
            if error.trouble is Trouble.NO_OBJECT:
                return None
            raise

    def _indexed_holdings(
        self, plans: VersionPlans, appliance: str, titles: Mapping[str, Title], refused: dict[str, str]
    ) -> bytes:
        try:
            return holdings_of_titles(plans.titles_of(appliance), titles)
        except BadDocument as error:
            refused[error.name] = str(error)
            return b""

    def _plan(self, version: str, appliance: str, refused: dict[str, str]) -> plan.Plan | None:
        """None for an appliance that joined the fleet after the plan was made."""
        key = plan.plan_key(version, appliance)
        try:
            raw = self._get(key, plan.MAX_PLAN_BYTES)
            if self._trusted.plans is None:
                return plan.decode_plan(raw, key, appliance)
            signature = read_signature(self._get, key)
            return plan.verified_plan(raw, signature, self._trusted.plans, key, version, appliance)
        except BadDocument as error:
            refused[key] = str(error)
            return None
        except S3Error as error:
            if error.trouble is Trouble.NO_OBJECT:
                return None
            raise

    def manifest(self, key: str) -> bytes:
        """A manifest as it was published. Raises `S3Error`, `BadDocument`."""
        return self._get(f"media/{key}", MAX_MANIFEST_BYTES)

    def _if_there(self, key: str, limit_bytes: int) -> bytes | None:
        return get_if_there(self._client, self._bucket, key, limit_bytes=limit_bytes)

    def _get(self, key: str, limit_bytes: int) -> bytes:
        return get(self._client, self._bucket, key, limit_bytes=limit_bytes)


def _nothing(key: str, refused: Mapping[str, str]) -> BadDocument:
    """That there is no catalog yet, for ``key`` is not there, or refused."""
    why = refused.get(key, "does not exist: nothing is published yet; run `fill publish`")
    return BadDocument(key, why.removeprefix(f"{key}: "))


def _title(entry: catalog.TitleEntry, number: int) -> Title:
    rungs = {(item.height, item.bitrate_bps) for item in entry.objects if item.bitrate_bps and item.height}
    return Title(
        entry.hls,
        entry.dash,
        entry.countries,
        number,
        len(entry.objects),
        frozenset(item.key for item in entry.objects if item.height > HD_LINES),
        tuple(sorted(rungs, key=lambda rung: (rung[1], rung[0]))),
        entry.released_at,
    )


def _holdings(mine: plan.Plan | None, titles: Mapping[str, Title]) -> bytes:
    keys: dict[str, list[str]] = {}
    for item in mine.objects if mine is not None else ():
        keys.setdefault(title_of(item.key), []).append(item.key)
    return holdings_of(keys, titles)
