"""One lossy path: from one appliance of four to one client network of four; liars; recovery. With a clock of its own.

Answering, view, ranking, feedback and the counting of votes at the appliances are the real ones. Players fetch
segments of 4 s over paths whose throughput is drawn anew for each, say with the next request that their buffer ran empty, and
ask every 30 s where to play (content steering). There is no ABR: what a path cannot carry is a stall.
"""

from __future__ import annotations

import ipaddress
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from rich.console import Console
from rich.table import Table

from bench.steering.decisions import KEY
from bench.steering.planet import PLAN, Size
from contracts.clientnetwork import network_of
from contracts.fleet import Appliance, Fleet, PublicKey, Site, Tier
from contracts.heartbeat import Heartbeat, PlanProgress
from contracts.steer import SteerRequest
from daemon.s3 import S3Config
from oca.ipc import Votes
from oca.sessions import session_id
from oca.store.votes import PlayerVotes
from steering import feedback
from steering.answering import Answering
from steering.config import Config
from steering.content import Content
from steering.fleet import FleetView
from steering.holdings import Title
from steering.roster import Roster

BITRATE_BPS: Final = 5_000_000
TITLES: Final = 50
BOXES: Final = ("a0", "a1", "a2", "a3")
X, Y, Z, W = "10.0.1.9", "10.0.2.9", "10.0.3.9", "10.0.4.9"
VIEWERS: Final = 120
"""Of each other network, at a time."""
LENGTH_S: Final = 1200.0
SEGMENT_S: Final = 4.0
TICK_S: Final = 2.0
MANIFEST_S: Final = 30.0
BREAKS_S, MENDS_S, ENDS_S = 600.0, 2100.0, 3600.0
SETTLED_S: Final = 300.0
"""After a change, before figures are taken."""
SEEDS: Final = (11, 12, 13)


@dataclass(frozen=True)
class Case:
    name: str
    lossy: frozenset[tuple[str, str]] = frozenset({("a0", X)})
    tells: bool = True
    """Whether steering hears of it."""
    follows: bool = True
    """Whether players ask again where to play."""
    liars: float = 0.0
    """Of the sessions of `lying`, that say they starve whenever they are at a0, and never elsewhere."""
    lying: str = X
    hides: bool = False
    """Liars never say that they starve."""
    floor: float = feedback.FLOOR
    viewers: int = 120
    """Of X, at a time."""


@dataclass
class Player:
    name: str
    network: str
    box: str
    ends_at: float
    asks_at: float
    liar: bool
    free_at: float = 0.0
    dry_at: float = math.inf
    """When its buffer is empty; before the first segment it has none to run empty."""
    starved: bool = False


@dataclass
class Outcome:
    """By minute."""

    case: Case
    weight: list[float] = field(default_factory=list)
    """Of a0, for X."""
    at_lossy: list[float] = field(default_factory=list)
    """The share of X's sessions that are at a0."""
    stalled: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The share of the time of each network's players."""
    level: list[float] = field(default_factory=list)
    """The fullest appliance, by the mean."""


class _Unsigned:
    def sign(
        self, title: str, session: str, now: float, ttl_s: int, client_ip: str | None
    ) -> tuple[str, int]:
        return "token", int(now) + ttl_s


