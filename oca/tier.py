"""The class of a disk: what is asked for most lies on flash, the rest on what is large and cheap."""

from __future__ import annotations

import enum
import os
from pathlib import Path


class Tier(enum.Enum):
    FLASH = "flash"  # what the plan wants most, and what is hot
    BULK = "bulk"  # everything else


def tier_of(path: Path) -> Tier | None:
    """What the kernel says of the device under ``path``; None where it says nothing. Raises OSError."""
    number = path.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    # A partition has no queue of its own: its disk, the folder above, has it.
    for file in (device / "queue" / "rotational", device / ".." / "queue" / "rotational"):
        try:
            return Tier.BULK if file.read_text().strip() == "1" else Tier.FLASH
        except OSError:
            continue
    return None
