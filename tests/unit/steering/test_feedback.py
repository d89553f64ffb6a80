"""Players who starve lower a weight as far as is sure, and liars no further than their own share."""

from __future__ import annotations

import ipaddress
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import is_licensed
from contracts.players import NetworkPlayers, Players
from steering.feedback import (
    FEW,
    FLOOR,
    GAIN,
    TOLERANCE,
    Feedback,
    Told,
    at_least,
    is_set_back,
    weight_of,
    weights,
)
from steering.nearness import groups
from steering.rank import Question, decide, explain, rank
from steering.snapshot import Snapshot
from tests.unit.steering.fleets import box, cases, question, reach, site, snapshot_of, tolds

NETWORK = "192.0.2.0/24"
CLIENT = ipaddress.ip_address("192.0.2.77")


def told(starved: float, sessions: float, elsewhere: float = 0.0) -> Told:
    return Told(NETWORK, sessions, starved, elsewhere)


def of(name: str, shot: Snapshot, asked: Question) -> float:
    """The weight that a decision goes by."""
    lowered = next(item.lowered for item in rank(asked, shot) if item.box.id == name)
    return 1.0 if lowered is None else lowered.weight


# --- the weight of one appliance


@pytest.mark.parametrize(
    ("starved", "sessions", "weight"),
    [
        (0, 1000, 1.0),
        (1, 100, 1.0),
        (2, 2, 1.0),  # an anecdote
        (4, 4, 0.65),
        (3, 10, 0.83),
        (30, 100, 0.49),  # the same share, and more of it is sure
        (60, 100, FLOOR),
    ],
)
def test_the_more_it_is_sure_the_lower(starved: float, sessions: float, weight: float) -> None:
    assert weight_of(told(starved, sessions), 0.0) == pytest.approx(weight, abs=0.01)


def test_a_network_that_starves_everywhere_lowers_nobody() -> None:
    lossy = {"a": told(60, 100), "b": told(60, 100), "c": told(50, 90)}
    assert weights(lossy, ["a", "b", "c"]) == {}
    assert set(weights(lossy, ["a", "b", "c", "d"])) == {"a", "b", "c"}
    assert weights(lossy, ["a"]) == {}  # there is nobody else to go to


def test_an_appliance_that_starves_everybody_is_left_to_its_load_and_its_health() -> None:
    assert weight_of(told(60, 100, elsewhere=0.6), 0.0) == 1.0
    assert weight_of(told(60, 100, elsewhere=0.2), 0.0) == pytest.approx(0.24, abs=0.01)


counts = st.integers(0, 200)


