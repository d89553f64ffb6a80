"""What is expected of a title that is not out yet."""

from __future__ import annotations

import numpy as np
import pytest

from fill.popularity.forecast import ALWAYS, History
from fill.popularity.releases import Known, Scheduled, comparable_titles, first_days_of, prior

NEW = Scheduled("new", ("new/1080p/v.mp4", "new/240p/v.mp4"), tags=frozenset({"drama", "series-x"}))
KEYS = ("old/1080p/v.mp4", "s1/1080p/v.mp4", "s1/2160p/v.mp4", "s1/240p/v.mp4")


def known(title: str, released: int, *tags: str) -> Known:
    return Known(title, released, frozenset(tags))


def test_the_operators_titles_come_first_then_tags_then_whatever_came_out() -> None:
    others = [
        known("drama", 3, "drama"),
        known("season1", 2, "drama", "series-x"),
        known("early", -5, "drama"),
    ]
    assert comparable_titles(NEW, others, 3, 20) == (["season1", "drama"], "by their tags")
    named = Scheduled("new", NEW.keys, ("season1",), NEW.tags)
    assert comparable_titles(named, others, 3, 20) == (["season1"], "named in the catalog")
    bare = Scheduled("new", NEW.keys)
    assert comparable_titles(bare, others, 3, 20) == (["drama", "season1"], "whatever came out lately")


def test_a_title_whose_first_days_are_not_over_is_no_measure() -> None:
    assert comparable_titles(NEW, [known("fresh", 18, "drama")], 3, 20)[0] == []


@pytest.fixture
def starts() -> dict[str, dict[str, float]]:
    """Of season 1: 4K 60, 1080p 30 and 240p 10 bytes a day in its first two days."""
    series = np.zeros((4, 6))
    series[0] = 5
    series[1, 2:4] = 20, 40
    series[2, 2:4] = 60
    series[3, 2:5] = 10, 10, 1
    released = np.array([ALWAYS, 2, 2, 2])
    history = History(np.arange(4, dtype=np.int32), series, np.zeros_like(series), released, 0)
    return first_days_of(history, KEYS, {"s1": 2, "old": -40}, 2)


def test_first_days_are_means_of_each_encode(starts: dict[str, dict[str, float]]) -> None:
    assert starts == {"s1": {"1080p/v.mp4": 30.0, "2160p/v.mp4": 60.0, "240p/v.mp4": 10.0}}


def test_the_ladder_comes_with_the_audience(starts: dict[str, dict[str, float]]) -> None:
    found = prior(NEW, ["s1"], "by their tags", starts, {})
    assert found.bytes_per_day == pytest.approx({"new/1080p/v.mp4": 75.0, "new/240p/v.mp4": 25.0})
    assert found.reason == "like the first days of s1, by their tags"


def test_without_a_measure_todays_viewing_of_a_named_title_stands_in() -> None:
    now = {"old": {"1080p/v.mp4": 8.0}, "top": {"1080p/v.mp4": 800.0}}
    assert sum(prior(NEW, ["old"], "named in the catalog", {}, now).bytes_per_day.values()) == 8.0
    found = prior(NEW, [], "by their tags", {}, now)
    assert sum(found.bytes_per_day.values()) == 800.0
    assert "nothing came out" in found.reason


def test_where_nothing_was_watched_nothing_is_expected() -> None:
    assert prior(NEW, [], "", {}, {}).bytes_per_day == {}
