"""Whom an appliance asks for what: its site first, outside only when it is its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import xxhash

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES
from fill.agent.order import STRIKES, Escalation, SiteOrder, Standings
from fill.agent.rangeclient import Answer, NoAnswer
from fill.agent.source import Absent, BadSource, Kind, Unwilling
from fill.agent.transfer import Assignment

SLICES = 20
ITEM = CatalogObject(
    "tt1/video.mp4",
    SLICES * SLICE_BYTES,
    "video/mp4",
    f'"{xxhash.xxh3_128_hexdigest(b"")}"',
    0,
    bytes(16 * SLICES),
)
LEFT = set(range(SLICES))


class Box:
    """An appliance or S3, as far as deciding goes."""

    def __init__(self, name: str, kind: Kind, held: range | Exception = range(0)) -> None:
        self.name = name
        self.kind = kind
        self.held = held

    def look(self, item: CatalogObject) -> list[range]:
        if isinstance(self.held, Exception):
            raise self.held
        return [self.held] if self.held else []

    @contextmanager
    def open(self, item: CatalogObject, start: int, end: int) -> Iterator[Answer]:
        raise AssertionError("deciding opens nothing")
        yield


class Given:
    """Us, with so many of ``holders`` before us, at a moment that tests set."""

    def __init__(self, *holders: Box, before: int, parents: tuple[Box, ...] = (), **rules: object) -> None:
        self.now = 0.0
        self.origin = Box("origin", Kind.ORIGIN)
        self.standings = Standings()
        self.order = SiteOrder(
            ITEM,
            holders,
            before,
            parents,
            self.origin,
            Escalation(unreachable_s=15, stalled_s=100, **rules),  # type: ignore[arg-type]
            self.standings,
            lambda: self.now,
        )

    def asks(self, left: set[int] = LEFT) -> tuple[str, range] | None:
        """Who is asked for what of ``left``; None is nobody for now."""
        chosen = self.order.choose(left)
        return (chosen.source.name, chosen.run) if isinstance(chosen, Assignment) else None


def _master(held: range | Exception = range(0)) -> Box:
    return Box("a1", Kind.MASTER, held)


def _peer(held: range | Exception = range(0), name: str = "a2") -> Box:
    return Box(name, Kind.PEER, held)


def test_the_master_asks_its_site_and_then_goes_outside_at_once() -> None:
    peer = _peer()
    given = Given(peer, before=0)
    assert given.asks() == ("origin", range(8))
    peer.held = range(3, 9)
    given.now = 10
    assert given.asks() == ("a2", range(3, 9)), "what a peer has is not fetched from outside again"


def test_only_the_master_asks_s3_for_more_than_others_could_bring_meanwhile() -> None:
    much = set(range(2000))
    assert Given(before=0).asks(much) == ("origin", range(128))
    assert Given(_master(range(2000)), before=1).asks(much) == ("a1", range(32))
    overtaking = Given(_master(NoAnswer("refused")), before=1)
    overtaking.asks(much)
    overtaking.now = 15
    assert overtaking.asks(much) == ("origin", range(1968, 2000))


def test_the_others_copy_what_the_master_has_and_wait_for_the_rest() -> None:
    master = _master(range(4))
    given = Given(master, before=1)
    assert given.asks() == ("a1", range(4))
    master.held = range(0)
    assert Given(master, before=1).asks() is None


def test_a_master_that_cannot_be_reached_is_overtaken_from_the_other_end() -> None:
    given = Given(_master(NoAnswer("refused")), before=1)
    assert given.asks() is None
    given.now = 14
    assert given.asks() is None
    given.now = 16
    assert given.asks() == ("origin", range(12, 20))


def test_a_master_that_answers_is_given_more_time_and_any_progress_renews_it() -> None:
    master = _master()
    given = Given(master, before=1)
    given.now = 99
    assert given.asks() is None
    master.held = range(2)
    given.now = 105
    assert given.asks() == ("a1", range(2)), "it has moved"
    master.held = range(0)
    given.order.failed(master, Absent("evicted"), 0)
    given.now = 204
    assert given.asks() is None
    given.now = 206
    assert given.asks() == ("origin", range(12, 20))


def test_who_stands_further_behind_waits_longer() -> None:
    given = Given(_master(), _peer(), before=2)
    given.now = 150
    assert given.asks() is None
    given.now = 201
    assert given.asks() == ("origin", range(12, 20))


def test_parents_are_asked_before_s3_and_how_far_is_configured() -> None:
    parent = Box("ixp", Kind.PARENT, range(5))
    assert Given(before=0, parents=(parent,)).asks() == ("ixp", range(5))
    given = Given(_master(NoAnswer("gone")), before=1, parents=(Box("ixp", Kind.PARENT),), to="parent")
    given.asks()
    given.now = 1000
    assert given.asks() is None
    given = Given(_master(NoAnswer("gone")), before=1, parents=(parent,), to="site")
    given.asks()
    given.now = 1000
    assert given.asks() is None


def test_a_slice_that_was_wrong_is_asked_of_another_and_three_strikes_leave_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    liar = _master(range(20))
    given = Given(liar, before=1)
    for index in range(STRIKES):
        assert given.asks() is not None
        given.order.failed(liar, BadSource("other bytes"), index)
        if index < STRIKES - 1:
            assert isinstance(given.order.choose({index}), float), "never that slice of the liar again"
    assert given.standings.left_out == ["a1"]
    assert [record.levelname for record in caplog.records if record.message == "source left out"] == ["ERROR"]
    given.now = 30
    assert given.asks() == ("origin", range(12, 20)), "who is left out is not waited for"


def test_an_appliance_that_does_not_know_our_key_is_not_waited_for() -> None:
    given = Given(_master(Unwilling("403")), before=1)
    assert given.asks() == ("origin", range(12, 20))


def test_a_master_that_fetches_nothing_is_waited_for_once_and_not_for_each_object() -> None:
    standings, origin = Standings(), Box("origin", Kind.ORIGIN)

    def asks(master: Box, begun: float, now: float) -> str | None:
        """Who is asked for an object that was begun then."""
        time = begun
        order = SiteOrder(
            ITEM,
            [master],
            1,
            (),
            origin,
            Escalation(unreachable_s=15, stalled_s=100),
            standings,
            lambda: time,
        )
        order.choose(LEFT)
        time = now
        chosen = order.choose(LEFT)
        return chosen.source.name if isinstance(chosen, Assignment) else None

    assert asks(_master(), 0, 99) is None
    assert asks(_master(), 0, 100) == "origin"
    assert asks(_master(), 100, 100) == "origin", "idle for the first, idle for the next"
    assert asks(_master(range(3)), 101, 101) == "a1", "it fetches again"
    assert asks(_master(), 102, 102) is None, "and is waited for again"
