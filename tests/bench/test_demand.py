"""The traces are what they say, ours and its peers run through them, and a file is read or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.demand import __main__ as table
from bench.demand.policies import BASE, OURS, Stream, runner
from bench.demand.traces import BadTrace, made, read_trace

REQUESTS = 3000


def test_the_same_seed_makes_the_same_traces_and_an_object_has_one_size() -> None:
    for one, other in zip(made(7, REQUESTS), made(7, REQUESTS), strict=True):
        assert (one.name, len(one)) == (other.name, len(other))
        assert np.array_equal(one.keys, other.keys)
        assert np.array_equal(one.sizes, other.sizes)
        assert np.all(np.diff(one.times) >= 0), one.name
        sizes: dict[int, int] = {}
        for key, size in zip(one.keys.tolist(), one.sizes.tolist(), strict=True):
            assert sizes.setdefault(key, size) == size > 0
        assert sum(sizes.values()) == one.unique_bytes


@pytest.mark.parametrize("policy", [*BASE, OURS])
def test_a_cache_for_everything_misses_each_object_once(policy: str) -> None:
    stream = Stream(next(made(1, REQUESTS)))
    # Ten times: the peers do not let in what is larger than the queue that they put it in first.
    ratio = runner(stream, policy)(stream.unique * 200)
    assert ratio.requests == pytest.approx(1 - len(set(stream.keys)) / REQUESTS)
    assert ratio.bytes == pytest.approx(1 - stream.unique / stream.total)


def test_ours_never_holds_more_than_it_may() -> None:
    from bench.demand.policies import Ours

    stream = Stream(next(made(1, REQUESTS)))
    capacity = stream.unique // 20
    cache = Ours(capacity)
    for key, size in zip(stream.keys, stream.sizes, strict=True):
        cache.ask(str(key), size)
        assert cache.demand.bytes <= capacity


def test_a_file_is_read_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "day.csv"
    file.write_text("time,key,size\n" + "".join(f"{at},tt{at % 40}/a.mp4,{1000 + at}\n" for at in range(400)))
    trace = read_trace(file)
    assert (len(trace), len(set(trace.keys.tolist()))) == (400, 40)
    assert trace.unique_bytes == sum(1000 + at for at in range(40))
    assert table.main(["--trace", str(file)]) == 0
    assert "day.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "line"),
    [("1,a\n", 1), ("1,a,5\nx,b,5\n", 2), ("1,a,0\n", 1), ("5,a,5\n4,b,5\n", 2), ("1,a,5\n\n", 2)],
)
def test_a_file_that_is_no_trace_is_refused_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: int
) -> None:
    file = tmp_path / "day.csv"
    file.write_text(text)
    with pytest.raises(BadTrace, match=rf"day\.csv:{line}: "):
        read_trace(file)
    assert table.main(["--trace", str(file)]) == 2
    assert f"{file}:{line}" in capsys.readouterr().err
