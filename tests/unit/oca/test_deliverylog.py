"""The delivery log: what is gathered, what lies on the disk, and what a kill at any moment leaves."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.delivery import DeliveryRow, part_key
from oca.ipc import Playback, Touch
from oca.sessions import KEPT, estimate, keep_smallest, session_id
from oca.store import deliverylog
from oca.store.deliverylog import Minute
from oca.store.spool import Spool

KEY = "tt1/720p/video.mp4"
NETWORK = "203.0.0.0/16"
MINUTE = 29_700_005  # 2026-06-21T00:05:00Z


def touch(key: str = KEY, network: str = NETWORK, sessions: tuple[int, ...] = (1,), hits: int = 1) -> Touch:
    return Touch(key, network, hits, 0, hits * 100, 0, sessions)


def rows(lines: bytes) -> list[DeliveryRow]:
    return [msgspec.json.decode(line, type=DeliveryRow) for line in lines.splitlines()]


# A minute


def test_reports_of_one_minute_are_one_row() -> None:
    minute = Minute(MINUTE)
    minute.add([Touch(KEY, NETWORK, 2, 1, 200, 50, (7, 8), Playback(2, 1, 2, 10.0, 1, 3_000_000))])
    minute.add([Touch(KEY, NETWORK, 1, 0, 100, 0, (8, 9), Playback(1, 0, 1, 20.0, 1, 1_000_000))])
    (row,) = rows(minute.lines("isp-a1"))
    assert row == DeliveryRow(
        minute="2026-06-21T00:05:00Z", appliance="isp-a1", key=KEY, network=NETWORK, country=None,
        requests=4, hits=3, misses=1, bytes=350, hit_bytes=300, miss_bytes=50, sessions=3,
        cmcd_requests=3, cmcd_starvations=1, cmcd_buffers=3, cmcd_mean_buffer_s=10.0,
        cmcd_bitrates=2, cmcd_mean_bitrate_bps=2_000_000.0,
    )  # fmt: skip


def test_no_cmcd_is_no_mean() -> None:
    minute = Minute(MINUTE)
    minute.add([touch()])
    (row,) = rows(minute.lines("isp-a1"))
    assert (row.cmcd_requests, row.cmcd_mean_buffer_s, row.cmcd_mean_bitrate_bps) == (0, None, None)


def test_too_many_networks_become_one_and_too_many_objects_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliverylog, "MAX_ROWS", 4)
    monkeypatch.setattr(deliverylog, "_MAX_NETWORK_ROWS", 3)
    minute = Minute(MINUTE)
    for number in range(5):
        minute.add([touch(network=f"10.{number}.0.0/16")])
    minute.add([touch(key="tt2/v.mp4", hits=6)])
    found = rows(minute.lines("a"))
    assert [(row.network, row.requests) for row in found] == [
        ("10.0.0.0/16", 1), ("10.1.0.0/16", 1), ("10.2.0.0/16", 1), ("", 2)
    ]  # fmt: skip
    assert minute.lost == 6


# Sessions


@given(st.integers(0, KEPT - 1), st.integers(1, 3))
def test_few_sessions_are_counted_exactly(count: int, times: int) -> None:
    seen: set[int] = set()
    for _ in range(times):
        seen.update(session_id(f"s{number}") for number in range(count))
        keep_smallest(seen)
    assert estimate(seen) == count


@pytest.mark.parametrize("count", [KEPT, 200, 5000, 100_000])
def test_many_sessions_are_estimated_from_a_bounded_set(count: int) -> None:
    parts: list[set[int]] = [set(), set(), set()]
    for number in range(count):
        part = parts[number % 3]
        part.add(session_id(f"viewer {number}"))
        if len(part) > 2 * KEPT:
            keep_smallest(part)
    joined = set().union(*parts)
    keep_smallest(joined)
    assert len(joined) == KEPT
    assert estimate(joined) == pytest.approx(count, rel=0.4)  # three standard deviations


# The spool


def names() -> Iterator[str]:
    return (f"{number:08x}" for number in itertools.count())


@pytest.fixture
def made(tmp_path: Path) -> Spool:
    drawn = names()
    made = Spool(tmp_path / "delivery", 1 << 20, lambda: next(drawn))
    made.recover()
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in (root / "delivery/ready").iterdir()}


def test_minutes_of_an_hour_are_one_part(made: Spool, tmp_path: Path) -> None:
    made.append("2026-06-21T00", b"1\n")
    made.append("2026-06-21T00", b"2\n")
    made.append("2026-06-21T01", b"3\n")
    made.roll(but="2026-06-21T01")
    assert contents(tmp_path) == {"2026-06-21T00.00000000.ndjson.gz": b"1\n2\n"}
    made.roll()
    assert contents(tmp_path)["2026-06-21T01.00000001.ndjson.gz"] == b"3\n"
    assert made.waiting == 2
    assert list((tmp_path / "delivery/open").iterdir()) == []


def test_after_a_kill_the_open_part_is_closed_without_its_torn_line(made: Spool, tmp_path: Path) -> None:
    made.append("2026-06-21T00", b"1\n22\n")
    (part,) = (tmp_path / "delivery/open").iterdir()
    with part.open("ab") as file:
        file.write(b'{"torn')
    drawn = iter(["ffffffff"])
    heir = Spool(tmp_path / "delivery", 1 << 20, lambda: next(drawn))
    heir.recover()
    heir.append("2026-06-21T00", b"3\n")
    heir.roll()
    assert contents(tmp_path) == {
        "2026-06-21T00.00000000.ndjson.gz": b"1\n22\n",
        "2026-06-21T00.ffffffff.ndjson.gz": b"3\n",
    }


@pytest.mark.parametrize(
    ("tail", "left"),
    [
        (b"", b""),
        (b"x", b""),
        (b"x" * 70_000, b""),
        (b"x" * 70_000 + b"\n", b"x" * 70_000 + b"\n"),
        (b"2\n" + b"x" * 140_000, b"2\n"),
    ],
    ids=["none", "short", "long", "whole", "longer"],
)
def test_a_torn_line_of_any_length_is_cut(made: Spool, tmp_path: Path, tail: bytes, left: bytes) -> None:
    (tmp_path / "delivery/open/2026-06-21T00.aaaaaaaa.ndjson").write_bytes(b"1\n" + tail)
    made.recover()
    assert contents(tmp_path) == {"2026-06-21T00.aaaaaaaa.ndjson.gz": b"1\n" + left}


def test_killed_at_any_step_of_closing_a_part_gives_the_same_part(
    made: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every system call of the closing is made to be the last one, then the next process takes over."""
    clock = itertools.count(1_800_000_000)  # no two parts are made at the same time
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    made.append("2026-06-21T00", b"1\n2\n")
    (part,) = (tmp_path / "delivery/open").iterdir()
    lines = part.read_bytes()
    made.roll()
    (whole,) = (tmp_path / "delivery/ready").iterdir()
    expected = whole.read_bytes()

    class Killed(BaseException):
        pass

    def dies(*_: object, **__: object) -> None:
        raise Killed

    for where in ("shutil.copyfileobj", "os.fsync", "os.replace", "pathlib.Path.unlink"):
        for path in (tmp_path / "delivery/ready").iterdir():
            path.unlink()
        part.write_bytes(lines)
        with monkeypatch.context() as patch:
            patch.setattr(where, dies)
            with pytest.raises(Killed):
                made.roll()
        Spool(tmp_path / "delivery", 1 << 20, lambda: "ffffffff").recover()
        assert {path.name: path.read_bytes() for path in (tmp_path / "delivery/ready").iterdir()} == {
            whole.name: expected
        }, where
        assert not part.exists()


