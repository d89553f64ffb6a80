"""The bench of collapsing in short: many players, one file that nobody has asked for before, one fetch."""

from __future__ import annotations

from pathlib import Path

from bench.collapse.content import content
from bench.collapse.measure import Trouble, measured
from bench.collapse.servers import CONTENDERS
from demo.origin import OriginServer

_MIB = 1 << 20
PLAYERS = 200


def test_two_hundred_players_cost_one_fetch_though_the_first_of_them_leaves(
    origin: OriginServer, tmp_path: Path
) -> None:
    size = 12 * _MIB
    tmp_path.chmod(0o755)
    two_workers = next(item for item in CONTENDERS if item.name == "nearcast, 2 workers")
    with content(tmp_path, size, origin) as wanted:
        row = measured(
            two_workers,
            tmp_path / "cache",
            wanted,
            players=PLAYERS,
            mbps=800.0,
            patience_s=60.0,
            trouble=Trouble.LEAVES,
        )
    assert (row.complete, row.correct, row.refused) == (PLAYERS, PLAYERS, {})
    assert row.upstream_bytes == row.pulled_bytes == size
    # Runs of eight slices, whoever asked for which.
    assert row.upstream_requests <= 4
    assert len(row.first_ms) == PLAYERS
    assert row.first_ms[0] > 0
