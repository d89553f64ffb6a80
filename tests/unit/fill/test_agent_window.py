"""When a site fills: by its own clock, over its changes, and together."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.agent.window import DAYS, Now, Slot, State, Window, at, jitter_s, slots

BERLIN = ZoneInfo("Europe/Berlin")


def _utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _slots(day: str, window: Window, zone: ZoneInfo = BERLIN) -> list[tuple[str, str]]:
    found = slots(date.fromisoformat(day), 1, [window], zone, 0)
    return [
        tuple(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M") for moment in (one.start, one.end))  # type: ignore[misc]
        for one in found
    ]


@pytest.mark.parametrize(
    ("day", "start", "end", "zone", "opens"),
    [
        ("2026-01-14", "03:00", "07:00", "Europe/Berlin", [("14 02:00", "14 06:00")]),
        ("2026-07-14", "03:00", "07:00", "Europe/Berlin", [("14 01:00", "14 05:00")]),
        ("2026-07-14", "22:00", "02:00", "Europe/Berlin", [("14 20:00", "15 00:00")]),
        ("2026-07-14", "03:00", "07:00", "Asia/Kathmandu", [("13 21:15", "14 01:15")]),
        # The clock goes from 02:00 to 03:00 at 01:00 UTC on 29 March 2026.
        ("2026-03-29", "01:00", "04:00", "Europe/Berlin", [("29 00:00", "29 02:00")]),
        ("2026-03-29", "02:30", "05:00", "Europe/Berlin", [("29 01:00", "29 03:00")]),
        ("2026-03-29", "01:00", "02:30", "Europe/Berlin", [("29 00:00", "29 01:00")]),
        ("2026-03-29", "02:10", "02:50", "Europe/Berlin", []),
        # It goes from 03:00 back to 02:00 at 01:00 UTC on 25 October 2026.
        ("2026-10-25", "01:00", "04:00", "Europe/Berlin", [("24 23:00", "25 03:00")]),
        ("2026-10-25", "02:30", "05:00", "Europe/Berlin", [("25 00:30", "25 04:00")]),
        ("2026-10-25", "01:00", "02:30", "Europe/Berlin", [("24 23:00", "25 01:30")]),
        # Half an hour, in Australia; a whole day that does not exist, in Samoa.
        ("2026-10-04", "02:15", "04:00", "Australia/Lord_Howe", [("03 15:30", "03 17:00")]),
        ("2011-12-30", "03:00", "07:00", "Pacific/Apia", []),
    ],
)
def test_a_window_is_told_by_the_clock_of_the_site(
    day: str, start: str, end: str, zone: str, opens: list[tuple[str, str]]
) -> None:
    assert _slots(day, Window(start, end), ZoneInfo(zone)) == opens


def test_it_is_open_from_its_start_until_before_its_end() -> None:
    start, end = _utc("2026-01-14T02:00"), _utc("2026-01-14T06:00")
    windows = [Window()]
    assert at(start - 1, windows, BERLIN, 0) == Now(State.CLOSED, Slot(start, end))
    assert at(start, windows, BERLIN, 0) == Now(State.OPEN, Slot(start, end))
    assert at(end - 1, windows, BERLIN, 0).state is State.OPEN
    assert at(end, windows, BERLIN, 0) == Now(State.CLOSED, Slot(start + 86_400, end + 86_400))


def test_windows_of_several_days_and_touching_ones_are_joined() -> None:
    night, noon = Window("22:00", "00:00", ("fri",)), Window("00:00", "05:00", ("sat",))
    found = at(_utc("2026-01-15T12:00"), [noon, night], BERLIN, 0)
    assert found.slot == Slot(_utc("2026-01-16T21:00"), _utc("2026-01-17T04:00"))


def test_a_window_of_last_night_that_passes_midnight_is_still_open() -> None:
    window = Window("20:00", "06:00", ("mon",))
    assert at(_utc("2026-01-13T04:00"), [window], BERLIN, 0).state is State.OPEN


def test_one_start_for_a_site_and_others_for_others() -> None:
    assert jitter_s("isp-a", 900) == jitter_s("isp-a", 900)
    drawn = [jitter_s(f"site-{number}", 900) for number in range(1000)]
    assert min(drawn) < 9
    assert max(drawn) > 891
    assert sum(drawn) / 1000 == pytest.approx(450, abs=30)


def test_jitter_delays_the_start_and_never_the_end() -> None:
    found = at(_utc("2026-01-14T00:00"), [Window()], BERLIN, 600)
    assert found.slot == Slot(_utc("2026-01-14T02:10"), _utc("2026-01-14T06:00"))


def test_a_window_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no length"):
        Window("03:00", "03:00")


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])


@given(
    st.floats(_utc("2009-01-01T00:00"), _utc("2032-01-01T00:00")),
    clocks,
    clocks,
    st.sets(st.sampled_from(DAYS), min_size=1),
    zones,
    st.floats(0, 3600),
)
def test_whatever_the_hour_there_is_a_slot_that_is_open_or_ahead(
    now: float, start: str, end: str, days: set[str], zone: str, later_s: float
) -> None:
    if start == end:
        return
    window = Window(start, end, tuple(days))  # type: ignore[arg-type]
    found = at(now, [window], ZoneInfo(zone), later_s)
    assert found.slot.start < found.slot.end
    assert now < found.slot.end
    assert (found.slot.start <= now) is (found.state is State.OPEN)
    assert found.slot.end - found.slot.start <= 25 * 3600
