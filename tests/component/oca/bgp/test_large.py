"""A large table: how long it takes and what it costs. Figures are printed (`-s`), none is asserted."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.component.oca.bgp.peers import Bird, bird_or_skip, speaking
from tests.component.oca.bgp.test_sessions import table
from tests.processes import below


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_large_table_arrives_whole_and_follows_a_flap_of_a_tenth(tmp_path: Path, count: int) -> None:
    bird_or_skip()
    prefixes = [
        f"20.{n >> 8 & 255}.{n & 255}.0/24" if n < 65536 else f"21.{n >> 8 & 255}.{n & 255}.0/24"
        for n in range(count)
    ]
    # A path of its own for each hundred, as providers' customers have.
    routes = [
        f"{prefix} blackhole {{ bgp_path.prepend({65_000 + n // 100}); }}"
        for n, prefix in enumerate(prefixes)
    ]
    bird = Bird(tmp_path, routes={4: routes, 6: []})
    with bird.running():
        began = time.monotonic()
        with speaking(tmp_path, bird.port, max_prefixes=2 * count) as ours:
            ours.wait(lambda item: item.whole, within_s=200)
            whole_s = time.monotonic() - began
            assert set(table(tmp_path)) == set(prefixes)
            bird.routes[4] = routes[count // 10 :]
            bird.reconfigure()
            began = time.monotonic()
            ours.wait(lambda item: item.accepted == count - count // 10, within_s=200)
            flap_s = time.monotonic() - began
            used = {
                name: round(process.memory_info().rss / 1e6)
                for name, process in (
                    ("oca bgp", psutil.Process(ours.process.pid)),
                    *(
                        ("exabgp" if "exabgp" in child.cmdline() else "relay", child)
                        for child in below(ours.process.pid)
                    ),
                )
            }
    print(
        f"\n{count} prefixes: whole in {whole_s:.1f} s, a tenth withdrawn in {flap_s:.1f} s, resident MB: {used}"
    )
