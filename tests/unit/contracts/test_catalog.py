"""What the catalog's documents refuse, and what older and newer programs read of them."""

from __future__ import annotations

import msgspec
import pytest

from contracts.catalog import (
    CatalogIndex,
    Removed,
    TitleRef,
    decode_entry,
    decode_index,
    is_released,
)
from contracts.documents import BadDocument, encode
from contracts.objectkey import digest

VERSION = "20260101T000000Z-000000"
REF = TitleRef("tt1", f"catalog/{VERSION}/titles/tt1.json", 1, 1000)


def _entry(**fields: object) -> bytes:
    item = {"key": "tt1/a.mp4", "size": 1, "media_type": "video/mp4", "etag": '"x"', "modified_at": 1}
    item["digests"] = msgspec.json.decode(msgspec.json.encode(digest(b"x")))
    entry = {"title": "tt1", "published_at": 1, "duration_s": 1, "objects": [item]}
    return encode(entry | {"hls": "tt1/a.mp4", "dash": "tt1/a.mp4"} | fields)


def test_an_entry_of_before_there_were_release_dates_is_out() -> None:
    entry = decode_entry(_entry(), "entry", "tt1")
    assert (entry.released_at, entry.comparable) == (None, ())
    assert is_released(entry.released_at, 0)


@pytest.mark.parametrize(("now", "out"), [(999.9, False), (1000, True), (1001, True)])
def test_a_title_is_out_from_the_second_of_its_date_on(now: float, out: bool) -> None:
    entry = decode_entry(_entry(released_at=1000, comparable=["tt7", "tt8"]), "entry", "tt1")
    assert is_released(entry.released_at, now) is out
    assert decode_entry(encode(entry), "entry", "tt1") == entry


@pytest.mark.parametrize(
    "fields",
    [
        {"released_at": -1},
        {"released_at": "2026-01-01"},
        {"comparable": ["../x"]},
        {"comparable": ["a"] * 17},
    ],
)
def test_a_date_or_a_comparable_title_that_is_none_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadDocument, match=next(iter(fields))):
        decode_entry(_entry(**fields), "entry", "tt1")


def test_a_title_is_listed_or_removed_and_not_both() -> None:
    index = CatalogIndex(VERSION, (REF,), (Removed("tt2", 5),))
    assert decode_index(encode(index), "index") == index
    for removed in ((Removed("tt1", 5),), (Removed("tt2", 5), Removed("tt2", 6))):
        with pytest.raises(ValueError, match="both listed and removed"):
            CatalogIndex(VERSION, (REF,), removed)
    assert decode_index(encode({"version": VERSION, "titles": []}), "index").removed == ()


def test_a_reader_that_does_not_know_a_field_leaves_it_out() -> None:
    class Older(msgspec.Struct, frozen=True):
        title: str

    assert msgspec.json.decode(_entry(released_at=1000), type=Older).title == "tt1"
