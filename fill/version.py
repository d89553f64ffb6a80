"""The name of a catalog or plan version: when it was written, and six hex digits of chance."""

from __future__ import annotations

import time


def version_name(now: float, chance: bytes) -> str:
    """``now`` in seconds since 1970, ``chance`` three random bytes: `contracts.catalog.Version`."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{chance[:3].hex()}"
