"""Whatever is lost on the way, steering comes to have the appliance's routes. The reader is steering's own."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import encode
from contracts.route import Attributes
from oca import routejournal
from oca.routejournal import MAX_BYTES, MAX_PREFIXES, RouteJournal, RouteJournals

NEAR, FAR = Attributes(local_preference=200), Attributes(as_path=(64500,))
PREFIXES = [f"20.{number}.0.0/16" for number in range(8)]


class Reader:
    """What `contracts.route` asks of a reader, told apart from steering, which this program never imports."""

    def __init__(self) -> None:
        self.serial, self.routes, self.gathered = 0, {}, None

    def hear(self, part: routejournal.RouteChanges) -> int:
        if part.since == 0:
            self.gathered = {}
        elif part.since != self.serial:
            return self.serial
        into = self.routes if self.gathered is None else self.gathered
        for item in part.announced:
            into.update(dict.fromkeys(item.prefixes, item.attributes))
        for prefix in part.withdrawn:
            del into[prefix]
        if self.gathered is not None and not part.more:
            self.routes, self.gathered = self.gathered, None
        self.serial = part.serial
        return self.serial


def follow(journal: RouteJournal, reader: Reader, beats: int = 50) -> None:
    for _ in range(beats):
        journal.answered(reader.hear(journal.part()))


def test_the_table_then_what_changes_then_nothing() -> None:
    routes = {PREFIXES[0]: NEAR, PREFIXES[1]: NEAR}
    journal, reader = RouteJournal(routes, 41), Reader()
    first = journal.part()
    assert (first.since, len(first.announced)) == (0, 1)
    journal.answered(reader.hear(first))
    assert reader.routes == routes
    journal.changed({PREFIXES[1]: FAR}, {PREFIXES[0], PREFIXES[1]})
    second = journal.part()
    assert (second.since, second.withdrawn) == (first.serial, (PREFIXES[0],))
    journal.answered(reader.hear(second))
    quiet = journal.part()
    assert (quiet.since, quiet.announced, quiet.withdrawn) == (quiet.serial, (), ())
    assert quiet.since == second.serial
    assert not RouteJournal({}, 1).behind


def test_an_empty_table_makes_steering_forget() -> None:
    reader = Reader()
    reader.hear(RouteJournal({PREFIXES[0]: NEAR}, 7).part())
    follow(RouteJournal({}, 900), reader, 3)
    assert reader.routes == {}


def test_a_large_table_takes_several_heartbeats_and_the_old_one_holds_until_the_last() -> None:
    routes = {f"20.{n >> 8}.{n & 255}.0/24": NEAR for n in range(2 * MAX_PREFIXES + 1)}
    reader = Reader()
    follow(RouteJournal({PREFIXES[0]: FAR}, 7), reader)
    journal = RouteJournal(routes, 900)
    for left in (2, 1, 0):
        assert journal.behind
        part = journal.part()
        assert sum(len(item.prefixes) for item in part.announced) <= MAX_PREFIXES
        assert part.more is bool(left)
        journal.answered(reader.hear(part))
        assert reader.routes == (routes if not left else {PREFIXES[0]: FAR})
    assert not journal.behind


def test_a_heartbeat_stays_small_however_long_the_paths_are() -> None:
    routes = {
        f"20.{n >> 8}.{n & 255}.0/24": Attributes(as_path=(4_000_000_000 + n,) * 128) for n in range(2000)
    }
    journal, reader = RouteJournal(routes, 7), Reader()
    while journal.behind:
        part = journal.part()
        assert len(encode(part)) < MAX_BYTES + 10_000
        journal.answered(reader.hear(part))
    assert reader.routes == routes


def test_a_part_that_was_not_answered_is_sent_again_as_it_was() -> None:
    journal = RouteJournal({PREFIXES[0]: NEAR}, 7)
    first = journal.part()
    journal.changed({PREFIXES[1]: NEAR}, {PREFIXES[0], PREFIXES[1]})
    assert journal.part() is first


def test_each_steering_has_its_own_place_and_none_is_told_before_the_routes_are_known() -> None:
    journals, one, other = RouteJournals(lambda: 7), Reader(), Reader()
    assert journals.part("one") is None
    assert not journals.answered("one", 3)
    journals.changed({PREFIXES[0]: NEAR}, {PREFIXES[0]})
    part = journals.part("one")
    assert part is not None
    assert not journals.answered("one", one.hear(part))
    journals.changed({PREFIXES[1]: FAR}, {PREFIXES[0], PREFIXES[1]})
    for url, reader in (("one", one), ("other", other)):
        part = journals.part(url)
        assert part is not None
        journals.answered(url, reader.hear(part))
        assert reader.routes == {PREFIXES[1]: FAR}


@settings(max_examples=200)
@given(st.integers(0, 1 << 30), st.integers(1, 3))
def test_it_heals(seed: int, limit: int) -> None:
    """Routes change, heartbeats and answers are lost, and either side forgets everything; then it is quiet."""
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routejournal, "MAX_PREFIXES", limit)
        routes: dict[str, Attributes] = {}
        journal, reader = RouteJournal(routes, chance.getrandbits(32)), Reader()
        kept: tuple[int, dict[str, Attributes]] = (0, {})
        for _ in range(40):
            what = chance.randrange(9)
            if what < 3:
                prefix = chance.choice(PREFIXES)
                if prefix in routes and chance.random() < 0.5:
                    del routes[prefix]
                else:
                    routes[prefix] = chance.choice((NEAR, FAR))
                journal.changed(routes, {prefix})
            elif what == 3:
                journal.part()  # never arrived
            elif what == 4:
                reader.hear(journal.part())  # its answer never did
            elif what == 5:
                journal.answered(reader.hear(journal.part()))
            elif what == 6 and chance.random() < 0.3:
                reader = Reader()
            elif what == 8 and reader.gathered is None:
                # A steering that restarts has what it saved a while ago.
                if chance.random() < 0.5:
                    kept = reader.serial, dict(reader.routes)
                else:
                    reader.serial, reader.routes = kept[0], dict(kept[1])
            elif what == 7 and chance.random() < 0.3:
                journal = RouteJournal(routes, chance.getrandbits(32))
        follow(journal, reader)
        assert reader.routes == routes
        assert not journal.behind
