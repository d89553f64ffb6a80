"""A plan of a whole fleet in little room: what all appliances share is written once, and bits say who holds what.

One appliance's plan names 100,000 objects and more, each with its key, its reason and its holders; 17,000 of them
would be a terabyte. So a version has, below ``plans/{version}/``:

    objects.json.gz          every object of the catalog, by title: `Objects`; a row is its place in it
    index.json               `PlanIndex`: the sites, and the SHA-256 of every other document
    sites/{site}.json        `SitePlacement`: of each row how wanted it is there, and on which appliances
    titles/{site}.bin        of each title and appliance one byte: `TitleShares`; all that steering needs
    {appliance}.json         `contracts.plan.Plan`, whose ``placement`` names the two it is made whole from: `whole`

``index.json`` and the appliances' plans are signed; the others are believed by the digests in those.
"""

from __future__ import annotations

import enum
import gzip
import io
import zlib
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import xxhash
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import Title, Version
from contracts.documents import BadDocument, Sha256, decode
from contracts.objectkey import BadKey, parse_key
from contracts.plan import Name, Plan, PlannedObject, Source

MAX_INDEX_BYTES: Final = 64 << 20
MAX_OBJECTS_BYTES: Final = 512 << 20
MAX_SITE_BYTES: Final = 256 << 20
MAX_OBJECTS: Final = 8_000_000
MAX_TITLES: Final = 1_000_000

_URGENT: Final = 0x80

Size = Annotated[int, Meta(ge=0, le=1 << 40)]
Path = Annotated[str, Meta(max_length=512)]


class Reason(enum.IntEnum):
    """Why a site holds an object."""

    KEPT = 0
    TAIL = 1
    FAVOURITE = 2
    TOP = 3
    RELEASE = 4
    SHARED = 5
    STARTUP = 6
    EXCHANGE = 7


SENTENCES: Final = {
    Reason.KEPT: "it is here, and what shall replace it is fetched on a later night",
    Reason.TAIL: "asked for now and then: among what the site has room for",
    Reason.FAVOURITE: "a favourite of the region",
    Reason.TOP: "of the most wanted: on every appliance of the site",
    Reason.RELEASE: "released lately, or about to be",
    Reason.SHARED: "asked for more than one appliance should serve alone",
    Reason.STARTUP: "needed to start its title, and goes where an encode of it is",
    Reason.EXCHANGE: "an exchange holds what its ISPs' appliances do not",
}


class Objects(msgspec.Struct, frozen=True):
    """Every object of a catalog; rows count through the titles in their order."""

    version: Version
    catalog: Version
    titles: Annotated[tuple[tuple[Title, tuple[tuple[Path, Size], ...]], ...], Meta(max_length=MAX_TITLES)]
    contract: int = VERSION


class SiteIndex(msgspec.Struct, frozen=True):
    site: Name
    appliances: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)]
    placement: Sha256
    titles: Sha256


class PlanIndex(msgspec.Struct, frozen=True):
    version: Version
    catalog: Version
    titles: Annotated[tuple[Title, ...], Meta(max_length=MAX_TITLES)]
    objects: Sha256
    sites: Annotated[tuple[SiteIndex, ...], Meta(max_length=100_000)]
    demand: Version | None = None
    """The table of expected demand it was made from; None: the newest first."""
    contract: int = VERSION


class SitePlacement(msgspec.Struct, frozen=True):
    """Each array is packed by zlib. Rows are those of `Objects`."""

    version: Version
    site: Name
    appliances: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)]
    rows: Annotated[int, Meta(ge=0, le=MAX_OBJECTS)]
    wanted: bytes
    """A byte per row: 0 is not held at the site; else the higher goes first."""
    holders: bytes
    """Per row that is held, as many bytes as the appliances need bits: the first is the highest of the first byte."""
    reasons: bytes
    """A byte per row that is held: a `Reason`, and 128 more when it is urgent."""
    contract: int = VERSION


def objects_key(version: str) -> str:
    return f"plans/{version}/objects.json.gz"


def index_key(version: str) -> str:
    return f"plans/{version}/index.json"


def site_key(version: str, site: str) -> str:
    return f"plans/{version}/sites/{site}.json"


def titles_key(version: str, site: str) -> str:
    return f"plans/{version}/titles/{site}.bin"


def pack(raw: bytes) -> bytes:
    return zlib.compress(raw, 1)


def unpack(packed: bytes, length: int, name: str) -> bytes:
    """The ``length`` bytes that were packed; raises `BadDocument` on any other number of them."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, length + 1)
    except zlib.error as error:
        raise BadDocument(name, f"an array does not unpack: {error}") from None
    if len(raw) != length or not stream.eof or stream.unused_data:
        raise BadDocument(name, f"an array is not of {length} bytes")
    return raw


def encode_objects(objects: Objects) -> bytes:
    # No time and no name in it: equal catalogs give equal bytes.
    return gzip.compress(msgspec.json.encode(objects), 6, mtime=0)


def decode_objects(raw: bytes, name: str) -> Objects:
    """Raises `BadDocument`."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            text = file.read(MAX_OBJECTS_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadDocument(name, f"not gzip: {error}") from None
    return decode(text, Objects, name=name, limit_bytes=MAX_OBJECTS_BYTES)


