"""What a worker has counted since it last reported: by object and network, and how long answers took.

One call for each answer, `Account.sent`, on the hottest path there is. It costs 0.35 us, of which two
readings of the clock are 0.1: every answer is timed, none sampled. What can be derived is derived once
a second in `Ledger.take`.

Bounded: objects and networks (beyond, requests count only in the totals), and sessions by
`oca.sessions`. A worker that has no storekeeper to report to goes on counting within these bounds.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from contracts.problem import Problem
from contracts.token import Refusal
from oca.counters import TIME_BOUNDS_S, Counters, Histograms
from oca.edge.cmcd import Cmcd, lift, parse, separate
from oca.edge.networks import name_of, packed_address
from oca.edge.votes import Ballot, Votes
from oca.ipc import Playback, Report, Touch
from oca.sessions import keep_smallest, session_id

if TYPE_CHECKING:
    from oca.edge.accesslog import AccessLog
    from oca.edge.delivery import Delivery
    from oca.edge.request import Request

MAX_ROWS: Final = 32768
"""Objects times networks between two reports: one second, or as long as the storekeeper is away."""
MAX_NETWORKS: Final = 1024
_IPV4_BYTES: Final = 2
_IPV6_BYTES: Final = 4
"""A /16 and a /32: enough to tell regions and peers apart, too little to tell viewers apart."""
_QUICK_S: Final = TIME_BOUNDS_S[0]
_LOOK_S: Final = 0.1
_SLOW_S: Final = 2.0
"""An answer that takes less hurts no player, however little it plays."""
_WITHOUT_LOOKING: Final = {Problem.TOKEN_MISSING: "missing", Problem.RATE: "rate"}
_REASONS: Final = {refusal.value: refusal.name.lower() for refusal in Refusal}


class Row:
    """One object, for clients of one network."""

    __slots__ = ("hit_bytes", "hits", "miss_bytes", "misses", "playback", "sessions")

    def __init__(self) -> None:
        self.hits = self.misses = self.hit_bytes = self.miss_bytes = 0
        self.sessions: set[int] = set()
        self.playback: Playback | None = None


class _Network:
    __slots__ = ("connections", "name", "rows")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.rows: dict[str, Row] = {}


class Account:
    """One connection's page. A request known by heart sets ``began``, ``session`` and ``voter`` itself."""

    __slots__ = (
        "_ballot",
        "_counted",
        "_first_s",
        "_ledger",
        "_network",
        "_rows",
        "address",
        "began",
        "cmcd",
        "copies",
        "peer",
        "session",
        "tells",
        "voter",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, network: _Network, ballot: Ballot, address: str) -> None:
        self._ledger = ledger
        self._ballot = ballot
        self._network = network
        self._rows = network.rows
        self._first_s = -1.0  # until the first byte; below zero while it is not out, or did not have to wait
        self._counted = 0  # of the answer's bytes
        self.address = address
        self.peer = session_id(address)
        """Stands for the session of who names none."""
        self.began = 0.0
        self.session = self.peer
        self.voter = 0
        """The session that the request's token names; 0 for none."""
        self.cmcd: Cmcd | None = None
        self.tells = False
        """Whether the last request had CMCD."""
        self.copies = False
        """Whether the request is another appliance's, which fills from us: no viewer's, so nobody's demand."""
        network.connections += 1
        ballot.connections += 1

    def close(self) -> None:
        self._network.connections -= 1
        self._ballot.connections -= 1

    def asks(self, request: Request) -> bytes:
        """A request has come; its target without CMCD."""
        self.began = monotonic()
        self.cmcd = None
        self.copies = False
        target, text = separate(request.target, request.headers)
        if text is not None:
            self.tells = True
            self.cmcd = parse(text)
            if self.cmcd is None:
                self._ledger.counters.cmcd_unread += 1
            # What a player says of itself differs each time: remember the request without it, or not at all.
            request.target = target
            lifted = lift(request.raw)
            # Some of it may stand where it is not lifted from: a second parameter, a field in small letters.
            request.raw = lifted[0] if lifted is not None and b"cmcd" not in lifted[0].lower() else b""
        return target

    def lift(self, head: bytes) -> bytes:
        """The head of a request without its CMCD, for one who `tells`."""
        lifted = lift(head)
        self.cmcd = parse(lifted[1]) if lifted is not None else None
        if lifted is None or self.cmcd is None:
            self.tells = False  # until `asks` sees it again
            return head
        return lifted[0]

    def granted(self, session: int) -> None:
        """The request may be answered; its token names ``session``, or it has none, and that is 0."""
        self.voter = session
        if not session and self.cmcd is not None and self.cmcd.session is not None:
            session = session_id(self.cmcd.session)
        self.session = session or self.peer

    def waits(self, delivery: Delivery, missed: bool) -> None:
        """The answer cannot go on now. What is out is counted now: a large answer takes minutes."""
        if self.copies:
            return
        if self._first_s < 0 and delivery.started:
            self._first_s = monotonic() - self.began
        file = delivery.file
        if file is not None and delivery.status < 300:
            sent = delivery.body_bytes - delivery.unsent_bytes()
            if sent > self._counted:
                row = self._rows.get(file.item.key) or self._ledger.open_row(self._rows, file.item.key)
                if missed:
                    row.miss_bytes += sent - self._counted
                else:
                    row.hit_bytes += sent - self._counted
                self._counted = sent

    def sent(self, delivery: Delivery, missed: bool, request: Request) -> None:
        """The answer is out."""
        took_s = monotonic() - self.began
        ledger = self._ledger
        file, count = delivery.file, delivery.body_bytes
        if self.copies:
            ledger.counters.peer_bytes += count
            ledger.counters.answered(delivery.status)
        elif file is not None and count and delivery.status < 300:
            key = file.item.key
            row = self._rows.get(key) or ledger.open_row(self._rows, key)
            if missed:
                row.misses += 1
                row.miss_bytes += count - self._counted
            else:
                row.hits += 1
                row.hit_bytes += count - self._counted
            row.sessions.add(self.session)
            if self.voter:
                self._ballot.seen.add(self.voter)
                if took_s > _SLOW_S and not missed and delivery.lags(count, took_s):
                    self._ballot.slowed.add(self.voter)
            if self.cmcd is not None:
                self._tell(row, self.cmcd)
        else:
            ledger.counters.answered(delivery.status)
        if self.copies:
            pass  # nobody waits for it: it says nothing of how long a player does
        elif took_s <= _QUICK_S and self._first_s < 0:
            ledger.quick += 1
            ledger.quick_s += took_s
        else:
            self._timed(took_s)
        if ledger.log is not None:
            ledger.log.write(
                self.address, request, delivery.status, count, took_s, self._fate(delivery, missed)
            )
        self._counted = 0

    def cut(self, delivery: Delivery, missed: bool, request: Request) -> None:
        """The connection ends before the answer did."""
        ledger = self._ledger
        ledger.counters.aborted += 1
        if delivery.started and not self.copies:
            self.waits(delivery, missed)
            file, count = delivery.file, self._counted
            took_s = monotonic() - self.began
            if self.voter and took_s > _SLOW_S and not missed and delivery.lags(count, took_s):
                self._ballot.seen.add(self.voter)
                self._ballot.slowed.add(self.voter)
            if file is not None and count:
                row = self._rows.get(file.item.key) or ledger.open_row(self._rows, file.item.key)
                if missed:
                    row.misses += 1
                else:
                    row.hits += 1
                row.sessions.add(self.session)
                if self.cmcd is not None:
                    self._tell(row, self.cmcd)
            else:
                ledger.counters.answered(delivery.status)
            # Not in send_s: an answer that nobody waited for says nothing of how long one takes.
            ledger.histograms.observe("first_byte_s", self._first_s if self._first_s >= 0 else took_s)
            if ledger.log is not None:
                fate = self._fate(delivery, missed)
                ledger.log.write(self.address, request, delivery.status, count, took_s, fate)
        self._first_s, self._counted, self.cmcd = -1.0, 0, None

    def _timed(self, took_s: float) -> None:
        histograms = self._ledger.histograms
        histograms.observe("first_byte_s", self._first_s if self._first_s >= 0 else took_s)
        histograms.observe("send_s", took_s)
        self._first_s = -1.0

    def _tell(self, row: Row, cmcd: Cmcd) -> None:
        self.cmcd = None
        playback = row.playback
        if playback is None:
            playback = row.playback = Playback()
        playback.requests += 1
        playback.starvations += cmcd.starved
        if cmcd.starved and self.voter:
            self._ballot.starved.add(self.voter)
        histograms = self._ledger.histograms
        if cmcd.buffer_s is not None:
            playback.buffers += 1
            playback.buffer_s += cmcd.buffer_s
            histograms.observe("player_buffer_s", cmcd.buffer_s)
        if cmcd.bitrate_bps is not None:
            playback.bitrates += 1
            playback.bitrate_bps += cmcd.bitrate_bps
            histograms.observe("player_bitrate_bps", cmcd.bitrate_bps)
        if cmcd.throughput_bps is not None:
            histograms.observe("player_throughput_bps", cmcd.throughput_bps)

    @staticmethod
    def _fate(delivery: Delivery, missed: bool) -> str:
        """As Cache-Status says it, RFC 9211; "-" where the answer is not from the cache."""
        return "-" if delivery.file is None or delivery.status >= 400 else "fwd=miss" if missed else "hit"


