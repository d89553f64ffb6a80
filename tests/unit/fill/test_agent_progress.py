"""Progress where nobody watches a bar, and the table of `fill status`."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ingest import Holdings, Incomplete
from fill.agent.status import print_status
from fill.progress import EVERY_S, Events, shortened


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_most_one_line_comes_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    events = Events("filling", 200, clock)
    events.about("tt1/video.mp4")
    for tick in range(401):  # 40 s in tenths
        clock.now = 100 + tick / 10
        events.at(tick / 4)
    lines = [getattr(record, "fields") for record in caplog.records]  # noqa: B009
    assert [line["percent"] for line in lines] == [12, 25, 37, 50]
    assert {line["key"] for line in lines} == {"tt1/video.mp4"}
    assert EVERY_S == 10


def test_what_is_done_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    events = Events("filling", 0, Clock())
    events.done("object done", key="tt1/video.mp4")
    events.at(5)
    assert [record.getMessage() for record in caplog.records] == ["object done"]


@given(st.text(), st.integers(1, 50))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert len(short) <= width
    if len(text) <= width:
        assert short == text
    elif width >= 3:
        assert (short[0], short[-1]) == (text[0], text[-1])


def test_the_status_of_a_large_appliance_with_long_names_fits_100_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = "20261121T074455Z-a62952"
    incomplete = tuple(
        Incomplete(f"tt{n}/" + "segment" * 60 + f"/{n}.mp4", 1 << 40, 1 << 20) for n in range(25)
    )
    held = Holdings(
        "a" * 63, version, 540_000, 240 * 10**12, 539_999, 239 * 10**12, 99_999, 10**13, incomplete
    )
    print_status(held, version)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100, lines
    assert "539999 of 540000" in lines[1]
    assert lines[1].split()[-1] == "25", "how many are incomplete"
    assert lines[-1] == "and 15 more: --json has them all"