class Simulation:
    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self.now = 0.0
        self._chance = random.Random(seed)
        key = PublicKey("OKP", "Ed25519", KEY)
        boxes = tuple(Appliance(name, f"http://{name}", 1, 4 * 10**9, key, name) for name in BOXES)
        roster = Roster.of(Fleet((Site("isp-a", Tier.ISP, ("10.0.0.0/8",), boxes),)))
        titles = {f"tt{n}": Title(f"tt{n}/m.m3u8", f"tt{n}/m.mpd", None, n, 1) for n in range(TITLES)}
        self._content = Content("c", PLAN, titles, {}, {(PLAN, name): b"\xff" * TITLES for name in BOXES})
        self.view = FleetView(roster, self._content)
        config = Config("-", S3Config("none"), "http://s")
        self._answering = Answering(config, self.view, cast("Any", _Unsigned()), self._chance.random)
        self._votes = {name: PlayerVotes(30.0, lambda: self.now) for name in BOXES}
        self._players: list[Player] = []
        self._viewers = {X: case.viewers, Y: VIEWERS, Z: VIEWERS, W: VIEWERS}
        self._sequence = self._started = 0
        self._popular = [1 / (n + 1) for n in range(TITLES)]
        self._stalled_s: dict[str, float] = defaultdict(float)
        self._watched_s: dict[str, float] = defaultdict(float)

    def run(self) -> Outcome:
        outcome = Outcome(self.case)
        self._beat()
        for network, viewers in self._viewers.items():
            for _ in range(viewers):
                self._start(network, self._chance.uniform(0, LENGTH_S))
        while self.now < ENDS_S:
            self.now += TICK_S
            self._beat()
            self._come_and_go()
            self._fetch()
            if self.now % 60 == 0:
                self._note(outcome)
        return outcome

    def _beat(self) -> None:
        at: dict[str, int] = defaultdict(int)
        for player in self._players:
            at[player.box] += 1
        for name in BOXES:
            self._sequence += 1
            told = self._votes[name].players() if self.case.tells else None
            beat = Heartbeat(
                *(name, "1" * 16, self._sequence, "-", False, at[name], at[name] * BITRATE_BPS, 1, ()),
                PlanProgress(PLAN, 1, 1),
                players=told,
            )
            self.view.hear(beat, 0.0, self.now)

    def _start(self, network: str, stays_s: float) -> None:
        title = self._chance.choices(range(TITLES), self._popular)[0]
        self._started += 1
        asked = SteerRequest(network, f"tt{title}", f"session-{self._started}")
        answer = self._answering.steer(asked, self.now, self.now)
        liar = network == self.case.lying and self._chance.random() < self.case.liars
        asks_at = self.now + self._chance.uniform(0, MANIFEST_S)
        self._players.append(
            Player(answer.session, network, answer.candidates[0].appliance, self.now + stays_s, asks_at, liar)
        )

    def _come_and_go(self) -> None:
        self._players = [player for player in self._players if player.ends_at > self.now]
        for network, viewers in self._viewers.items():
            # Two chances in a tick: more than one may come of a large network.
            for _ in range(sum(self._chance.random() < viewers * TICK_S / LENGTH_S / 2 for _ in range(2))):
                self._start(network, self._chance.expovariate(1 / LENGTH_S))
        for player in self._players if self.case.follows else ():
            if player.asks_at <= self.now:
                player.asks_at += MANIFEST_S
                session = self._answering.sessions.get(player.name, self.now)
                assert session is not None
                player.box = self._answering.pathways(player.name, session, self.now)[0]

    def _fetch(self) -> None:
        seen: dict[tuple[str, str], tuple[set[int], set[int], set[int]]] = defaultdict(
            lambda: (set(), set(), set())
        )
        broken = BREAKS_S <= self.now < MENDS_S
        for player in self._players:
            self._watched_s[player.network] += TICK_S
            if player.free_at > self.now or 26 < player.dry_at - self.now < math.inf:
                continue
            lossy = broken and (player.box, player.network) in self.case.lossy
            # Relative to the bitrate. A log-normal rate: a few segments in a thousand are slow on a good path too.
            rate = (0.95 if lossy else 4.0) * math.exp(self._chance.gauss(0, 0.6 if lossy else 0.5))
            took_s = SEGMENT_S / rate
            voters = seen[player.box, player.network]
            number = session_id(player.name)
            voters[0].add(number)
            lies = player.liar and player.box == "a0" and not self.case.hides
            if lies or (player.starved and not player.liar):
                voters[1].add(number)
            if took_s > SEGMENT_S and not player.liar:
                voters[2].add(number)
            player.starved = False
            came = player.free_at = self.now + took_s
            if came > player.dry_at:
                self._stalled_s[player.network] += came - player.dry_at
                player.starved = True
            player.dry_at = max(came, player.dry_at if player.dry_at < math.inf else came) + SEGMENT_S
        for name in BOXES:
            self._votes[name].add(
                Votes(str(network_of(network)), *(tuple(some) for some in voters))
                for (box, network), voters in seen.items()
                if box == name
            )

    def _note(self, outcome: Outcome) -> None:
        told = self.view.feedback.of(ipaddress.ip_address(X))
        outcome.weight.append(feedback.weights(told, BOXES).get("a0", 1.0))
        mine = [player for player in self._players if player.network == X]
        outcome.at_lossy.append(sum(player.box == "a0" for player in mine) / max(1, len(mine)))
        for network in (X, Y, Z, W):
            outcome.stalled[network].append(self._stalled_s[network] / max(1.0, self._watched_s[network]))
        self._stalled_s.clear()
        self._watched_s.clear()
        counts = [sum(player.box == name for player in self._players) for name in BOXES]
        outcome.level.append(max(counts) * len(BOXES) / max(1, sum(counts)))