def object_rows(objects: Objects, name: str) -> list[tuple[str, int]]:
    """Key and size of each row; raises `BadDocument` on what is no key."""
    rows = []
    try:
        for title, listed in objects.titles:
            rows += [(parse_key(f"{title}/{path}"), size) for path, size in listed]
    except BadKey as error:
        raise BadDocument(name, str(error)) from None
    return rows


def decode_index(raw: bytes, name: str) -> PlanIndex:
    """Raises `BadDocument`."""
    return decode(raw, PlanIndex, name=name, limit_bytes=MAX_INDEX_BYTES)


def decode_site(raw: bytes, name: str, version: str, site: str) -> SitePlacement:
    """Raises `BadDocument`, also on another site's or another version's."""
    found = decode(raw, SitePlacement, name=name, limit_bytes=MAX_SITE_BYTES)
    if (found.version, found.site) != (version, site):
        raise BadDocument(name, f"is of site {found.site} in version {found.version}")
    return found


def whole(plan: Plan, rows: Sequence[tuple[str, int]], site: SitePlacement, name: str) -> Plan:
    """``plan`` with its objects, most wanted first; raises `BadDocument` when the parts do not fit together."""
    if tuple(peer.id for peer in plan.peers) != site.appliances or plan.appliance not in site.appliances:
        raise BadDocument(name, f"its appliances are not those of the plan of {plan.appliance}")
    if len(rows) != site.rows:
        raise BadDocument(name, f"is about {site.rows} objects, and the catalog had {len(rows)}")
    wanted = unpack(site.wanted, site.rows, name)
    count = site.rows - wanted.count(0)
    width = -(-len(site.appliances) // 8)
    holders = unpack(site.holders, count * width, name)
    reasons = unpack(site.reasons, count, name)
    mine = 1 << (8 * width - 1 - site.appliances.index(plan.appliance))
    ranker = _Masters(site.appliances)
    found: list[tuple[int, PlannedObject]] = []
    sources = (Source.PARENT, Source.ORIGIN) if plan.parents else (Source.ORIGIN,)
    at = 0
    for row, step in enumerate(wanted):
        if not step:
            continue
        mask = int.from_bytes(holders[at * width : (at + 1) * width], "big")
        code = reasons[at]
        at += 1
        if mask & mine:
            key, size = rows[row]
            sentence = _sentence(code, name)
            order = ranker.order(key, mask, width)
            found.append((-step, PlannedObject(key, size, sentence, sources, order, code >= _URGENT)))
    found.sort(key=lambda pair: pair[0])  # stable: those equally wanted stay in the catalog's order
    return msgspec.structs.replace(plan, objects=tuple(item for _, item in found))


def _sentence(code: int, name: str) -> str:
    try:
        return SENTENCES[Reason(code & ~_URGENT)]
    except ValueError:
        raise BadDocument(name, f"{code} is not a reason") from None


class _Masters:
    """Who fetches an object from outside the site, and who comes after: by rendezvous of the object."""

    def __init__(self, appliances: Sequence[str]) -> None:
        self._seeds = [xxhash.xxh3_64_intdigest(name.encode()) for name in appliances]
        self._holders: dict[int, tuple[int, ...]] = {}

    def order(self, key: str, mask: int, width: int) -> tuple[int, ...]:
        """The positions that ``mask`` has, the master first."""
        holders = self._holders.get(mask)
        if holders is None:
            top = 8 * width - 1
            holders = tuple(at for at in range(len(self._seeds)) if mask >> (top - at) & 1)
            self._holders[mask] = holders
        if len(holders) < 2:
            return holders
        hashed = xxhash.xxh3_64_intdigest(key.encode())
        # One multiplication per pair rather than one hash: half a million objects have ten holders each.
        scores = [((hashed ^ self._seeds[at]) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF for at in holders]
        return tuple(at for _, at in sorted(zip(scores, holders, strict=True), reverse=True))


class TitleShares:
    """Of each title, how much of what is asked for of it at the site each appliance shall hold: a byte.

    255 is all; 0 nothing. 18,000 titles on 17 appliances are 306 KB, and a planet of 1,000 sites as many MB: it is what
    steering holds in memory of a plan.
    """

    __slots__ = ("_positions", "_shares", "_width")

    def __init__(self, appliances: Sequence[str], shares: bytes) -> None:
        """``shares`` has a row per title of the index, a byte per appliance."""
        self._positions = {name: at for at, name in enumerate(appliances)}
        self._shares = shares
        self._width = len(appliances)

    @classmethod
    def decode(cls, raw: bytes, name: str, appliances: Sequence[str], titles: int) -> TitleShares:
        """Raises `BadDocument`."""
        return cls(appliances, unpack(raw, titles * len(appliances), name))

    def share(self, appliance: str, row: int) -> float:
        """0 to 1, of the title in a row of the index; 0 for an appliance that is not of the site."""
        at = self._positions.get(appliance)
        return 0.0 if at is None else self._shares[row * self._width + at] / 255

    def rows(self, appliance: str, least: float) -> list[int]:
        """The titles of which the appliance shall hold so much at least."""
        at = self._positions.get(appliance)
        column = b"" if at is None else self._shares[at :: self._width]
        limit = least * 255
        return [row for row, share in enumerate(column) if share >= limit]
