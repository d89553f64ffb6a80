"""One signature is the publisher's word on a whole catalog: what hangs by it is believed, and nothing else."""

from __future__ import annotations

import json

import msgspec
import pytest
from joserfc.jwk import OKPKey

from contracts.catalog import (
    INDEX_TYP,
    MAX_OBJECTS,
    CatalogIndex,
    CatalogObject,
    Latest,
    TitleEntry,
    TitleRef,
    believed_entry,
    believed_index,
    decode_index,
    decode_latest,
    entry_limit_bytes,
    index_key,
)
from contracts.documents import BadDocument, encode, sha256
from contracts.inforce import CATALOGS, PLANS, InForce, decode_in_force, to_obey
from contracts.objectkey import MAX_KEY_BYTES, SLICE_BYTES, slice_count
from fill.signing import Signer, signed_latest

SIGNER = Signer(OKPKey.generate_key("Ed25519"))
KEYS = SIGNER.public()
VERSION, OTHER = "20261121T060000Z-0a1b2c", "20261122T060000Z-0a1b2c"
ENTRY_KEY = f"catalog/{VERSION}/titles/tt1.json"


def _entry(title: str = "tt1", digest: bytes = b"d" * 16) -> TitleEntry:
    item = CatalogObject(f"{title}/m.m3u8", 5, "text/plain", '"m"', 0, digest)
    return TitleEntry(title, 0, 1.0, (item,), item.key, item.key)


TT1 = _entry()


def _ref(entry: TitleEntry = TT1) -> TitleRef:
    return TitleRef("tt1", ENTRY_KEY, 5, 0, sha256=sha256(encode(entry)))


INDEX = CatalogIndex(VERSION, (_ref(),))
RAW = encode(INDEX)


def test_a_signed_catalog_is_believed_from_latest_to_digest() -> None:
    word = to_obey(CATALOGS, signed_latest(CATALOGS, InForce(VERSION, 9), SIGNER), KEYS, None)
    index = believed_index(RAW, SIGNER.sign(RAW, INDEX_TYP), KEYS, word.version)
    assert believed_entry(encode(_entry()), index.titles[0]) == _entry()


@pytest.mark.parametrize(
    ("raw", "signature", "version", "says"),
    [
        (RAW, None, VERSION, "is not signed, and only signed catalogs are believed here"),
        (RAW, b"", VERSION, "not a detached JWS"),
        (RAW + b" ", SIGNER.sign(RAW, INDEX_TYP), VERSION, "its signature is wrong"),
        (RAW, SIGNER.sign(RAW), VERSION, "not one of such a document"),
        (
            RAW,
            Signer(OKPKey.generate_key("Ed25519")).sign(RAW, INDEX_TYP),
            VERSION,
            "a key that is not known",
        ),
        (RAW, SIGNER.sign(RAW, INDEX_TYP), OTHER, f"is the index of version {VERSION}, not of {OTHER}"),
        (b"{", SIGNER.sign(b"{", INDEX_TYP), VERSION, "truncated"),
        (
            encode(CatalogIndex(VERSION, (TitleRef("tt1", ENTRY_KEY, 5, 0),))),
            SIGNER.sign(encode(CatalogIndex(VERSION, (TitleRef("tt1", ENTRY_KEY, 5, 0),))), INDEX_TYP),
            VERSION,
            "tt1: its entry's digest is missing",
        ),
    ],
)
def test_an_index_that_the_publisher_did_not_sign_as_this_version_is_refused(
    raw: bytes, signature: bytes | None, version: str, says: str
) -> None:
    with pytest.raises(BadDocument) as refused:
        believed_index(raw, signature, KEYS, version)
    assert refused.value.name == index_key(version)
    assert says in refused.value.why


def test_a_plans_word_is_none_of_the_catalogs_though_the_key_be_one() -> None:
    raw = signed_latest(PLANS, InForce(VERSION, 9), SIGNER)
    with pytest.raises(BadDocument, match="catalog/latest: its signature is not one of such a document"):
        decode_in_force(CATALOGS, raw, KEYS)


@pytest.mark.parametrize("raw", [encode(_entry(digest=b"e" * 16)), encode(_entry("tt2")), b"", b"{}"])
def test_an_entry_that_is_not_the_one_that_the_index_means_is_refused(raw: bytes) -> None:
    with pytest.raises(BadDocument) as refused:
        believed_entry(raw, _ref())
    assert str(refused.value) == f"{ENTRY_KEY}: is not the document that the catalog's index was made with"


def test_an_entry_of_another_title_is_refused_whoever_signed_the_index() -> None:
    with pytest.raises(BadDocument, match="is the entry of 'tt2', not of 'tt1'"):
        believed_entry(encode(_entry("tt2")), _ref(_entry("tt2")))


def test_without_keys_an_unsigned_catalog_is_read_and_an_altered_entry_found_all_the_same() -> None:
    unsigned = encode(CatalogIndex(VERSION, (TitleRef("tt1", ENTRY_KEY, 5, 0),)))
    (ref,) = believed_index(unsigned, None, None, VERSION).titles
    assert believed_entry(encode(_entry()), ref) == _entry()
    with pytest.raises(BadDocument, match="is not the document"):
        believed_entry(encode(_entry(digest=b"e" * 16)), believed_index(RAW, None, None, VERSION).titles[0])


def test_whoever_knows_nothing_of_signatures_reads_it_as_before() -> None:
    raw = signed_latest(CATALOGS, InForce(VERSION, 9), SIGNER)
    assert decode_latest(raw, "x") == Latest(VERSION)
    assert decode_index(RAW, "x").titles[0].entry == ENTRY_KEY
    assert set(json.loads(raw)) == {"version", "issued_at", "contract", "signed"}


@pytest.mark.parametrize(
    ("objects", "size"), [(1, 50_000 * SLICE_BYTES), (MAX_OBJECTS, 1), (MAX_OBJECTS, 99 << 20)]
)
def test_no_entry_is_larger_than_what_is_read_of_it(objects: int, size: int) -> None:
    digests = b"\xff" * 16 * slice_count(size)
    item = CatalogObject(
        "a" * MAX_KEY_BYTES,
        size,
        "video/" + "m" * 100,
        '"' + "e" * 64 + '"',
        1 << 40,
        digests,
        bitrate_bps=10**9,
    )
    ref = TitleRef("tt1", ENTRY_KEY, size * objects, 0)
    around = 300 * 6 + 32 * 70 + 16 * 300 + 2000
    assert objects * (len(msgspec.json.encode(item)) + 1) + around <= entry_limit_bytes(ref)