class Ledger:
    """One worker's. ``counters`` may be counted on by whoever sees something happen."""

    def __init__(self, log: AccessLog | None = None) -> None:
        self.counters = Counters()
        self.histograms = Histograms()
        self.log = log
        self.quick = 0
        """Answers that took at most the lowest bound of the time histograms, and how long in all."""
        self.quick_s = 0.0
        self._votes = Votes()
        self._refusals: dict[str, int] = {}
        self._networks: dict[bytes, _Network] = {}
        self._elsewhere = _Network("")
        self._rows = 0
        self._overflow = Row()

    def open(self, address: str) -> Account:
        """The page of a new connection from ``address``, as the kernel writes it."""
        prefix = _prefix(address)
        network = self._networks.get(prefix)
        if network is None:
            if len(self._networks) >= MAX_NETWORKS:
                network = self._elsewhere
            else:
                network = self._networks[prefix] = _Network(name_of(prefix))
        return Account(self, network, self._votes.open(address), address)

    def refused(self, problem: Problem, detail: str | None) -> None:
        """A token was refused, or there was none."""
        self.counters.tokens_refused += 1
        reason = _WITHOUT_LOOKING.get(problem) or _REASONS.get(detail or "", "other")
        self._refusals[reason] = self._refusals.get(reason, 0) + 1

    def open_row(self, rows: dict[str, Row], key: str) -> Row:
        """A new row, or the one that takes what there is no room for."""
        if self._rows >= MAX_ROWS:
            return self._overflow
        self._rows += 1
        row = rows[key] = Row()
        return row

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks ten times a second how late the event loop is, for as long as it runs."""
        due = loop.time() + _LOOK_S

        def look() -> None:
            nonlocal due
            now = loop.time()
            self.histograms.observe("loop_lag_s", max(0.0, now - due))
            due = now + _LOOK_S
            loop.call_at(due, look)

        loop.call_at(due, look)

    def hold(self) -> None:
        """There is nobody to report to: keeps what was counted, within bounds."""
        for network in (*self._networks.values(), self._elsewhere):
            for row in network.rows.values():
                keep_smallest(row.sessions)
        self._votes.drop()

    def take(self, worker: int, connections: int) -> Report:
        """Everything since the last time; from here on it counts from 0."""
        touched = [
            _touch(key, network.name, row, self.counters)
            for network in (*self._networks.values(), self._elsewhere)
            for key, row in network.rows.items()
        ]
        overflow = _touch("", "", self._overflow, self.counters)
        self.counters.touches_lost += overflow.hits + overflow.misses
        self._rows, self._overflow = 0, Row()
        self._elsewhere.rows.clear()
        for prefix, network in tuple(self._networks.items()):
            network.rows.clear()
            if not network.connections:
                del self._networks[prefix]
        for name in ("first_byte_s", "send_s"):
            if self.quick:
                histogram = getattr(self.histograms, name)
                histogram.observe(self.quick_s / self.quick, TIME_BOUNDS_S, self.quick)
        self.quick, self.quick_s = 0, 0.0
        if self.log is not None:
            self.counters.log_lines_lost += self.log.take_lost()
        histograms, self.histograms = self.histograms, Histograms()
        refusals, self._refusals = self._refusals, {}
        return Report(
            *(worker, self.counters.take(), histograms, refusals, connections, tuple(touched)),
            self._votes.take(),
        )


def _touch(key: str, network: str, row: Row, counters: Counters) -> Touch:
    """The row as it is reported; also counted in the totals."""
    answers = row.hits + row.misses
    counters.requests += answers
    counters.status_2xx += answers  # nothing else has bytes of an object in it
    counters.hits += row.hits
    counters.misses += row.misses
    counters.hit_bytes += row.hit_bytes
    counters.miss_bytes += row.miss_bytes
    if row.playback is not None:
        counters.cmcd_requests += row.playback.requests
        counters.cmcd_starvations += row.playback.starvations
    keep_smallest(row.sessions)
    return Touch(
        key, network, row.hits, row.misses, row.hit_bytes, row.miss_bytes, tuple(row.sessions), row.playback
    )


def _prefix(address: str) -> bytes:
    packed = packed_address(address)
    return packed[: _IPV4_BYTES if len(packed) == 4 else _IPV6_BYTES]
