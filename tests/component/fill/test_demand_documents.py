"""The demand table in a real S3: written whole, `latest` last, read as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from contracts.documents import BadDocument
from demo.origin import OriginServer
from fill.popularity.demand import LATEST_KEY, DemandIndex, Forecast, Place, PlaceKind, place_key
from fill.popularity.documents import read_demand, write_demand

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VERSION = "20261121T030000Z-0a0b0c"
KEYS = ("tt1/1080p/video.mp4", "tt1/240p/video.mp4")


def test_a_table_is_read_as_it_was_written_and_a_damaged_place_is_refused(
    origin: OriginServer, s3: S3Client
) -> None:
    bucket = origin.config.bucket
    s3.delete_object(Bucket=bucket, Key=LATEST_KEY)  # of other tests
    assert read_demand(s3, bucket) is None
    figures = Forecast(np.array([0, 1], np.int32), np.array([5e12, 0.25]))
    index = DemandIndex(VERSION, VERSION, "2026-11-21", 1, 0, "0" * 32, ())
    places = [(Place(PlaceKind.FLEET, "", 5e12), figures), (Place(PlaceKind.REGION, "north", 0.0), None)]
    write_demand(s3, bucket, index, KEYS, places)

    table = read_demand(s3, bucket)
    assert table is not None
    assert table.keys == KEYS
    assert table.region("").objects.tolist() == [0, 1]
    assert table.region("").bytes_per_day == pytest.approx([5e12, 0.25], rel=1e-6)
    assert table.region("north").objects.tolist() == []

    s3.put_object(Bucket=bucket, Key=place_key(VERSION, 0), Body=bytes(16))
    again = read_demand(s3, bucket)
    assert again is not None
    with pytest.raises(BadDocument, match="digest"):
        again.region("")