def test_the_oldest_parts_are_dropped_when_there_is_no_room(tmp_path: Path) -> None:
    drawn = names()
    made = Spool(tmp_path / "delivery", 3000, lambda: next(drawn))
    made.recover()
    for hour in range(5):
        made.append(f"2026-06-21T0{hour}", os.urandom(500).hex().encode() + b"\n")
        made.roll()
    kept = sorted(contents(tmp_path))
    assert made.dropped_parts == 5 - len(kept) > 0
    assert kept[-1].startswith("2026-06-21T04")
    assert not any(name.startswith("2026-06-21T00") for name in kept)
    assert made.held_bytes <= 3000


def test_what_no_room_can_be_made_for_is_counted(tmp_path: Path) -> None:
    made = Spool(tmp_path / "delivery", 10, lambda: "00000000")
    made.recover()
    made.append("2026-06-21T00", b"123456\n123456\n")
    assert (made.dropped_rows, made.trouble) == (2, "the spool is full")


def test_a_full_disk_costs_the_minute_and_not_the_part(
    made: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.append("2026-06-21T00", b"1\n")
    write = os.write
    with monkeypatch.context() as patch:

        def full(fd: int, data: memoryview) -> int:
            if len(data) < 6:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(fd, data[:3])

        patch.setattr(os, "write", full)
        made.append("2026-06-21T00", b"2\n3\n4\n")
    assert (made.dropped_rows, made.trouble) == (3, "No space left on device")
    made.append("2026-06-21T00", b"5\n")
    assert made.trouble == ""
    made.roll()
    assert list(contents(tmp_path).values()) == [b"1\n5\n"]


def test_where_a_part_goes() -> None:
    key = part_key("delivery", "2026-06-21T09", "isp-a1", "00c0ffee")
    assert key == "delivery/date=2026-06-21/hour=09/isp-a1-00c0ffee.ndjson.gz"
    for hour, unique in (
        ("2026-06-21", "00c0ffee"),
        ("2026-06-21T09", "../../x"),
        ("2026-06-21T9", "00c0ffee"),
    ):
        with pytest.raises(ValueError, match="expected"):
            part_key("delivery", hour, "isp-a1", unique)
