"""The quarantine is bounded by age, number and size, and gives up its oldest files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from oca.store import quarantine

DAY_S = 86_400
LARGE = 1 << 40


def fill(folder: Path, sizes: list[int]) -> None:
    """Files a, b, c and so on; each came before the next."""
    for number, size in enumerate(sizes):
        file = folder / chr(ord("a") + number)
        file.write_bytes(bytes(size))
        later_than(folder, file.stat().st_ctime_ns)


def later_than(folder: Path, ctime_ns: int) -> None:
    """Returns once what is written is later, by the kernel's coarse clock."""
    tick, until = folder / "tick", time.monotonic() + 15
    tick.touch()
    while tick.stat().st_ctime_ns <= ctime_ns and time.monotonic() < until:
        time.sleep(0.001)
        tick.touch()
    tick.unlink()


@pytest.mark.parametrize(
    ("sizes", "later_s", "capacity_bytes", "left"),
    [
        pytest.param([], 0, LARGE, [], id="nothing"),
        pytest.param([5, 5], 29 * DAY_S, LARGE, ["a", "b"], id="young and small"),
        pytest.param([5, 5], 31 * DAY_S, LARGE, [], id="too old"),
        pytest.param([50, 50, 50], 0, 10_000, ["b", "c"], id="too much"),
        pytest.param([50, 500], 0, 10_000, ["b"], id="one that is larger than all may be"),
    ],
)
def test_what_is_too_old_or_too_much_goes(
    tmp_path: Path, sizes: list[int], later_s: int, capacity_bytes: int, left: list[str]
) -> None:
    fill(tmp_path, sizes)
    files, held = quarantine.trim(tmp_path, time.time() + later_s, capacity_bytes)
    assert sorted(file.name for file in tmp_path.iterdir()) == left
    assert (files, held) == (
        len(left),
        sum(size for name, size in zip("abc", sizes, strict=False) if name in left),
    )


def test_there_are_never_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST_FILES", 2)
    fill(tmp_path, [1, 1, 1])
    assert quarantine.trim(tmp_path, time.time(), LARGE) == (2, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "c"]
