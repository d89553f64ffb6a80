"""What a run says of itself: rates, the end, what the window leaves no time for; on a screen, in lines, for `fill status`."""

from __future__ import annotations

import dataclasses
import io
import logging
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from contracts.catalog import CatalogObject
from contracts.ingest import Holdings, Wanted
from fill.agent.report import EVERY_S, Kept, Lines, read_kept
from fill.agent.screen import render
from fill.agent.status import print_status
from fill.agent.tally import Summary, Tally
from fill.agent.view import Ahead, Late, Rate, UnderWay, View, duration

GB = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_that_of_the_last_ten_seconds_and_falls_when_nothing_comes() -> None:
    rate = Rate(0.0)
    for tick in range(1, 301):
        rate.at(tick / 10, tick * 1000 if tick < 200 else 200_000 + (tick - 200) * 500)
    assert rate.bps(30.0) == pytest.approx(5000 * 8, rel=0.05)
    assert rate.bps(50.0) < 2000 * 8
    assert len(rate._points) < 100


@given(
    st.lists(st.integers(1, 100), max_size=20), st.integers(0, 50), st.integers(0, 500), st.integers(0, 2000)
)
def test_late_is_what_the_bytes_that_will_come_do_not_reach(
    sizes: list[int], before: int, done: int, more: int
) -> None:
    items = [Wanted(f"tt{number}/v.mp4", size) for number, size in enumerate(sizes)]
    late = Ahead(items, before).late(before + done, more)
    total = before
    expected = []
    for item in items:
        total += item.size
        if total > before + done + more:
            expected.append(item)
    assert late == Late(
        len(expected), sum(item.size for item in expected), expected[0].key if expected else ""
    )


def _view(**changes: object) -> View:
    """A night of 1,200 GB, three quarters of an hour too slow."""
    files = tuple(
        UnderWay(f"tt{number:04}/2160p-hdr/" + "a" * 40 + ".mp4", 5 * GB, 20 * GB, 3e8, "isp-a2")
        for number in range(4)
    )
    plain = View(
        appliance="isp-a1",
        plan="20261121T074455Z-a62952",
        at=1_770_000_000.0,
        until=1_770_003_600.0,
        done_bytes=700 * GB,
        planned_bytes=1200 * GB,
        done_objects=412,
        objects=663,
        put_off=3,
        rate_bps=1.0e9,
        allowed_bps=600_000_000,
        cap_bps=1_200_000_000,
        fetched_bytes=100 * GB,
        sources={"origin": 60 * GB, "isp-a2": 40 * GB},
        under_way=files,
        late=Late(212, 50 * GB, "tt0102/video.mp4"),
        left_out={"tt9/v.mp4": "tt9/v.mp4 needs 5 bytes on one disk and \x1b[2Jnothing is left"},
        left_out_objects=2,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def _drawn(view: View) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=False, color_system=None)
    console.print(render(view, UTC))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_screen_names_all_an_operator_asks_for_in_100_columns() -> None:
    lines = _drawn(_view())
    assert max(map(len, lines)) <= 100, lines
    text = "\n".join(lines)
    assert "the window closes Mon 03:40 UTC, in 1 h 00 min" in text
    assert "58%  700.0 GB of 1.2 TB" in lines[1]
    assert "1.0 Gb/s of 600.0 Mb/s" in " ".join(lines[1].split())
    assert sum("from isp-a2" in line and "5.0 GB of 20.0 GB" in line for line in lines) == 4
    assert "412 of 663 objects done, 3 wait for another appliance, 2 left out" in text
    assert "came from: origin 60.0 GB, isp-a2 40.0 GB" in text
    assert "gives way to players: 600.0 Mb/s of 1.2 Gb/s" in text
    assert "too late; 212 objects, 50.0 GB, from tt0102/video.mp4 on, wait for the next window" in " ".join(
        text.split()
    )
    assert "\x1b[2J" not in text


