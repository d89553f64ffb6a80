"""What exists and who shall hold it: catalog and plans, read from S3 in a thread and kept.

While S3 is away, what was read last stays in force. A title or a plan that cannot be believed is left
as it was, named, and does not keep the others from being read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts import catalog, plan
from contracts.documents import BadDocument
from contracts.latestplan import InForce, to_obey
from contracts.objectkey import title_of
from contracts.signature import SignatureKeys
from daemon.config import ConfigError
from daemon.s3 import S3Config, S3Error, Trouble, get, get_if_there, open_client
from steering.holdings import HD_LINES, Title, holdings_of, holdings_of_titles
from steering.manifests import MAX_MANIFEST_BYTES
from steering.plans import VersionPlans, read_signature


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

    @property
    def obeyed(self) -> InForce | None:
        """The planner's word that is obeyed: an older one is not."""
        return InForce(self.plan, self.plan_issued_at) if self.plan and self.plan_issued_at else None


def load_plan_keys(path: Path) -> SignatureKeys:
    """The public keys of the planner; raises `ConfigError`."""
    try:
        return SignatureKeys.from_jwks(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"plan_key: {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"plan_key: {path}: {error}") from None


class ContentReader:
    """Blocking: for a thread of its own. Raises `ConfigError` when it can be known at once to be wrong."""

    def __init__(self, config: S3Config, plan_keys: SignatureKeys | None = None) -> None:
        from botocore.exceptions import BotoCoreError  # boto3 is loaded when a client is opened

        try:
            # One attempt: it is asked again in any case, in a moment.
            self._client = open_client(config, attempts=1)
        except S3Error as error:
            raise ConfigError(str(error)) from None
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"origin: {error}") from None
        self._bucket = config.bucket
        self._plan_keys = plan_keys

    def read(self, known: Content, appliances: Iterable[str]) -> Content:
        """What is newer than ``known``, with what has not changed taken over.

        Raises `S3Error`, and `BadDocument` when the catalog's ``latest`` or index are not believed.
        """
        refused: dict[str, str] = {}
        numbers = dict(known.numbers)
        version, titles, entries = self._catalog(known, numbers, refused)
        newest = self._in_force(known, refused)
        if newest is None:
            return Content(version, known.plan, titles, entries, known.planned, refused, numbers)
        planned = self._plans(newest.version, known, appliances, version, titles, refused)
        issued_at = newest.issued_at
        return Content(version, newest.version, titles, entries, planned, refused, numbers, issued_at)

    def _catalog(
        self, known: Content, numbers: dict[str, int], refused: dict[str, str]
    ) -> tuple[str, dict[str, Title], dict[str, str]]:
        version = catalog.decode_latest(
            self._get(catalog.LATEST_KEY, catalog.MAX_LATEST_BYTES), catalog.LATEST_KEY
        ).version
        if version == known.catalog:
            refused |= {key: why for key, why in known.refused.items() if key.startswith("catalog/")}
            return version, known.titles, known.entries
        key = catalog.index_key(version)
        index = catalog.decode_index(self._get(key, catalog.MAX_INDEX_BYTES), key)
        titles: dict[str, Title] = {}
        entries: dict[str, str] = {}
        for ref in index.titles:
            if known.entries.get(ref.title) == ref.entry:
                titles[ref.title], entries[ref.title] = known.titles[ref.title], ref.entry
                continue
            try:
                raw = self._get(ref.entry, catalog.MAX_ENTRY_BYTES)
                entry = catalog.decode_entry(raw, ref.entry, ref.title)
            except (BadDocument, S3Error) as error:
                if isinstance(error, S3Error) and error.trouble is not Trouble.NO_OBJECT:
                    raise
                refused[ref.entry] = str(error)
                if ref.title in known.titles:
                    titles[ref.title] = known.titles[ref.title]
                    entries[ref.title] = known.entries[ref.title]
                continue
            titles[ref.title] = _title(entry, numbers.setdefault(ref.title, len(numbers)))
            entries[ref.title] = ref.entry
        return version, titles, entries

    def _in_force(self, known: Content, refused: dict[str, str]) -> InForce | None:
        """What the planner says now, or what it said before where that cannot be believed; None: nothing yet."""
        before = InForce(known.plan, known.plan_issued_at) if known.plan is not None else None
        try:
            raw = get_if_there(
                self._client, self._bucket, plan.LATEST_KEY, limit_bytes=catalog.MAX_LATEST_BYTES
            )
            return to_obey(raw, self._plan_keys, known.obeyed) if raw is not None else before
        except BadDocument as error:
            refused[plan.LATEST_KEY] = str(error)
            return before
        except S3Error as error:
            if error.trouble is not Trouble.TOO_LARGE:
                raise
            refused[plan.LATEST_KEY] = str(error)
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
            return VersionPlans(self._get, version, self._plan_keys)
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
            if self._plan_keys is None:
                return plan.decode_plan(raw, key, appliance)
            signature = read_signature(self._get, key)
            return plan.verified_plan(raw, signature, self._plan_keys, key, version, appliance)
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

    def _get(self, key: str, limit_bytes: int) -> bytes:
        return get(self._client, self._bucket, key, limit_bytes=limit_bytes)


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
