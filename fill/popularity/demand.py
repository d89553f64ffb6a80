"""The demand table: how many bytes of each object a region, or a site, is expected to watch a day.

In S3, below ``popularity/``: ``latest`` names a version, and is written last. A version is

    {version}/index.json      `DemandIndex`: places, releases, and a digest of each of the other files
    {version}/objects.txt     the keys, one a line, in ascending order; a line's number is the object's index
    {version}/places/{n}.bin  of the place in line n of the index: its objects' indices, ascending, as little-endian
                              int32, then as many float32, the bytes a day of each

A site that is too small for a forecast of its own has no file: it watches its share of what its region does.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import msgspec
import numpy as np
import xxhash
from msgspec import Meta
from numpy.typing import NDArray

from contracts import VERSION
from contracts.catalog import Title, Version
from contracts.documents import BadDocument, decode
from contracts.fleet import Site
from contracts.objectkey import BadKey, parse_key

LATEST_KEY: Final = "popularity/latest"
MAX_INDEX_BYTES: Final = 64 << 20
MAX_OBJECTS: Final = 8_000_000
MAX_OBJECTS_BYTES: Final = 512 << 20
MAX_BYTES_PER_DAY: Final = 1e18

_INDEX: Final = np.dtype("<i4")
_BYTES: Final = np.dtype("<f4")
_ENTRY_BYTES: Final = _INDEX.itemsize + _BYTES.itemsize
_REGIONS_KEPT: Final = 8

Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}\Z", description="UTC")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z", description="xxh3-128")]
BytesPerDay = Annotated[float, Meta(ge=0, le=MAX_BYTES_PER_DAY)]


class PlaceKind(enum.Enum):
    """Whose demand it is."""

    FLEET = "fleet"  # everybody's: of sites that name neither region nor country
    REGION = "region"  # of all sites that name it as their region, or else as their country
    SITE = "site"  # of the viewers of one site


class Place(msgspec.Struct, frozen=True):
    kind: PlaceKind
    name: Annotated[str, Meta(max_length=64, description="of the region or the site; empty: the fleet's")]
    bytes_per_day: Annotated[BytesPerDay, Meta(description="expected of all objects that are out")]
    region: Annotated[str, Meta(max_length=64, description="of a site: whose taste it shares")] = ""
    share: Annotated[float, Meta(ge=0, le=1, description="of a site: its part of its region's bytes")] = 1.0
    objects: Annotated[int, Meta(ge=0, le=MAX_OBJECTS, description="in its file; 0: it has none")] = 0
    digest: Digest | None = None


class Release(msgspec.Struct, frozen=True):
    """A title that is not out yet, for which room is to be kept before it is."""

    title: Title
    day: Annotated[Day, Meta(description="on which it comes out")]
    regions: Annotated[tuple[str, ...], Meta(max_length=10_000)] | None
    """Where it comes out; None is everywhere."""
    bytes_per_day: Annotated[BytesPerDay, Meta(description="expected in the fleet in its first days")]
    reason: Annotated[str, Meta(max_length=300, description="how that was estimated, in words")]


class DemandIndex(msgspec.Struct, frozen=True):
    version: Version
    catalog: Version
    day: Annotated[Day, Meta(description="the first day that is forecast")]
    days: Annotated[int, Meta(ge=1, le=28, description="of which `bytes_per_day` is the mean")]
    objects: Annotated[int, Meta(ge=0, le=MAX_OBJECTS)]
    objects_digest: Digest
    places: Annotated[tuple[Place, ...], Meta(max_length=300_000)]
    releases: Annotated[tuple[Release, ...], Meta(max_length=100_000)] = ()
    """Their objects are in the places' files as if they were out already: whoever plans keeps room for them."""
    contract: int = VERSION

    def __post_init__(self) -> None:
        if len({(place.kind, place.name) for place in self.places}) != len(self.places):
            raise ValueError("a place is listed twice")
        if any(place.objects > 0 and place.digest is None for place in self.places):
            raise ValueError("a place with objects has no digest")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one place is expected to watch: two arrays of one length."""

    objects: NDArray[np.int32]
    """Indices into `Demand.keys`, ascending; what is not listed is not expected to be watched."""
    bytes_per_day: NDArray[np.float64]

    def popularity(self, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Views a day of each: bytes streamed / file size; ``sizes`` is of every object in `Demand.keys`.

        Source: Netflix, "Content Popularity for Open Connect".
        """
        return self.bytes_per_day / np.maximum(sizes[self.objects], 1)

    def scaled(self, factor: float) -> Forecast:
        return Forecast(self.objects, self.bytes_per_day * factor)


NOTHING: Final = Forecast(np.zeros(0, np.int32), np.zeros(0, np.float64))


