"""The bench of the store runs to its end, and counts what it made."""

from __future__ import annotations

import subprocess
import sys


def test_every_row_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.store", "--objects", "300", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "300 objects were put on one disk" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith(("every file", "from the"))]
    assert len(rows) == 4, done.stdout
