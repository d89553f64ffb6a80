"""The demand table: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import BadDocument
from contracts.fleet import Appliance, PublicKey, Site, Tier
from fill.popularity.demand import (
    Demand,
    DemandIndex,
    Forecast,
    Place,
    PlaceKind,
    decode_forecast,
    decode_keys,
    digest_of,
    encode_forecast,
    encode_keys,
    overlaid,
)
from fill.popularity.documents import in_memory

VERSION = "20261121T030000Z-0a0b0c"
KEYS = ("tt1/1080p/video.mp4", "tt1/240p/video.mp4", "tt2/1080p/video.mp4")


def forecast(**figures: float) -> Forecast:
    """``forecast(_0=5.0)``: object 0 is watched for 5 bytes a day."""
    return Forecast(
        np.array([int(name[1:]) for name in figures], np.int32),
        np.array(list(figures.values()), np.float64),
    )


def index(*places: Place, keys: tuple[str, ...] = KEYS) -> DemandIndex:
    return DemandIndex(VERSION, VERSION, "2026-11-21", 1, len(keys), digest_of(encode_keys(keys)), places)


def site(name: str, region: str = "", country: str | None = None) -> Site:
    box = Appliance(f"{name}-1", "http://192.0.2.1", 1, 1, PublicKey("OKP", "Ed25519", "A" * 43))
    return Site(name, Tier.ISP, (), (box,), country, region)


@pytest.fixture
def table() -> Demand:
    places = (
        Place(PlaceKind.FLEET, "", 60.0),
        Place(PlaceKind.REGION, "north", 30.0),
        Place(PlaceKind.SITE, "large", 12.0, "north", 0.5),
        Place(PlaceKind.SITE, "small", 3.0, "north", 0.1),
    )
    files = {0: forecast(_0=60.0), 1: forecast(_0=20.0, _2=10.0), 2: forecast(_1=2.0, _2=1.0)}
    return in_memory(index(*places), KEYS, files)


def figures(found: Forecast) -> dict[str, float]:
    return {
        KEYS[at]: value
        for at, value in zip(found.objects.tolist(), found.bytes_per_day.tolist(), strict=True)
    }


def test_a_small_site_watches_its_share_of_its_region(table: Demand) -> None:
    assert figures(table.site(site("small", "north"))) == {KEYS[0]: 2.0, KEYS[2]: 1.0}


def test_a_large_site_has_figures_of_its_own_where_it_watched_and_its_share_elsewhere(table: Demand) -> None:
    assert figures(table.site(site("large", "north"))) == {KEYS[0]: 10.0, KEYS[1]: 2.0, KEYS[2]: 1.0}


def test_a_site_that_is_new_is_as_large_as_the_mean_one_of_its_region(table: Demand) -> None:
    assert figures(table.site(site("new", "north"))) == pytest.approx({KEYS[0]: 6.0, KEYS[2]: 3.0})


def test_a_region_that_is_not_listed_has_the_fleets_taste(table: Demand) -> None:
    assert figures(table.region("south")) == {KEYS[0]: 60.0}
    assert figures(table.site(site("far", country="NZ"))) == {KEYS[0]: 60.0}


def test_popularity_is_bytes_by_size() -> None:
    sizes = np.array([1000, 10, 0], np.int64)
    assert forecast(_0=500.0, _1=500.0).popularity(sizes).tolist() == [0.5, 50.0]


@given(
    st.dictionaries(st.integers(0, 60), st.floats(0, 2.0**50)),
    st.dictionaries(st.integers(0, 60), st.floats(0, 2.0**50)),
)
def test_overlaid_keeps_order_and_lets_the_upper_win(
    below: dict[int, float], above: dict[int, float]
) -> None:
    def made(of: dict[int, float]) -> Forecast:
        listed = sorted(of.items())
        return Forecast(np.array([k for k, _ in listed], np.int32), np.array([v for _, v in listed]))

    found = overlaid(made(below), made(above))
    assert dict(zip(found.objects.tolist(), found.bytes_per_day.tolist(), strict=True)) == below | above
    assert (np.diff(found.objects) > 0).all()


def announced(raw: bytes, objects: int = 2) -> DemandIndex:
    return index(Place(PlaceKind.FLEET, "", 1.0, objects=objects, digest=digest_of(raw)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (encode_forecast(forecast(_0=1.0)), "8 bytes, and 16 are announced"),
        (encode_forecast(forecast(_1=1.0, _0=1.0)), "indices must ascend"),
        (encode_forecast(forecast(_1=1.0, _3=1.0)), "below 3"),
        (np.array([-1, 1], "<i4").tobytes() + bytes(8), "indices must ascend from 0"),
        (encode_forecast(forecast(_1=1.0, _2=float("nan"))), "must be numbers"),
        (encode_forecast(forecast(_1=1.0, _2=float("inf"))), "must be numbers"),
        (encode_forecast(forecast(_1=-1.0, _2=1.0)), "must be numbers"),
    ],
)
def test_a_places_file_that_cannot_be_right_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BadDocument, match=why):
        decode_forecast(raw, announced(raw), 0)


def test_a_places_file_of_another_writing_is_refused() -> None:
    raw = encode_forecast(forecast(_0=1.0, _1=1.0))
    with pytest.raises(BadDocument, match="digest"):
        decode_forecast(encode_forecast(forecast(_0=1.0, _1=2.0)), announced(raw), 0)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"tt1/a\n", "1 keys, and 3 are announced"),
        (b"tt1/a\ntt1/c\ntt1/b\n", "ascending"),
        (b"tt1/a\ntt1/a\ntt1/b\n", "twice"),
        (b"tt1/a\ntt1/../b\ntt1/c\n", "not an object key"),
        ("tt1/a\ntt1/\u00e4\ntt1/c\n".encode(), "ascii"),
    ],
)
def test_keys_that_cannot_be_right_are_refused(raw: bytes, why: str) -> None:
    told = msgspec.structs.replace(index(), objects_digest=digest_of(raw))
    with pytest.raises(BadDocument, match=why):
        decode_keys(raw, told)
