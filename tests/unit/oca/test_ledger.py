"""The worker's ledger: what one answer adds, and what a report takes."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.problem import Problem
from contracts.token import Refusal
from oca import ipc
from oca.counters import BOUNDS, Counters, Histogram, Histograms, Traffic, descriptions
from oca.edge import ledger as module
from oca.edge.delivery import Delivery
from oca.edge.ledger import Account, Ledger
from oca.edge.request import Request
from oca.sessions import session_id

KEY = "tt1/720p/video.mp4"


def delivery(count: int, status: int = 206, key: str | None = KEY, unsent: int = 0) -> Delivery:
    """An answer of which all but ``unsent`` bytes of the body are out."""
    made = Delivery(cast("Any", None))
    file = cast("Any", None if key is None else SimpleNamespace(item=SimpleNamespace(key=key)))
    made.begin(status, b"", [(0, unsent)] if unsent else [], count, file)
    made.started = True
    return made


def answered(
    account: Account, answer: Delivery, missed: bool = False, request: Request | None = None
) -> None:
    request = request or Request(b"GET", b"/" + KEY.encode())
    account.asks(request)
    account.granted(0)
    account.sent(answer, missed, request)


def test_a_hit_a_miss_and_an_error() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    answered(account, delivery(100))
    answered(account, delivery(50), missed=True)
    answered(account, delivery(30, 404, key=None))
    answered(account, delivery(0, 304))
    report = ledger.take(3, 1)
    assert report.counters == Counters(
        requests=4, hits=1, misses=1, hit_bytes=100, miss_bytes=50, status_2xx=2, status_3xx=1, status_4xx=1
    )
    (touch,) = report.touched
    assert touch == ipc.Touch(KEY, "203.0.0.0/16", 1, 1, 100, 50, (session_id("203.0.113.9"),))
    assert (report.worker, report.connections) == (3, 1)
    assert sum(report.histograms.send_s.counts) == 4
    assert ipc.decode_to_store(ipc.encode(report)) == report


def test_nothing_is_reported_twice() -> None:
    ledger = Ledger()
    counters = ledger.counters
    account = ledger.open("203.0.113.9")
    answered(account, delivery(100))
    ledger.refused(Problem.TOKEN_MISSING, None)
    ledger.take(0, 1)
    empty = ledger.take(0, 1)
    assert (empty.counters, empty.histograms, empty.refusals, empty.touched) == (
        Counters(),
        Histograms(),
        {},
        (),
    )
    counters.accepted += 1  # whoever counts on the table goes on doing so
    answered(account, delivery(7))
    assert ledger.take(0, 1).counters == Counters(requests=1, hits=1, hit_bytes=7, status_2xx=1, accepted=1)


def test_bytes_of_a_slow_answer_are_counted_as_they_go() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    request = Request(b"GET", b"/")
    account.asks(request)
    account.granted(0)
    account.waits(delivery(1000, unsent=900), False)
    first = ledger.take(0, 1)
    assert (first.counters.hit_bytes, first.counters.requests) == (100, 0)
    account.waits(delivery(1000, unsent=300), False)
    account.sent(delivery(1000), False, request)
    second = ledger.take(0, 1)
    assert (second.counters.hit_bytes, second.counters.requests, second.counters.hits) == (900, 1, 1)
    answered(account, delivery(10))
    assert ledger.take(0, 1).counters.hit_bytes == 10


def test_an_answer_cut_short_counts_what_went_out() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    account.asks(Request(b"GET", b"/"))
    account.granted(0)
    account.cut(delivery(1000, unsent=400), True, Request())
    report = ledger.take(0, 0)
    assert report.counters == Counters(requests=1, misses=1, miss_bytes=600, status_2xx=1, aborted=1)
    assert sum(report.histograms.first_byte_s.counts) == 1
    assert sum(report.histograms.send_s.counts) == 0
    answered(account, delivery(10))
    assert ledger.take(0, 0).counters.hit_bytes == 10


def test_who_leaves_before_the_answer_began_was_not_answered() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    account.asks(Request(b"GET", b"/"))
    waiting = delivery(1000, unsent=1000)
    waiting.started = False
    account.cut(waiting, False, Request())
    assert ledger.take(0, 0).counters == Counters(aborted=1)


def test_first_byte_and_last_byte_are_timed_apart() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    account.asks(Request())
    account.began = monotonic() - 0.2
    account.waits(delivery(100, unsent=50), False)
    account.began -= 40
    account.sent(delivery(100), False, Request())
    histograms = ledger.take(0, 0).histograms
    bounds = BOUNDS["send_s"]
    assert histograms.first_byte_s.counts[bounds.index(0.25)] == 1
    assert histograms.send_s.counts[bounds.index(60)] == 1
    assert histograms.send_s.total == pytest.approx(40.2, abs=0.1)


def test_quick_answers_are_in_the_lowest_bucket_with_their_sum() -> None:
    ledger = Ledger()
    ledger.quick, ledger.quick_s = 4, 0.0008
    histogram = ledger.take(0, 0).histograms.send_s
    assert (histogram.counts[0], sum(histogram.counts)) == (4, 4)
    assert histogram.total == pytest.approx(0.0008)


@pytest.mark.parametrize(
    ("problem", "detail", "reason"),
    [
        (Problem.TOKEN_MISSING, "no URISigningPackage", "missing"),
        (Problem.TOKEN_REFUSED, Refusal.EXPIRED.value, "expired"),
        (Problem.IDENTITY_REFUSED, Refusal.STALE.value, "stale"),
        (Problem.RATE, "too many", "rate"),
        (Problem.TOKEN_REFUSED, "whatever a client could make us say", "other"),
    ],
)
def test_refusals_have_a_bounded_set_of_reasons(problem: Problem, detail: str, reason: str) -> None:
    ledger = Ledger()
    ledger.refused(problem, detail)
    report = ledger.take(0, 0)
    assert (report.refusals, report.counters.tokens_refused) == ({reason: 1}, 1)


def test_the_session_is_the_token_s_then_the_player_s_then_the_client_s() -> None:
    account = Ledger().open("203.0.113.9")
    account.asks(Request(b"GET", b"/a?CMCD=sid%3D%22mine%22"))
    account.granted(77)
    assert account.session == 77
    account.granted(0)
    assert account.session == session_id("mine")
    account.asks(Request(b"GET", b"/a"))
    account.granted(0)
    assert account.session == account.peer == session_id("203.0.113.9")


def test_cmcd_is_summed() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    for query in (b"bl%3D4000%2Cbr%3D3000%2Cbs%2Cmtp%3D9000", b"bl%3D6000", b"%00"):
        answered(account, delivery(10), request=Request(b"GET", b"/a?CMCD=" + query))
    answered(account, delivery(10))
    report = ledger.take(0, 0)
    assert report.touched[0].playback == ipc.Playback(2, 1, 2, 10.0, 1, 3_000_000)
    counters = report.counters
    assert (counters.cmcd_requests, counters.cmcd_starvations, counters.cmcd_unread) == (2, 1, 1)
    assert sum(report.histograms.player_buffer_s.counts) == 2
    assert report.histograms.player_throughput_bps.total == 9e6


@pytest.mark.parametrize(
    ("head", "remembered"),
    [
        (b"GET /a?CMCD=br%%3D%d HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET /a?CMCD=br%%3D%d&cmcd=7 HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (b"GET /a?CMCD=br%%3D%d HTTP/1.1\r\nHost: a\r\nCMCD-Object: d=1\r\n\r\n", b""),
    ],
)
def test_a_request_is_remembered_without_its_cmcd_or_not_at_all(head: bytes, remembered: bytes) -> None:
    account = Ledger().open("203.0.113.9")
    request = Request(b"GET", head.split()[1] % 1, raw=head % 1)
    account.asks(request)
    assert (request.raw, account.tells) == (remembered, True)
    if remembered:
        assert request.target == b"/a"
        assert account.lift(head % 2) == remembered
        assert account.cmcd is not None
        assert account.cmcd.bitrate_bps == 2000


def test_who_stops_telling_of_itself_costs_one_look() -> None:
    account = Ledger().open("203.0.113.9")
    account.tells = True
    head = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    assert account.lift(head) == head
    assert (account.tells, account.cmcd) == (False, None)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.0.0/16"),
        ("::ffff:203.0.113.9", "203.0.0.0/16"),
        ("2001:db8:1:2::3", "2001:db8::/32"),
        ("fe80::1%eth0", "fe80::/32"),
    ],
)
def test_a_client_s_network_is_coarse(address: str, name: str) -> None:
    ledger = Ledger()
    answered(ledger.open(address), delivery(1))
    assert ledger.take(0, 0).touched[0].network == name


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    monkeypatch.setattr(module, "MAX_NETWORKS", 2)
    return Ledger()  # type: ignore[return-value]


def test_more_objects_than_there_is_room_for_count_in_the_totals(small: Ledger) -> None:
    account = small.open("203.0.113.9")
    for number in range(5):
        answered(account, delivery(10, key=f"tt{number}/v.mp4"))
    report = small.take(0, 0)
    assert (len(report.touched), report.counters.touches_lost) == (3, 2)
    assert (report.counters.hits, report.counters.hit_bytes) == (5, 50)
    answered(account, delivery(10, key="tt9/v.mp4"))
    assert len(small.take(0, 0).touched) == 1


def test_more_networks_than_there_is_room_for_are_one(small: Ledger) -> None:
    accounts = [small.open(f"10.{number}.0.1") for number in range(4)]
    for account in accounts:
        answered(account, delivery(10))
    touched = small.take(0, 0).touched
    assert sorted((touch.network, touch.hits) for touch in touched) == [
        ("", 2), ("10.0.0.0/16", 1), ("10.1.0.0/16", 1)
    ]  # fmt: skip
    for account in accounts:
        account.close()
    small.take(0, 0)
    answered(small.open("10.9.0.1"), delivery(1))
    assert small.take(0, 0).touched[0].network == "10.9.0.0/16"


def test_a_network_is_kept_as_long_as_a_connection_writes_to_it() -> None:
    ledger = Ledger()
    account = ledger.open("203.0.113.9")
    ledger.take(0, 1)
    answered(account, delivery(10))
    assert len(ledger.take(0, 1).touched) == 1


def test_every_row_of_every_table_has_a_sentence() -> None:
    for table in (Counters, Histograms):
        assert set(descriptions(table)) == set(table.__struct_fields__)
    assert set(BOUNDS) == set(Histograms.__struct_fields__)


def test_traffic_adds_up_over_workers() -> None:
    traffic = Traffic()
    for worker in (0, 1, 0):
        histograms = Histograms()
        histograms.observe("loop_lag_s", 0.003)
        traffic.add(worker, Counters(requests=2), histograms, {"expired": 1})
    traffic.add(2, Counters(), Histograms(), {})
    assert traffic.counters.requests == 6
    assert traffic.refusals == {"expired": 3}
    assert {worker: sum(found.counts) for worker, found in traffic.loop_lag_s.items()} == {0: 2, 1: 1, 2: 0}
    assert traffic.loop_lag_s[2] == Histogram()
