"""A midnight: 200,000 starts of one title in a minute, in one site of 20 appliances, with a clock of its own.

The view and the ranking are the real ones. Each player begins after a few seconds, first fills its buffer, and then
takes its bitrate; what its appliance tells every 2 s is a mean of the last 5 s, so what steering hears lags.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.steering.decisions import KEY
from bench.steering.planet import PLAN, Size
from contracts.fleet import Appliance, Fleet, PublicKey, Site, Tier
from contracts.heartbeat import Heartbeat, PlanProgress
from steering.content import Content
from steering.fleet import FleetView
from steering.holdings import Title
from steering.rank import Question, decide
from steering.roster import Roster

STARTS = 200_000
WITHIN_S = 60.0
BITRATE_BPS = 5_000_000
CLIENT = ipaddress.ip_address("10.0.0.1")


def fleet_of(near_bps: int, far_bps: int) -> Fleet:
    def boxes(letter: str, count: int, throughput_bps: int) -> tuple[Appliance, ...]:
        key = PublicKey("OKP", "Ed25519", KEY)
        return tuple(
            Appliance(f"{letter}{n}", f"http://{letter}{n}", 1, throughput_bps, key, f"rack-{n % 4}")
            for n in range(count)
        )

    return Fleet(
        (
            Site("isp-a", Tier.ISP, ("10.0.0.0/8",), boxes("a", 20, near_bps)),
            Site("ixp-b", Tier.IXP, ("0.0.0.0/0",), boxes("b", 10, far_bps)),
        )
    )


@dataclass
class Midnight:
    """What became of one, second by second; shares are of throughput."""

    name: str
    near_mean: list[float] = field(default_factory=list)
    near_max: list[float] = field(default_factory=list)
    far_mean: list[float] = field(default_factory=list)
    far_max: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    """The site's fullest appliance by its mean; 1 while nothing flows."""
    over: int = 0
    """Seconds of appliances above their throughput."""
    where: Counter[str] = field(default_factory=Counter)

    def note(self, near: list[float], far: list[float]) -> None:
        """Shares of one second."""
        self.near_mean.append(sum(near) / len(near))
        self.near_max.append(max(near))
        self.far_mean.append(sum(far) / len(far))
        self.far_max.append(max(far))
        self.ratio.append(max(near) * len(near) / sum(near) if sum(near) else 1.0)
        self.over += sum(share > 1 for share in (*near, *far))


def simulate(near_bps: int, far_bps: int, starts: int = STARTS, name: str = "") -> Midnight:
    chance = random.Random(7)
    fleet = fleet_of(near_bps, far_bps)
    title = Title("tt1/m.m3u8", "tt1/m.mpd", None, 0, 1)
    names = [box.id for site in fleet.sites for box in site.appliances]
    size = {box.id: box.throughput_bps for site in fleet.sites for box in site.appliances}
    view = FleetView(
        Roster.of(fleet),
        Content("c", PLAN, {"tt1": title}, {}, dict.fromkeys(((PLAN, n) for n in names), b"\3")),
    )
    flowing = dict.fromkeys(names, 0.0)
    recent: dict[str, list[float]] = {name: [0.0] * 5 for name in names}
    begins: list[list[tuple[str, float]]] = [[] for _ in range(200)]
    sequence = sent = 0
    found_out = Midnight(name)
    for second in range(90):
        for box, bps in begins[second]:
            flowing[box] += bps
        for box in names:
            recent[box] = [*recent[box][1:], flowing[box]]
            if (second + hash_of(box)) % 2 == 0:
                sequence += 1
                told_bps = int(sum(recent[box]) / 5)
                beat = Heartbeat(
                    box, "1" * 16, sequence, "-", False, 1, told_bps, 1, (), PlanProgress(PLAN, 1, 1)
                )
                view.hear(beat, 0.0, float(second))
        shares = {box: flowing[box] / size[box] for box in names}
        found_out.note(
            [shares[box] for box in names if box[0] == "a"], [shares[box] for box in names if box[0] == "b"]
        )
        due = min(starts, int(starts * (second + 1 - 5) / WITHIN_S)) if second >= 5 else 0
        while sent < due:
            sent += 1
            asked = Question("tt1", f"session-{sent}", title.bit(None), BITRATE_BPS)
            found = decide(asked, view.snapshot(CLIENT, second + 0.5), 3)
            if not found:
                found_out.where["refused"] += 1
                continue
            first = found[0].box
            found_out.where[first.site] += 1
            view.give(first.id, BITRATE_BPS)
            # Two seconds to begin; half as much again for eight seconds, until the buffer is full.
            begin = second + 1 + chance.randrange(3)
            begins[begin].append((first.id, BITRATE_BPS * 1.5))
            begins[begin + 8].append((first.id, -BITRATE_BPS * 0.5))
    return found_out


def hash_of(name: str) -> int:
    return int(name[1:])


def run(size: Size, console: Console, plots: Path | None = None) -> None:
    starts = STARTS if size.appliances == Size().appliances else STARTS // 20
    table = Table(title=f"{starts:,} starts of one title within {WITHIN_S:.0f} s, one site of 20")
    for column in (
        "site / exchange",
        "max / mean at the end",
        "worst after 15 s",
        "fullest",
        "appliance-seconds over",
        "where",
    ):
        table.add_column(column)
    share = starts / STARTS
    midnights = []
    for near, far in ((100, 100), (45, 100), (30, 30)):
        name = f"20 x {near} Gb/s / 10 x {far} Gb/s"
        found = simulate(int(near * share * 10**9), int(far * share * 10**9), starts, name)
        midnights.append(found)
        table.add_row(
            name,
            f"{found.ratio[-1]:.3f}",
            f"{max(found.ratio[21:]):.3f}",
            f"{max(found.near_max[-1], found.far_max[-1]):.0%}",
            str(found.over),
            str(dict(found.where)),
        )
    console.print(table)
    if plots is not None:
        from bench.steering.plots import draw_herd

        draw_herd(midnights, plots / "herd.svg")
