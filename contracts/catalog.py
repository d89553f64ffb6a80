"""The catalog: what exists, how large it is, and the digest of each of its slices.

In S3: ``catalog/latest`` names a version; ``catalog/{version}/index.json`` lists the titles; each
title has one entry, written once, which later versions refer to where it did not change. An entry
of a 20 GB encode is 430 KB of digests; that is why the index does not hold them.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.documents import BadDocument, decode
from contracts.objectkey import (
    DIGEST_BYTES,
    KEY_PATTERN,
    MAX_KEY_BYTES,
    MAX_OBJECT_BYTES,
    TITLE_PATTERN,
    slice_count,
    title_of,
)

LATEST_KEY: Final = "catalog/latest"
MEDIA_PREFIX: Final = "media/"

MAX_LATEST_BYTES: Final = 4 << 10
MAX_INDEX_BYTES: Final = 64 << 20
MAX_ENTRY_BYTES: Final = 256 << 20

Version = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\Z",
        description="UTC time of writing and six random hex digits: sorts by age, never collides",
    ),
]
Key = Annotated[str, Meta(pattern=KEY_PATTERN, max_length=MAX_KEY_BYTES)]
Title = Annotated[str, Meta(pattern=rf"^{TITLE_PATTERN}\Z")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z", description="ISO 3166-1 alpha-2")]
Tag = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Tags = Annotated[
    tuple[Tag, ...],
    Meta(max_length=32, description="genres, a series: who shares some is expected to share an audience"),
]
# Closed, because both go into response headers as they are.
MediaType = Annotated[str, Meta(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,100}\Z")]
ETag = Annotated[
    str, Meta(pattern=r'^"[A-Za-z0-9_-]{1,64}"\Z', description="a strong validator, RFC 9110 8.8.3")
]


def is_licensed(countries: tuple[Country, ...] | None, country: Country | None) -> bool:
    """Whether a title with this list may be in ``country``: to be watched there, or to lie on a disk there.

    None as the list is everywhere; None as the country is unknown, where no title with a list may be.
    """
    return countries is None or country in countries


def is_released(released_at: int | None, now: float) -> bool:
    """Whether a title with this date may be watched. It may be planned and filled before: that is the use of a date."""
    return released_at is None or released_at <= now


class Kind(enum.Enum):
    """What an object is for; decides how long others may cache it."""

    MEDIA = "media"  # bytes of an encode: never change
    MANIFEST = "manifest"  # playlist or MPD: small, may be published again under the same key


class CatalogObject(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One object as published."""

    key: Key
    size: Annotated[int, Meta(ge=0, le=MAX_OBJECT_BYTES)]
    media_type: MediaType
    etag: ETag
    modified_at: Annotated[int, Meta(ge=0, le=1 << 40, description="seconds since 1970, for Last-Modified")]
    digests: Annotated[
        bytes, Meta(description="xxh3-128 of each slice, one after the other (base64 in JSON)")
    ]
    kind: Kind = Kind.MEDIA
    bitrate_bps: Annotated[int, Meta(ge=0, le=10**9)] = 0
    height: Annotated[int, Meta(ge=0, le=16384)] = 0

    def __post_init__(self) -> None:
        expected = slice_count(self.size) * DIGEST_BYTES
        if len(self.digests) != expected:
            raise ValueError(f"{self.size} bytes need {expected} bytes of digests, not {len(self.digests)}")

    def slice_digest(self, index: int) -> bytes:
        """The 16 bytes that slice ``index`` must hash to."""
        return self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]


class TitleEntry(msgspec.Struct, frozen=True):
    """Everything the appliances and the planner need to know of one title."""

    title: Title
    published_at: Annotated[int, Meta(ge=0, le=1 << 40)]
    duration_s: Annotated[float, Meta(ge=0, le=10**6)]
    objects: Annotated[tuple[CatalogObject, ...], Meta(min_length=1, max_length=4096)]
    hls: Key
    dash: Key
    countries: (
        Annotated[
            tuple[Country, ...],
            Meta(max_length=300, description="where it is licensed; none is everywhere: see `is_licensed`"),
        ]
        | None
    ) = None
    released_at: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=1 << 40,
                description="when it may first be watched; none is at once: see `is_released`",
            ),
        ]
        | None
    ) = None
    comparable: Annotated[
        tuple[Title, ...],
        Meta(max_length=16, description="titles whose audience it is expected to have, best known first"),
    ] = ()
    tags: Tags = ()
    contract: int = VERSION

    def __post_init__(self) -> None:
        keys = {item.key for item in self.objects}
        if len(keys) != len(self.objects):
            raise ValueError("an object is listed twice")
        for key in keys:
            if title_of(key) != self.title:
                raise ValueError(f"object {key!r} is outside the title {self.title!r}")
        for manifest in (self.hls, self.dash):
            if manifest not in keys:
                raise ValueError(f"manifest {manifest!r} is not among the objects")


class TitleRef(msgspec.Struct, frozen=True):
    """One line of the index."""

    title: Title
    entry: Annotated[str, Meta(pattern=r"^catalog/[0-9A-Za-z-]+/titles/[A-Za-z0-9._-]+\.json\Z")]
    size: Annotated[int, Meta(ge=0, description="bytes of all its objects")]
    published_at: Annotated[int, Meta(ge=0, le=1 << 40)]
    released_at: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None
    """As in its entry, and so are ``tags``: who forecasts does not read the entries of a whole catalog."""
    tags: Tags = ()


class Removed(msgspec.Struct, frozen=True):
    """A title that was taken out of the catalog. Who holds any of it gives it up, planned or not.

    That it is not listed would not do: an appliance may not have read the catalog in which it was, and
    what an appliance holds of a catalog that it cannot read must stay.
    """

    title: Title
    removed_at: Annotated[int, Meta(ge=0, le=1 << 40)]


class CatalogIndex(msgspec.Struct, frozen=True):
    version: Version
    titles: Annotated[tuple[TitleRef, ...], Meta(max_length=1_000_000)]
    removed: Annotated[tuple[Removed, ...], Meta(max_length=100_000)] = ()
    contract: int = VERSION

    def __post_init__(self) -> None:
        listed = {ref.title for ref in self.titles} | {gone.title for gone in self.removed}
        if len(listed) != len(self.titles) + len(self.removed):
            raise ValueError("a title is listed twice, or both listed and removed")


class Latest(msgspec.Struct, frozen=True):
    """``catalog/latest``: moves, and is written last. As is ``plans/latest``, which says more: `contracts.latestplan`."""

    version: Version
    contract: int = VERSION


def index_key(version: str) -> str:
    return f"catalog/{version}/index.json"


def entry_key(version: str, title: str) -> str:
    return f"catalog/{version}/titles/{title}.json"


def media_key(key: str) -> str:
    """The S3 key of an object key."""
    return MEDIA_PREFIX + key


def decode_latest(raw: bytes, name: str) -> Latest:
    return decode(raw, Latest, name=name, limit_bytes=MAX_LATEST_BYTES)


def decode_index(raw: bytes, name: str) -> CatalogIndex:
    return decode(raw, CatalogIndex, name=name, limit_bytes=MAX_INDEX_BYTES)


def decode_entry(raw: bytes, name: str, title: str) -> TitleEntry:
    """The entry of ``title``; an entry of another title under its name is a `BadDocument`."""
    entry = decode(raw, TitleEntry, name=name, limit_bytes=MAX_ENTRY_BYTES)
    if entry.title != title:
        raise BadDocument(name, f"is the entry of {entry.title!r}, not of {title!r}")
    return entry