@given(counts, counts, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_liars_move_no_more_than_their_share(
    liars: int, honest: int, truth: float, best: float, elsewhere: float
) -> None:
    """``liars`` of all sessions say that they starve, whatever becomes of the rest, of whom ``truth`` do."""
    sessions = liars + honest
    starved = honest * truth
    without = weight_of(told(starved, sessions, elsewhere), best)
    lied = weight_of(told(starved + liars, sessions, elsewhere), best)
    assert FLOOR <= lied <= 1.0
    assert lied <= without + 1e-9
    if sessions:
        share = (starved + liars) / sessions
        assert lied >= 1.0 - GAIN * max(0.0, share - max(best, elsewhere) - TOLERANCE) - 1e-9
    if sessions <= FEW:
        assert lied == 1.0


@given(st.integers(5, 500), st.floats(0, 1))
def test_liars_who_are_few_move_nothing(sessions: int, truth: float) -> None:
    assert weight_of(told(sessions * TOLERANCE, sessions), 0.0) == 1.0
    # And those who hide what all others say hide no more than their share of it.
    liars = sessions // 10
    seen = weight_of(told((sessions - liars) * truth, sessions), 0.0)
    assert seen <= 1.0
    assert at_least((sessions - liars) * truth, sessions) >= at_least(sessions * truth, sessions) - 0.2


@given(counts.filter(bool), st.floats(0, 1))
def test_what_is_sure_is_never_more_than_what_is_seen(sessions: int, share: float) -> None:
    assert 0.0 <= at_least(share * sessions, sessions) <= share + 1e-9
    assert at_least(share * sessions, sessions) <= at_least(share * sessions * 4, sessions * 4) + 1e-9


# --- what it does to the order


@given(cases)
def test_players_change_the_order_among_equals_alone(case: tuple[Snapshot, Question]) -> None:
    """Nobody leaves the answers, and nobody comes before a better route, or before who holds the title."""
    shot, asked = case
    asked = msgspec.structs.replace(asked, incumbent=None)
    quiet = msgspec.structs.replace(shot, told={})
    able = [item for item in shot.reaches if is_licensed(asked.countries, item.site.country)]
    place = {item.site.id: at for at, group in enumerate(groups(able)) for item in group}

    def kinds(snapshot: Snapshot) -> list[tuple[bool, bool, int]]:
        return [(item.suspect, item.holds, place[item.box.site]) for item in rank(asked, snapshot)]

    def names(snapshot: Snapshot) -> Counter[str]:
        return Counter(item.box.id for item in rank(asked, snapshot))

    assert names(shot) == names(quiet)
    assert [kind[:2] for kind in kinds(shot)] == [kind[:2] for kind in kinds(quiet)]
    if not any(kind[0] for kind in kinds(shot)):
        assert kinds(shot) == kinds(quiet)


@given(cases, tolds)
def test_another_networks_players_change_nothing(case: tuple[Snapshot, Question], more: Told) -> None:
    shot, asked = case
    feedback = Feedback()
    names = [item.id for at in shot.reaches for item in at.site.boxes]
    for name in names:
        feedback.hear(name, Players(50, 50, (NetworkPlayers("198.51.100.0/24", 50, 50),)))
    assert feedback.of(CLIENT) == {}
    same = msgspec.structs.replace(shot, told=feedback.of(CLIENT))
    quiet = msgspec.structs.replace(shot, told={})
    assert list(rank(asked, same)) == list(rank(asked, quiet))


SITE = reach(site("isp-a", *(box(f"a{number}", throughput_bps=10**9) for number in range(4))))
FAR = reach(site("ixp-b", box("b0", throughput_bps=10**9)), 0)


def firsts(shot: Snapshot, count: int = 4000) -> Counter[str]:
    return Counter(decide(question(f"s{n}", f"tt{n}"), shot, 1)[0].box.id for n in range(count))


def test_an_appliance_gets_its_weight_of_what_it_would_have_got() -> None:
    shot = snapshot_of((SITE, FAR))
    lossy = msgspec.structs.replace(shot, told={"a1": told(30, 100)})
    weight = of("a1", lossy, question())
    assert 0.4 < weight < 0.6
    before, after = firsts(shot), firsts(lossy)
    assert after["a1"] == pytest.approx(before["a1"] * weight, rel=0.1)
    assert "b0" not in after
    # However hot one title is: it is sessions that go elsewhere, not titles.
    hot = Counter(decide(question(f"s{n}", "tt-hot"), lossy, 1)[0].box.id for n in range(4000))
    mine = decide(question("s", "tt-hot"), shot, 1)[0].box.id
    told_of_it = msgspec.structs.replace(shot, told={mine: told(30, 100)})
    hot = Counter(decide(question(f"s{n}", "tt-hot"), told_of_it, 1)[0].box.id for n in range(4000))
    assert hot[mine] == pytest.approx(4000 * weight, rel=0.1)


def test_between_sites_that_are_equally_near_as_well() -> None:
    one, other = reach(site("isp-a", box("a0"))), reach(site("isp-b", box("b0")))
    lossy = snapshot_of((one, other), {"a0": told(300, 300)})
    went = firsts(lossy, 1000)
    assert 20 < went["a0"] < 90  # half of the floor: it would have got half
    # The order of preference is the operators' word: it goes before what players say.
    preferred = snapshot_of((one, reach(site("ixp-b", box("b0")))), {"a0": told(300, 300)})
    assert firsts(preferred, 100) == {"a0": 100}


def test_a_session_is_moved_once_and_the_more_so_the_lower_the_weight() -> None:
    shots = [snapshot_of((SITE,), {"a1": told(starved, 100)}) for starved in (0, 10, 20, 30, 40, 100)]
    stayed = [
        {
            name
            for name in (f"s{number}" for number in range(500))
            if decide(question(name, incumbent="a1"), shot, 1)[0].box.id == "a1"
        }
        for shot in shots
    ]
    assert len(stayed[0]) == 500
    for before, after in pairwise(stayed):
        assert after < before
    assert 20 < len(stayed[-1]) < 90


def test_who_is_set_back_comes_after_its_equals_and_before_who_lacks_the_title() -> None:
    boxes = [box("h0"), box("h1"), box("p0", holds=False), box("p1", holds=False)]
    shot = snapshot_of((reach(site("isp-a", *boxes)),), {"h0": told(500, 500), "p0": told(500, 500)})
    seen = Counter(tuple(item.box.id for item in rank(question(f"s{n}"), shot)) for n in range(300))
    assert seen.most_common(1)[0][0] == ("h1", "h0", "p1", "p0")
    assert all(set(order[:2]) == {"h0", "h1"} for order in seen)


@given(st.text("abc", max_size=3), st.floats(FLOOR, 1), st.floats(FLOOR, 1))
def test_who_is_set_back_stays_so_while_the_weight_falls(session: str, one: float, other: float) -> None:
    high, low = max(one, other), min(one, other)
    assert is_set_back(session, 7, high) <= is_set_back(session, 7, low)
    assert not is_set_back(session, 7, 1.0)


def test_it_is_explained() -> None:
    shot = snapshot_of((SITE, FAR), {"a1": told(34, 120)})
    words = {item.box.id: item.reason for item in explain(question(), shot, [])}
    assert "weight 0.52 for 192.0.2.0/24: 34 of 120 sessions starved" in words["a1"]
    assert all("weight" not in words[name] for name in ("a0", "a2", "a3", "b0"))
    moved = next(n for n in range(100) if is_set_back(f"s{n}", SITE.site.boxes[1].seed, 0.5))
    words = {item.box.id: item.reason for item in explain(question(f"s{moved}"), shot, [])}
    assert words["a1"].endswith("so this one goes to its equals first")


# --- what is heard


def players(*networks: tuple[str, float, float], sessions: float = 1000, starved: float = 100) -> Players:
    return Players(sessions, starved, tuple(NetworkPlayers(*item) for item in networks))


def test_what_is_told_last_is_what_counts() -> None:
    feedback = Feedback()
    feedback.hear("a", players((NETWORK, 100, 60), ("2001:db8:1::/48", 10, 9)))
    feedback.hear("b", players((NETWORK, 50, 1)))
    assert set(feedback.of(CLIENT)) == {"a", "b"}
    assert set(feedback.of(ipaddress.ip_address("::ffff:192.0.2.1"))) == {"a", "b"}
    assert set(feedback.of(ipaddress.ip_address("2001:db8:1:ffff::1"))) == {"a"}
    assert feedback.of(ipaddress.ip_address("2001:db8:2::1")) == {}
    assert feedback.of(CLIENT)["a"] == Told(NETWORK, 100, 60, 40 / 902)
    held = feedback.of(CLIENT)
    feedback.hear("a", players(("198.51.100.0/24", 5, 4)))
    assert set(feedback.of(CLIENT)) == {"b"}
    assert set(held) == {"a", "b"}  # a decision never sees half of a change
    held = feedback.of(CLIENT)
    feedback.hear("c", players((NETWORK, 50, 1)))
    assert set(held) == {"b"}
    feedback.forget("c")
    feedback.hear("b", None)
    feedback.forget("a")
    feedback.forget("never heard")
    assert (len(feedback), feedback._networks, feedback._players) == (0, {}, {})


def test_what_makes_no_sense_is_bounded() -> None:
    feedback = Feedback()
    feedback.hear("a", players(("192.0.2.0/24", 10, 90), ("192.0.2.1/24", 1, 1), ("999.0.0.0/24", 1, 1)))
    assert len(feedback) == 1
    assert feedback.of(CLIENT)["a"].starved == 10
    feedback.hear("b", players((NETWORK, 10, 9), (NETWORK, 20, 1), sessions=0, starved=0))
    assert feedback.of(CLIENT)["b"] == Told(NETWORK, 20, 1, 0.0)
    feedback.forget("a")
    feedback.forget("b")
    assert (len(feedback), feedback._networks) == (0, {})


def test_the_pairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steering.feedback.MAX_PAIRS", 3)
    feedback = Feedback()
    for name in ("a", "b"):
        feedback.hear(name, players(*((f"192.0.{number}.0/24", 9, 9) for number in range(2))))
    assert len(feedback) == 3
    feedback.forget("b")
    assert len(feedback) == 2
    feedback.forget("a")
    assert (len(feedback), feedback._networks) == (0, {})


def test_pairs_are_counted_that_an_equal_would_do_better() -> None:
    feedback = Feedback()
    feedback.hear("a", players((NETWORK, 100, 60), ("198.51.100.0/24", 1, 1), sessions=1000, starved=61))
    feedback.hear("b", players((NETWORK, 100, 2), sessions=1000, starved=2))
    assert (len(feedback), feedback.lowered()) == (3, 1)
