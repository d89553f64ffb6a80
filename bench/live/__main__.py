"""``python -m bench.live``: a live stream through an IXP and an ISP appliance. What the table says: bench/README.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.edge.bystanders import Bystanders
from bench.live.origin import LiveOrigin, serving
from bench.live.packager import DASH, HLS, Stream, begun, packaging
from bench.live.players import START_BEHIND, Seen, read_hls, watch
from bench.live.tiers import Tiers, tiers

AT_THE_ORIGIN: Final = 10
"""Players that ask the origin itself: what others see is compared with what they see."""

GOES_BACK: Final = 10
"""One player in so many begins somewhere in the past, where playlists reach back hours."""

HELD_BACK: Final = 3
"""Segments that a player has before it begins."""


@dataclass(frozen=True)
class Run:
    """What a run has shown; each list is of players."""

    direct: list[Seen]
    through: list[Seen]
    origin: LiveOrigin
    appliances: Tiers
    appeared: dict[str, float]
    """When the origin's playlist first named each segment; ``time.time``."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.live", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="16 s of 1-s segments, 50 players")
    parser.add_argument(
        "--players", type=int, help="of the ISP appliance, half HLS, half DASH (200; quick: 50)"
    )
    parser.add_argument("--seconds", type=int, help="of the stream (60; quick: 16)")
    parser.add_argument(
        "--window", type=int, default=0, metavar="SECONDS", help="that playlists reach back (five segments)"
    )
    given = parser.parse_args(argv)
    segment_s = 1 if given.quick else 4
    players = given.players or (50 if given.quick else 200)
    seconds = given.seconds or (16 if given.quick else 60)
    if players < 1 or seconds < 5 * segment_s:
        parser.error(f"at least 1 player and {5 * segment_s} seconds")
    stream = Stream(segment_s=segment_s, duration_s=seconds, window=5, kept=5)
    if given.window:
        # Few frames: hours of them are encoded before it begins.
        window, before_s = given.window // segment_s, given.window // segment_s * segment_s
        stream = Stream(segment_s, seconds, window, kept=5, before_s=before_s, frames_per_s=5)
    others = Bystanders()
    with tempfile.TemporaryDirectory(prefix="bench-live-") as folder:
        run = asyncio.run(_watched(Path(folder), stream, players))
        console = Console(width=132)
        console.print(_table(run, stream))
        console.print(_delay_table(run, stream))
    console.print(f"live: others took {others.share():.0%} of the machine meanwhile\n")
    return 0


async def _watched(root: Path, stream: Stream, players: int) -> Run:
    folder = root / "packager"
    folder.mkdir()
    origin = LiveOrigin(folder)
    timeout = aiohttp.ClientTimeout(total=60)
    async with serving(origin):
        with tiers(root, origin.url, stream.segment_s) as both, packaging(folder, stream) as packager:
            await begun(packager, folder, stream)
            appeared: dict[str, float] = {}
            watching = asyncio.ensure_future(_appearances(folder, appeared))
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=timeout
            ) as session:

                async def one(n: int, base: str, count: int) -> Seen:
                    # Spread over a segment, as players are.
                    await asyncio.sleep(stream.segment_s * n / count)
                    behind = stream.window * (n + 1) // count if stream.before_s and n % GOES_BACK == 0 else 0
                    return await watch(
                        session,
                        base,
                        (HLS, DASH)[(n + n // GOES_BACK) % 2],
                        stream.segment_s / 4,
                        behind=max(START_BEHIND, behind),
                        segment_s=stream.segment_s,
                    )

                isp = f"http://127.0.0.1:{both.isp.port}"
                seen = await asyncio.gather(
                    *(one(n, origin.url, AT_THE_ORIGIN) for n in range(AT_THE_ORIGIN)),
                    *(one(n, isp, players) for n in range(players)),
                )
            await watching
    return Run(list(seen[:AT_THE_ORIGIN]), list(seen[AT_THE_ORIGIN:]), origin, both, appeared)


async def _appearances(folder: Path, appeared: dict[str, float]) -> None:
    ended = False
    while not ended:
        playlist = read_hls((folder / HLS).read_text())
        for name in playlist.segments:
            appeared.setdefault(name, time.time())
        ended = playlist.ended
        await asyncio.sleep(0.01)


def _delays(players: list[Seen], appeared: dict[str, float]) -> list[float]:
    """Of the segments that appeared while a player watched: those it began with are older than it."""
    return sorted(
        at - appeared[name]
        for player in players
        for name, at in player.arrived.items()
        if name in appeared and min(player.arrived.values()) < appeared[name]
    )


def _stalls(players: list[Seen], segment_s: int) -> int:
    """How often playback waited; it begins with the third segment whole, as far behind as RFC 8216 section 6.3.3 wants."""
    stalls = 0
    for player in players:
        arrived = [at for name, at in sorted(player.arrived.items()) if name.startswith("chunk")]
        if len(arrived) > HELD_BACK:
            due = arrived[HELD_BACK - 1] + HELD_BACK * segment_s
            for at in arrived[HELD_BACK:]:
                stalls += at > due
                due = max(due, at) + segment_s
    return stalls


def _table(run: Run, stream: Stream) -> Table:
    names = [name for name in run.origin.segments() if name.startswith("chunk")]
    asked = run.appliances.asked_of_ixp()
    table = Table(
        title=f"live: {len(run.through)} players, {stream.segment_s}-s segments, {stream.duration_s} s",
        title_justify="left",
    )
    table.add_column("")
    for name in ("ISP -> IXP", "IXP -> origin", "players -> ISP"):
        table.add_column(name, justify="right")
    segments = sum(
        len([name for name in player.arrived if name.startswith("chunk")]) for player in run.through
    )
    table.add_row(
        "requests per segment",
        f"{sum(asked[name] for name in names) / len(names):.2f}",
        f"{sum(run.origin.asked[name] for name in names) / len(names):.2f}",
        f"{segments / len(names):.0f}",
    )
    table.add_row(
        "most for one segment",
        str(max(asked[name] for name in names)),
        str(max(run.origin.asked[name] for name in names)),
        "",
    )
    table.add_row(
        "requests for playlists",
        str(asked[HLS] + asked[DASH]),
        str(run.origin.asked[HLS] + run.origin.asked[DASH]),
        str(sum(player.polls for player in run.through)),
    )
    return table


def _delay_table(run: Run, stream: Stream) -> Table:
    table = Table(title="from a segment's appearance to its whole arrival", title_justify="left")
    table.add_column("players")
    for name in ("p50 ms", "p99 ms", "stalls", "refused"):
        table.add_column(name, justify="right")
    both = []
    for name, players in (("at the origin", run.direct), ("through both tiers", run.through)):
        delays = _delays(players, run.appeared)
        p50_ms, p99_ms = (1000 * delays[int(len(delays) * share)] for share in (0.5, 0.99))
        both.append((p50_ms, p99_ms))
        refused = sum(sum(player.refused.values()) for player in players)
        stalls = _stalls(players, stream.segment_s)
        table.add_row(name, f"{p50_ms:.0f}", f"{p99_ms:.0f}", str(stalls), str(refused))
    (p50_ms, p99_ms), (through_p50_ms, through_p99_ms) = both
    table.add_row("added", f"{through_p50_ms - p50_ms:+.0f}", f"{through_p99_ms - p99_ms:+.0f}", "", "")
    return table


if __name__ == "__main__":
    sys.exit(main())