@contextmanager
def _floor(at: float) -> Iterator[None]:
    before = feedback.FLOOR
    feedback.FLOOR = at  # type: ignore[misc]
    try:
        yield
    finally:
        feedback.FLOOR = before  # type: ignore[misc]


def simulate(case: Case) -> list[Outcome]:
    """One for each of `SEEDS`."""
    with _floor(case.floor):
        return [Simulation(case, seed).run() for seed in SEEDS]


NONE = frozenset[tuple[str, str]]()
CASES: Final = (
    Case("nothing is told", tells=False),
    Case("told"),
    Case("told, and players stay where they began", follows=False),
    Case("told, of 20 viewers", viewers=20),
    Case("told, of 600 viewers", viewers=600),
    Case("told, floor 0.5", floor=0.5),
    Case("told, floor 0.25", floor=0.25),
    Case("told, floor 0.02", floor=0.02),
    Case("X starves everywhere", frozenset((name, X) for name in BOXES)),
    Case("a0 starves everybody", frozenset(("a0", network) for network in (X, Y, Z, W))),
    Case("no path is lossy, 1 of X's sessions in 20 lies", NONE, liars=0.05),
    Case("no path is lossy, 1 in 4 lies", NONE, liars=0.25),
    Case("no path is lossy, all of X lie", NONE, liars=1.0),
    Case("no path is lossy, all of Y lie", NONE, liars=1.0, lying=Y),
    Case("lossy, and 1 in 4 of X hides it", liars=0.25, hides=True),
)


def run(size: Size, console: Console, plots: Path | None = None) -> None:
    cases = CASES if size.appliances == Size().appliances else CASES[:2]
    table = Table(
        title=f"The path from one appliance of four to one network of four is lossy for {(MENDS_S - BREAKS_S) / 60:.0f} minutes"
    )
    for column in (
        "case", "weight", "share of X there: before", "lossy", "mended", "stalled: X", "others", "mended: X",
        "seen", "recovered", "max / mean load",
    ):  # fmt: skip
        table.add_column(column)
    during, after = (BREAKS_S + SETTLED_S, MENDS_S), (MENDS_S + SETTLED_S, ENDS_S)
    shown = []
    for case in cases:
        found = simulate(case)
        shown.append(found[0])
        seen = _first([item.weight for item in found], BREAKS_S, lambda weight: weight < 0.5)
        mended = _first([item.weight for item in found], MENDS_S, lambda weight: weight > 0.95)
        there, stalled = [item.at_lossy for item in found], [item.stalled[X] for item in found]
        others = [item.stalled[network] for item in found for network in (Y, Z, W)]
        table.add_row(
            case.name,
            f"{_mean([item.weight for item in found], *during):.2f}",
            f"{_mean(there, 0, BREAKS_S):.0%}",
            f"{_mean(there, *during):.0%}",
            f"{_mean(there, *after):.0%}",
            f"{_mean(stalled, *during):.1%}",
            f"{_mean(others, *during):.1%}",
            f"{_mean(stalled, *after):.1%}",
            seen,
            "-" if seen == "never" else mended,
            f"{max(max(item.level) for item in found):.2f}",
        )
    console.print(table)
    if plots is not None:
        from bench.steering.plots import draw_lossy

        draw_lossy(shown, plots / "lossy.svg")


def _mean(found: Sequence[Sequence[float]], begins_s: float, ends_s: float) -> float:
    """Of all runs, over these minutes."""
    some = [value for series in found for value in series[int(begins_s / 60) : int(ends_s / 60)]]
    return sum(some) / len(some)


def _first(found: Sequence[Sequence[float]], since_s: float, true: Callable[[float], bool]) -> str:
    """Minutes since then, of the run where it took longest."""
    since = int(since_s / 60)
    took = [next((n + 1 for n, value in enumerate(series[since:]) if true(value)), None) for series in found]
    return "never" if None in took else f"{max(n for n in took if n is not None)} min"
