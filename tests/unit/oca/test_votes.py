"""One session has one vote in an interval, whatever it sends; what is told is a mean that forgets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import CatalogObject
from contracts.heartbeat import Heartbeat
from contracts.players import NetworkPlayers, Players
from oca import ipc
from oca.edge import ledger as ledger_module
from oca.edge import votes as edge_votes
from oca.edge import wire
from oca.edge.cmcd import Cmcd
from oca.edge.delivery import Delivery
from oca.edge.ledger import Account, Ledger
from oca.edge.request import Request
from oca.ipc import Votes
from oca.store import votes as store_votes
from oca.store.votes import PlayerVotes
from tests.waiting import PATIENCE_S, until

NETWORK, OTHER = "192.0.2.0/24", "198.51.100.0/24"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def counted(clock: Clock) -> PlayerVotes:
    return PlayerVotes(30.0, clock)


def interval(
    votes: PlayerVotes, clock: Clock, seen: range, starved: range = range(0), network: str = NETWORK
) -> None:
    """An interval in which these sessions are seen, and seen again later, some of them starved."""
    votes.add([Votes(network, tuple(seen), (), ())])
    clock.now += 10
    votes.add([Votes(network, tuple(seen), tuple(starved), ())])
    clock.now += 20


def told(votes: PlayerVotes) -> dict[str, tuple[float, float]]:
    players = votes.players()
    return (
        {} if players is None else {item.network: (item.sessions, item.starved) for item in players.networks}
    )


def share(times: int) -> float:
    return 1 - 0.5 ** (times / 3)


def test_a_mean_grows_with_each_interval_and_is_forgotten_as_slowly(clock: Clock) -> None:
    votes = counted(clock)
    assert votes.players() is None
    for times in (1, 2, 3):
        interval(votes, clock, range(100), range(30))
        assert told(votes)[NETWORK] == pytest.approx((100 * share(times), 30 * share(times)), abs=0.06)
    players = votes.players()
    assert players is not None
    assert (players.sessions, players.starved) == (50.0, 15.0)
    clock.now += 90
    assert told(votes)[NETWORK] == (25.0, 7.5)
    clock.now += 900
    assert votes.players() is None


def test_a_session_says_it_once(clock: Clock) -> None:
    one, loud = counted(clock), counted(clock)
    for _ in range(5):
        one.add([Votes(NETWORK, tuple(range(20)), (), ())])
        loud.add([Votes(NETWORK, tuple(range(20)), (), ())])
        clock.now += 5
        one.add([Votes(NETWORK, (7,), (7,), ())])
        for _ in range(200):  # and of every worker, and for every kind of trouble
            loud.add([Votes(NETWORK, (7,), (7,), (7,)), Votes(NETWORK, (7,), (7,), ())])
        clock.now += 25
    assert one.players() == loud.players() != None  # noqa: E711


def test_a_session_speaks_for_one_network_in_an_interval(clock: Clock) -> None:
    """A token that is passed round a botnet is one vote."""
    votes = counted(clock)
    for _ in range(5):
        votes.add([Votes(NETWORK, (1, 2, 3, 4), (), ())])
        clock.now += 5
        votes.add([Votes(f"198.51.{n}.0/24", (1,), (1,), (1,)) for n in range(100)])
        votes.add([Votes(NETWORK, (), (2,), ())])
        clock.now += 25
    assert set(told(votes)) == {NETWORK}
    assert told(votes)[NETWORK][1] == pytest.approx(share(5), abs=0.06)  # the second session's, and no other


def test_what_a_player_says_first_is_of_where_it_came_from(clock: Clock) -> None:
    votes = counted(clock)
    votes.add([Votes(NETWORK, tuple(range(10)), tuple(range(10)), ())])
    clock.now += 2  # the other connections of the same start
    votes.add([Votes(NETWORK, tuple(range(10)), tuple(range(10)), ())])
    clock.now += 28
    assert told(votes) == {}
    votes.add([Votes(NETWORK, tuple(range(10)), tuple(range(10)), ())])
    clock.now += 30
    assert told(votes)[NETWORK][1] > 1.5


def test_what_was_sent_too_slowly_was_seen_here_and_counts_at_once(clock: Clock) -> None:
    votes = counted(clock)
    votes.add([Votes(NETWORK, tuple(range(10)), (), tuple(range(10)))])
    clock.now += 30
    assert told(votes)[NETWORK] == (2.1, 2.1)


def test_networks_where_nobody_starves_are_not_told_and_the_worst_are(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_votes, "MAX_NETWORKS", 3)
    votes = counted(clock)
    for _ in range(6):
        for number in range(10):
            at = 100 * number
            votes.add([Votes(f"192.0.{number}.0/24", tuple(range(at, at + 50)), (), ())])
        clock.now += 10
        for number in range(10):
            at = 100 * number
            votes.add([Votes(f"192.0.{number}.0/24", (), tuple(range(at, at + 2 * number)), ())])
        clock.now += 20
    assert list(told(votes)) == ["192.0.9.0/24", "192.0.8.0/24", "192.0.7.0/24"]
    players = votes.players()
    assert players is not None
    assert players.sessions == pytest.approx(500 * share(6), abs=0.1)
    assert players.starved == pytest.approx(90 * share(6), abs=0.1)


def test_sessions_and_networks_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_votes, "MAX_SESSIONS", 100)
    monkeypatch.setattr(store_votes, "MAX_KEPT", 5)
    votes = counted(clock)
    for number in range(50):
        at = 100 * number
        votes.add([Votes(f"192.0.{number}.0/24", tuple(range(at, at + 20 - number)), (), ())])
    assert len(votes._seats) == 100
    clock.now += 30
    players = votes.players()
    assert players is not None
    assert players.sessions == pytest.approx(100 * share(1), abs=0.06)
    assert len(votes._means) == 5


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans(), st.floats(0, 40)), max_size=60))
def test_a_mean_never_has_fewer_sessions_behind_it_than_it_says(
    events: list[tuple[int, bool, bool, float]],
) -> None:
    clock = Clock()
    votes = counted(clock)
    sessions: dict[str, set[int]] = {NETWORK: set(), OTHER: set()}
    for session, here, starved, later in events:
        network = NETWORK if here else OTHER
        sessions[network].add(session)
        votes.add([Votes(network, (session,), (session,) if starved else (), ())])
        clock.now += later
        for item in (votes.players() or Players(0, 0)).networks:
            assert item.starved <= item.sessions <= len(sessions[item.network])


def test_it_fits_a_heartbeat(clock: Clock) -> None:
    votes = counted(clock)
    interval(votes, clock, range(50), range(50), "2001:db8:1::/48")
    interval(votes, clock, range(50, 90), range(50, 90))
    beat = Heartbeat("a", "1" * 16, 1, "-", False, 1, 1, 1, (), players=votes.players())
    assert msgspec.json.decode(msgspec.json.encode(beat), type=Heartbeat) == beat
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(["192.0.2.0/23", 1, 1], NetworkPlayers)


# --- in the worker


def asked(account: Account, session: int, cmcd: Cmcd | None = None) -> Request:
    request = Request(b"GET", b"/tt1/a.mp4")
    account.asks(request)
    account.cmcd = cmcd
    account.granted(session)
    return request


class Wire:
    """Of a client that has no room for what it asked for, or has."""

    def __init__(self, waits: bool) -> None:
        self.waits = waits

    def waits_for_client(self) -> bool:
        return self.waits


def delivery(count: int, bitrate_bps: int = 8000, *, waits: bool = False, unsent: int = 0) -> Delivery:
    made = Delivery(cast("Any", Wire(waits)))
    item = CatalogObject("tt1/a.mp4", 0, "video/mp4", '"e"', 1, b"", bitrate_bps=bitrate_bps)
    file = cast("Any", SimpleNamespace(item=item))
    made.begin(206, b"", [(0, unsent)] if unsent else [], count, file)
    made.started = True
    return made


def test_a_token_is_needed_for_a_vote() -> None:
    ledger = Ledger()
    account = ledger.open("192.0.2.9")
    said = Cmcd(session="anything I like", starved=True)
    account.sent(delivery(1000), False, asked(account, 0, said))
    report = ledger.take(0, 1)
    assert report.counters.cmcd_starvations == 1
    assert report.votes == ()
    account.sent(delivery(1000), False, asked(account, 7, said))
    account.sent(delivery(1000), False, asked(account, 8))
    (vote,) = ledger.take(0, 1).votes
    assert (vote.network, set(vote.seen), vote.starved, vote.slowed) == (NETWORK, {7, 8}, (7,), ())
    assert ledger.take(0, 1).votes == ()


@pytest.mark.parametrize(
    ("took_s", "answer", "missed", "slowed"),
    [
        (5.0, delivery(1000), False, True),  # a second of video in five
        (0.9, delivery(1000), False, False),
        (1.9, delivery(100), False, False),  # nobody's player has so little left
        (5.0, delivery(1000, waits=True), False, False),  # paused, or playing along
        (5.0, delivery(1000), True, False),  # upstream was slow, not the way to the viewer
        (5.0, delivery(1000, 0), False, False),  # a manifest
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_an_answer_that_takes_longer_than_it_plays_is_a_vote(
    took_s: float, answer: Delivery, missed: bool, slowed: bool, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    account = ledger.open("192.0.2.9")
    monkeypatch.setattr(ledger_module, "monotonic", Clock())
    request = asked(account, 7)
    account.began -= took_s
    if cut:
        account.cut(answer, missed, request)
    else:
        account.sent(answer, missed, request)
    votes = ledger.take(0, 1).votes
    assert [vote.slowed for vote in votes if vote.slowed] == ([(7,)] if slowed else [])


def test_an_answer_of_which_nothing_more_went_out_is_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    account = ledger.open("192.0.2.9")
    monkeypatch.setattr(ledger_module, "monotonic", Clock())
    request = asked(account, 7)
    account.began -= 30
    account.cut(delivery(10**6, 10**6, unsent=10**6 - 100), False, request)
    (vote,) = ledger.take(0, 1).votes
    assert (vote.seen, vote.slowed) == ((7,), (7,))


def test_networks_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_votes, "MAX_NETWORKS", 2)
    ledger = Ledger()
    accounts = [ledger.open(f"192.0.{number}.1") for number in range(3)]
    for account in accounts:
        account.sent(delivery(10), False, asked(account, 7))
    assert {vote.network for vote in ledger.take(0, 3).votes} == {"192.0.0.0/24", "192.0.1.0/24"}
    for account in accounts:
        account.close()
    ledger.take(0, 0)
    later = ledger.open("2001:db8:7::1")
    later.sent(delivery(10), False, asked(later, 7))
    ledger.hold()  # nobody to report to
    assert ledger.take(0, 1).votes == ()
    later.sent(delivery(10), False, asked(later, 7))
    report = ledger.take(0, 1)
    assert [vote.network for vote in report.votes] == ["2001:db8:7::/48"]
    assert ipc.decode_to_store(ipc.encode(report)) == report


def busy_s(sock: socket.socket) -> float:
    """How long there was something to send, as far as the kernel has counted."""
    busy: int = wire._BUSY.unpack_from(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), wire._BUSY_AT
    )[0]
    return busy / 1e6


def fill(sock: socket.socket) -> None:
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 20))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket, and its server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with client, served:
        yield client, served


def test_a_client_that_takes_nothing_holds_up_its_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    _, served = pair
    fill(served)
    until(lambda: busy_s(served) > 0.1)
    assert wire.waits_for_client(served)
    served.close()
    assert wire.waits_for_client(served)  # nobody can say


def test_a_client_that_takes_what_comes_does_not(pair: tuple[socket.socket, socket.socket]) -> None:
    """A line that carries 2 MB/s, and a client that would take more."""
    client, served = pair
    wire.pace(served, 2_000_000)
    client.settimeout(PATIENCE_S)
    fill(served)
    taken = 0
    while taken < 400_000 or busy_s(served) < 0.1:
        taken += len(client.recv(1 << 20))
    assert not wire.waits_for_client(served)
