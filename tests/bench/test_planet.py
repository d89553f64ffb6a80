"""The placement bench: small forms of both parts, and traces of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.planet.month import make_site, play_lru, play_optimum, play_plan, run_month
from bench.planet.scale import run_planet
from bench.planet.trace import make_month, read_trace
from bench.planet.world import Scale
from fill.planning.rules import Rules


def test_a_small_planet_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    run_planet(Scale(titles=60, sites=12, appliances=40, regions=3), 1, 1)
    said = capsys.readouterr().out
    assert "40, 12" in said
    assert "1,800 of 60 titles" in said


def test_no_rule_serves_more_than_the_optimum_and_the_plan_comes_near_it() -> None:
    month = make_month(3, titles=300, days=6, views_a_day=20_000, releases_a_day=0.5)
    site = make_site(month.table, 4, 0.2)
    capacity = float(sum(box.capacity_bytes for box in site.appliances))
    planned, _ = play_plan(month, site, Rules(rate_bps=1e12))
    best = play_optimum(month, capacity)
    assert all(mine <= most * (1 + 1e-9) for mine, most in zip(planned.hits, best.hits, strict=True))
    assert planned.hits[-1] > 0.8 * best.hits[-1]
    assert sum(play_lru(month, capacity).hits) > 0


def test_the_same_seed_is_the_same_month() -> None:
    one, other = (make_month(5, titles=50, days=3, views_a_day=500, releases_a_day=0.5) for _ in range(2))
    assert all((a.objects == b.objects).all() for a, b in zip(one.days, other.days, strict=True))


@pytest.mark.parametrize(
    "header", ["time_s,key,bytes,size_bytes\n", "size,key,time,bytes\n", ""], ids=["ours", "another", "none"]
)
def test_a_trace_is_read_by_its_header(
    tmp_path: Path, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"": "{t},{k},{s}", "size,key,time,bytes\n": "{s},{k},{t},{b}"}
    shape = rows.get(header, "{t},{k},{b},{s}")
    lines = [
        shape.format(t=day * 86_400 + at, k=f"t{at % 7}/v{at % 3}.mp4", s=1_000_000 + at % 21, b=1000)
        for day in range(5)
        for at in range(100)
    ]
    path = tmp_path / "trace.csv"
    path.write_text(header + "\n".join(lines) + "\n")
    month = read_trace(path)
    assert len(month.days) == 5
    assert len(month.table) == 21
    assert np.isclose(month.days[0].demand.sum(), 100 * 1000 if header else 100 * 1_000_000, rtol=0.01)
    run_month(3, 0.5, 1, path)
    assert "trace.csv: 21 objects" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", "time_s,key,size_bytes\nx,k,1\n", "1,k\n", "1,k,nan\n"]
)
def test_what_is_no_trace_is_said_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"trace\.csv"):
        read_trace(path)
