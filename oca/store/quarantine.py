"""Files that did not hold what they should, kept for whoever wants to know why, and bounded.

Their bytes count as used. Beyond 30 days, 1,000 files or a hundredth of the disk (one file may be larger) the
oldest go: what is wrong with a disk is seen in a few bad files, and the room is for good ones.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Final

KEEP_S: Final = 30 * 86_400
MOST_FILES: Final = 1000
SHARE: Final = 0.01
"""Of the disk's capacity."""


def trim(folder: Path, now: float, capacity_bytes: int) -> tuple[int, int]:
    """Removes what is too old or too much, the oldest first; the files and bytes that are left.

    ``now`` is seconds since 1970. Raises OSError.
    """
    with os.scandir(folder) as entries:
        there = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries]
    # A rename sets ctime: when the file came here.
    files = deque(sorted((stat.st_ctime, stat.st_size, path) for stat, path in there))
    held = sum(size for _, size, _ in files)
    while files:
        came, size, path = files[0]
        small = held <= capacity_bytes * SHARE or len(files) == 1
        if now - came < KEEP_S and len(files) <= MOST_FILES and small:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        files.popleft()
        held -= size
    return len(files), held