def test_the_screen_says_when_it_ends_or_that_nobody_knows() -> None:
    assert any(
        "ends Mon 03:15 UTC, in 35 min" in line
        for line in _drawn(_view(until=None, rate_bps=500 * GB * 8 / 2100, late=Late()))
    )
    assert any(
        "25 min 00 s before the window closes" in line
        for line in _drawn(_view(rate_bps=500 * GB * 8 / 2100, late=Late()))
    )
    assert any("nothing comes" in line for line in _drawn(_view(rate_bps=0.0)))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (8000, "2 h 13 min")]
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_line_in_ten_seconds_has_rate_end_and_what_will_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    lines = Lines(clock)
    for tick in range(401):  # 40 s in tenths
        clock.now = 1000 + tick / 10
        lines.look(_view())
    fields = [getattr(record, "fields") for record in caplog.records]  # noqa: B009
    assert len(fields) == 4
    assert fields[0] | {"under_way": 0} == {
        "done": 700 * GB,
        "of": 1200 * GB,
        "percent": 58,
        "rate_bps": 10**9,
        "ends_in_s": 4000,
        "will_not_fit": 212,
        "will_not_fit_bytes": 50 * GB,
        "under_way": 0,
    }
    assert EVERY_S == 10
    lines.done("object done", key="tt1/video.mp4")
    assert caplog.records[-1].getMessage() == "object done"


def test_fill_status_shows_the_run_that_is_under_way_and_none_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, view = tmp_path / "fill-run.json", _view()
    kept = Kept(path, Clock())
    kept.look(view)
    found = read_kept(path, view.at + 2)
    assert found == view
    assert read_kept(path, view.at + 60) is None
    print_status(Holdings("isp-a1", "v1", 1, 1, 0, 0, 0, 0, ()), "v1", found)
    said = capsys.readouterr().out
    assert "fill under way: 1.0 Gb/s of 1.2 Gb/s, ends in 1 h 06 min, the window closes in 1 h 00 min" in said
    assert "212 objects (50.0 GB) will not fit" in said
    path.write_bytes(b'{"appliance": 7')
    assert read_kept(path, view.at) is None
    kept.remove()
    assert read_kept(path, view.at) is None


def test_a_state_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    kept = Kept(tmp_path / "nowhere" / "fill-run.json", clock)
    for _ in range(3):
        kept.look(_view())
        clock.now += 5
    assert [record.getMessage() for record in caplog.records] == ["state not written"]


def test_a_tally_counts_by_object_by_source_and_in_order() -> None:
    clock = Clock()
    tally = Tally(Summary("p1", objects=3), clock)
    sizes = {"tt1/v.mp4": 600, "tt2/v.mp4": 400, "tt3/v.mp4": 1000}
    items = {key: CatalogObject(key, size, "video/mp4", '"x"', 0, b"x" * 16) for key, size in sizes.items()}
    tally.expect([Wanted(key, size) for key, size in sizes.items()])
    tally.begun(items["tt1/v.mp4"], 500)
    tally.begun(items["tt2/v.mp4"], 400)
    clock.now += 10
    tally.source("tt1/v.mp4", "isp-a2")
    tally.came("tt1/v.mp4", 500)
    tally.settled(items["tt1/v.mp4"], held=False)
    tally.put_off("tt2/v.mp4")
    view = tally.view("isp-a1", 50.0, 60.0, 0, 0)
    assert (view.done_bytes, view.planned_bytes, view.done_objects, view.put_off) == (600, 2000, 1, 1)
    assert (view.rate_bps, view.sources) == (400.0, {"isp-a2": 500})
    assert view.late == Late(1, 1000, "tt3/v.mp4"), "500 bytes come until then: the second, and not the third"
    tally.begun(items["tt2/v.mp4"], 400)
    tally.passed_over(1000)
    view = tally.view("isp-a1", 50.0, None, 0, 0)
    assert (view.done_bytes, view.put_off, view.done_objects) == (1600, 0, 2)
    assert [one.key for one in view.under_way] == ["tt2/v.mp4"]
