"""The catalog: what exists, how large it is, and the digest of each of its slices.

In S3: ``catalog/latest`` names a version (`contracts.inforce`); ``catalog/{version}/index.json`` lists the titles; each
title has one entry, written once, which later versions refer to where it did not change. An entry
of a 20 GB encode is 430 KB of digests; that is why the index does not hold them.

The publisher signs latest, and beside it the index (``index.json.sig``, `contracts.signature`). The index has the
SHA-256 of each entry, the entry the digest of each slice: so one signature is verified for a catalog, and a hash for
an entry that is read.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.documents import BadDocument, Sha256, check_sha256, decode
from contracts.objectkey import (
    DIGEST_BYTES,
    KEY_PATTERN,
    MAX_KEY_BYTES,
    MAX_OBJECT_BYTES,
    TITLE_PATTERN,
    slice_count,
    title_of,
)

if TYPE_CHECKING:
    # What only knows the catalog's names and bounds, such as every configuration, loads no cryptography.
    from contracts.signature import SignatureKeys

LATEST_KEY: Final = "catalog/latest"
MEDIA_PREFIX: Final = "media/"

MAX_OBJECTS: Final = 4096
"""Of a title."""
MAX_LATEST_BYTES: Final = 4 << 10
MAX_INDEX_BYTES: Final = 64 << 20
MAX_ENTRY_BYTES: Final = 256 << 20

INDEX_TYP: Final = "nearcast-catalog"
"""In the protected header of an index's signature: whoever signs plans with the same key says nothing of catalogs."""

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
    objects: Annotated[tuple[CatalogObject, ...], Meta(min_length=1, max_length=MAX_OBJECTS)]
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
    sha256: Sha256 | None = None
    """Of the entry; None in a catalog of a program that knew of none."""


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
    """A ``latest`` as anybody reads it: it moves, and is written last. `contracts.inforce` has what is signed in it."""

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


def believed_index(
    raw: bytes, signature: bytes | None, keys: SignatureKeys | None, version: str
) -> CatalogIndex:
    """The index of ``version``, once ``signature`` is seen to be the publisher's: not a byte is parsed before.

    ``keys`` None believes anybody. Raises `BadDocument`; also for an index of another version, which was signed once
    and lies in its place.
    """
    name = index_key(version)
    if keys is not None:
        if signature is None:
            raise BadDocument(name, "is not signed, and only signed catalogs are believed here")
        keys.verify(raw, signature, name, INDEX_TYP)
    index = decode_index(raw, name)
    if index.version != version:
        raise BadDocument(name, f"is the index of version {index.version}, not of {version}")
    undescribed = next((ref.title for ref in index.titles if ref.sha256 is None), None)
    if keys is not None and undescribed is not None:
        raise BadDocument(name, f"{undescribed}: its entry's digest is missing, though the index is signed")
    return index


def entry_limit_bytes(ref: TitleRef) -> int:
    """The most bytes that the entry of ``ref`` may have: 22 of base64 for each slice, and 2 KiB for each object."""
    return min(MAX_ENTRY_BYTES, (ref.size >> 20) * 22 + MAX_OBJECTS * (2 << 10))


def believed_entry(raw: bytes, ref: TitleRef) -> TitleEntry:
    """The entry that ``ref`` means, which is believed as the index is that ``ref`` stands in; raises `BadDocument`."""
    if ref.sha256 is not None:
        check_sha256(raw, ref.sha256, ref.entry, "catalog's index")
    return decode_entry(raw, ref.entry, ref.title)


def decode_entry(raw: bytes, name: str, title: str) -> TitleEntry:
    """The entry of ``title``; an entry of another title under its name is a `BadDocument`."""
    entry = decode(raw, TitleEntry, name=name, limit_bytes=MAX_ENTRY_BYTES)
    if entry.title != title:
        raise BadDocument(name, f"is the entry of {entry.title!r}, not of {title!r}")
    return entry
