"""A plan in bits is the plan that was made, and hostile bits are refused before they are believed."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import BadDocument, check_sha256, encode, sha256
from contracts.placement import (
    SENTENCES,
    Objects,
    Reason,
    SitePlacement,
    TitleShares,
    decode_objects,
    decode_site,
    encode_objects,
    object_rows,
    pack,
    unpack,
    whole,
)
from contracts.plan import Peer, Plan
from fill.planning.documents import decode_before, encode_site, objects_of
from fill.planning.site import plan_site
from tests.unit.fill.catalogs import ALL, site, table, zipf

VERSION = "20261121T060000Z-0a1b2c"
GB = 10**9


def _plan(appliances: tuple[str, ...], name: str) -> Plan:
    peers = tuple(Peer(box, "http://192.0.2.1:80") for box in appliances)
    return Plan(VERSION, name, "site", VERSION, (), peers=peers)


@given(
    st.lists(st.lists(st.integers(0, GB), min_size=1, max_size=3), min_size=1, max_size=20),
    st.integers(1, 19),
    st.integers(1, 10 * GB),
)
def test_what_each_appliance_reads_is_what_was_decided(
    listed: list[list[int]], boxes: int, capacity: int
) -> None:
    known = table(listed)
    placed = plan_site(known, site([capacity] * boxes), zipf(known), ALL, 0.0)
    documents = encode_site(known, placed, VERSION)
    placement = decode_site(documents.placement, "s", VERSION, "site")
    objects = encode_objects(objects_of(known, VERSION, VERSION))
    rows = object_rows(decode_objects(objects, "o"), "o")
    assert rows == list(zip(known.keys, known.size.tolist(), strict=True))
    names = placement.appliances
    shares = TitleShares.decode(documents.titles, "t", names, len(known.titles))
    for at, name in enumerate(names):
        mine = whole(_plan(names, name), rows, placement, "s")
        expected = {known.keys[row] for row in placed.rows[placed.holders[:, at]]}
        assert {item.key for item in mine.objects} == expected
        for item in mine.objects:
            row = int(np.flatnonzero(placed.rows == known.keys.index(item.key))[0])
            assert sorted(item.holders) == np.flatnonzero(placed.holders[row]).tolist()
            assert item.reason == SENTENCES[Reason(int(placed.reason[row]))]
        held = {known.titles[row] for row in shares.rows(name, 1 / 255)}
        assert held == {key.partition("/")[0] for key in expected}
    again = decode_before(placement, np.arange(len(known), dtype=np.int32), names, len(known), "s")
    assert (again.rows == placed.rows).all()
    assert (again.holders == placed.holders).all()


def test_the_most_wanted_come_first() -> None:
    known = table([[GB]] * 50)
    demand = zipf(known, alpha=2.0)
    placed = plan_site(known, site([10**12]), demand, ALL, 0.0)
    placement = decode_site(encode_site(known, placed, VERSION).placement, "s", VERSION, "site")
    rows = list(zip(known.keys, known.size.tolist(), strict=True))
    keys = [item.key for item in whole(_plan(placement.appliances, "box00"), rows, placement, "s").objects]
    order = [known.keys[row] for row in np.argsort(-demand)]
    # Steps are a quarter of an octave: neighbours in the tail may stand in either order.
    assert keys[:5] == order[:5]
    assert max(abs(keys.index(key) - at) for at, key in enumerate(order)) < 8


def test_a_master_stays_when_others_come_and_go() -> None:
    """Of a thousand objects, those mastered by one that stays are never taken from it by one that leaves."""
    known = table([[1000]] * 1000)
    rows = list(zip(known.keys, known.size.tolist(), strict=True))

    def masters(names: tuple[str, ...]) -> dict[str, str]:
        full = SitePlacement(
            VERSION,
            "site",
            names,
            1000,
            pack(b"\1" * 1000),
            pack(bytes([(0xFF << (8 - len(names))) & 0xFF]) * 1000),
            pack(b"\1" * 1000),
        )
        mine = whole(_plan(names, names[0]), rows, full, "s")
        return {item.key: names[item.holders[0]] for item in mine.objects}

    four, three = masters(("a", "b", "c", "d")), masters(("a", "b", "c"))
    assert all(three[key] == master for key, master in four.items() if master != "d")
    counts = [list(four.values()).count(name) for name in "abcd"]
    assert min(counts) > 150, counts


def _site(**changes: Any) -> SitePlacement:
    made = SitePlacement(VERSION, "site", ("a", "b"), 2, pack(b"\1\0"), pack(b"\xc0"), pack(b"\1"))
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"wanted": b"not zlib"},
        {"wanted": pack(b"\1")},
        {"wanted": pack(b"\1\0\0")},
        {"wanted": pack(b"\1\0") + b"more"},
        {"wanted": pack(b"\0" * 10_000_000)},
        {"wanted": zlib.compress(b"\1\0")[:-2]},
        {"holders": pack(b"")},
        {"holders": pack(b"\xc0\xc0")},
        {"reasons": pack(b"\1\1")},
        {"reasons": pack(b"\x7f")},
        {"rows": 3},
        {"appliances": ("a", "c")},
        {"appliances": ("b",)},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    rows = [("tt1/a", 1), ("tt1/b", 2)]
    assert len(whole(_plan(("a", "b"), "a"), rows, _site(), "s").objects) == 1
    with pytest.raises(BadDocument, match=r"^s: "):
        whole(_plan(("a", "b"), "a"), rows, _site(**changes), "s")


def test_a_site_document_of_another_site_or_version_is_refused() -> None:
    raw = encode(_site())
    for version, name in (("20270101T000000Z-000000", "site"), (VERSION, "other")):
        with pytest.raises(BadDocument, match="is of site"):
            decode_site(raw, "s", version, name)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", gzip.compress(b"{"), gzip.compress(b"{}")[:-3], gzip.compress(b"{}")]
)
def test_an_object_table_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadDocument, match=r"^o: "):
        decode_objects(raw, "o")


def test_a_key_that_leaves_the_key_space_is_refused() -> None:
    objects = Objects(VERSION, VERSION, (("tt1", (("../../etc/passwd", 1),)),))
    with pytest.raises(BadDocument, match="is not an object key"):
        object_rows(objects, "o")


def test_a_digest_is_of_every_byte() -> None:
    check_sha256(b"abc", sha256(b"abc"), "x", "plan")
    with pytest.raises(BadDocument, match="is not the document"):
        check_sha256(b"abd", sha256(b"abc"), "x", "plan")


@given(st.binary(max_size=300), st.integers(0, 400))
def test_what_was_packed_is_unpacked_and_nothing_else(raw: bytes, length: int) -> None:
    if length == len(raw):
        assert unpack(pack(raw), length, "x") == raw
    else:
        with pytest.raises(BadDocument):
            unpack(pack(raw), length, "x")