class Demand:
    """The table, whose places are loaded when they are asked for: a planet's do not lie in memory at once."""

    def __init__(self, index: DemandIndex, keys: Sequence[str], load: Callable[[int], bytes]) -> None:
        """``load`` gives the file of the place in a line of the index."""
        self.index = index
        self.keys = keys
        self._load = load
        self._lines = {(place.kind, place.name): line for line, place in enumerate(index.places)}
        self._region = lru_cache(_REGIONS_KEPT)(self._load_region)

    @property
    def releases(self) -> tuple[Release, ...]:
        return self.index.releases

    def place(self, kind: PlaceKind, name: str) -> Place | None:
        """Its line in the index; None for one that was not known when the table was made."""
        line = self._lines.get((kind, name))
        return None if line is None else self.index.places[line]

    def region(self, name: str) -> Forecast:
        """Of all sites in a region (see `region_of`); of the whole fleet for "" and for one not listed.

        Raises `BadDocument`, and what ``load`` does.
        """
        return self._region(name)

    def site(self, site: Site) -> Forecast:
        """Of the viewers of one site: its own where it is large enough, else its share of its region's.

        A site that the table does not know watches as much as the mean one of its region. Raises as `region` does.
        """
        place = self.place(PlaceKind.SITE, site.id)
        if place is None:
            region = region_of(site)
            shares = [
                known.share
                for known in self.index.places
                if known.kind is PlaceKind.SITE and known.region == region
            ]
            return self.region(region).scaled(sum(shares) / len(shares) if shares else 1.0)
        whole = self.region(place.region).scaled(place.share)
        return overlaid(whole, self._file(PlaceKind.SITE, site.id)) if place.objects else whole

    def _load_region(self, name: str) -> Forecast:
        if name and (PlaceKind.REGION, name) in self._lines:
            return self._file(PlaceKind.REGION, name)
        return self._file(PlaceKind.FLEET, "")

    def _file(self, kind: PlaceKind, name: str) -> Forecast:
        line = self._lines.get((kind, name))
        if line is None or not self.index.places[line].objects:
            return NOTHING
        return decode_forecast(self._load(line), self.index, line)


def region_of(site: Site) -> str:
    """Whose taste a site's viewers share: the region it names, or else its country; "" is the whole fleet's."""
    return site.region or site.country or ""


def overlaid(below: Forecast, above: Forecast) -> Forecast:
    """``below``, with the figures of ``above`` for the objects that it lists."""
    kept = ~np.isin(below.objects, above.objects, assume_unique=True)
    objects = np.concatenate((below.objects[kept], above.objects))
    order = np.argsort(objects, kind="stable")
    figures = np.concatenate((below.bytes_per_day[kept], above.bytes_per_day))
    return Forecast(objects[order], figures[order])


def index_key(version: str) -> str:
    return f"popularity/{version}/index.json"


def objects_key(version: str) -> str:
    return f"popularity/{version}/objects.txt"


def place_key(version: str, line: int) -> str:
    return f"popularity/{version}/places/{line}.bin"


def digest_of(raw: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(raw)


def encode_forecast(forecast: Forecast) -> bytes:
    return forecast.objects.astype(_INDEX).tobytes() + forecast.bytes_per_day.astype(_BYTES).tobytes()


def encode_keys(keys: Iterable[str]) -> bytes:
    return "".join(f"{key}\n" for key in keys).encode("ascii")


def forecast_bytes(place: Place) -> int:
    """How long the place's file is."""
    return place.objects * _ENTRY_BYTES


def decode_index(raw: bytes, version: str) -> DemandIndex:
    """Raises `BadDocument`, also for the index of another version."""
    name = index_key(version)
    index = decode(raw, DemandIndex, name=name, limit_bytes=MAX_INDEX_BYTES)
    if index.version != version:
        raise BadDocument(name, f"is the index of {index.version!r}")
    return index


def decode_keys(raw: bytes, index: DemandIndex) -> tuple[str, ...]:
    """Raises `BadDocument` unless they are as many keys as the index says, ascending, and the ones it was made with."""
    name = objects_key(index.version)
    _check_digest(raw, index.objects_digest, name)
    try:
        keys = tuple(parse_key(line) for line in raw.decode("ascii").splitlines())
    except (UnicodeDecodeError, BadKey) as error:
        raise BadDocument(name, str(error)) from None
    if len(keys) != index.objects:
        raise BadDocument(name, f"{len(keys)} keys, and {index.objects} are announced")
    if any(first >= second for first, second in itertools.pairwise(keys)):
        raise BadDocument(name, "keys are not in ascending order, or one is there twice")
    return keys


def decode_forecast(raw: bytes, index: DemandIndex, line: int) -> Forecast:
    """Raises `BadDocument` unless every index is of a key, ascending, and every figure is a number from 0 on."""
    name = place_key(index.version, line)
    place = index.places[line]
    if len(raw) != forecast_bytes(place):
        raise BadDocument(name, f"{len(raw)} bytes, and {forecast_bytes(place)} are announced")
    _check_digest(raw, place.digest, name)
    objects = np.frombuffer(raw, _INDEX, place.objects)
    figures = np.frombuffer(raw, _BYTES, place.objects, offset=place.objects * _INDEX.itemsize)
    if place.objects and (objects[0] < 0 or objects[-1] >= index.objects or (np.diff(objects) <= 0).any()):
        raise BadDocument(name, f"indices must ascend from 0 to below {index.objects}")
    # Also refuses NaN, of which no comparison is true.
    if not ((figures >= 0) & (figures <= MAX_BYTES_PER_DAY)).all():
        raise BadDocument(name, f"bytes a day must be numbers from 0 to {MAX_BYTES_PER_DAY:g}")
    return Forecast(objects.astype(np.int32), figures.astype(np.float64))


def _check_digest(raw: bytes, expected: str | None, name: str) -> None:
    if digest_of(raw) != expected:
        raise BadDocument(name, f"its digest is not {expected}, which the index has")
