"""An IXP and an ISP appliance before a live origin, and what the first was asked for by the second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.live.origin import PREFIX
from tests.appliance import Appliance, running


@dataclass(frozen=True)
class Tiers:
    isp: Appliance
    ixp: Appliance

    def asked_of_ixp(self) -> Counter[str]:
        """Requests by file name; the log is whole once the appliance has ended."""
        text = (self.ixp.root / "access.log").read_text()
        return Counter(re.findall(rf'"GET {PREFIX}(\S+) HTTP', text))


@contextmanager
def tiers(root: Path, origin_url: str, segment_s: int) -> Iterator[Tiers]:
    """Both, running; yields once they are ready."""
    source = {"url": origin_url, "prefix": PREFIX, "segment_s": segment_s}
    for name in ("ixp", "isp"):
        (root / name).mkdir()
    with (
        running(
            root / "ixp",
            appliance="ixp-1",
            origin=None,
            http_origins=[source],
            access_log=str(root / "ixp" / "access.log"),
        ) as ixp,
        running(
            root / "isp",
            appliance="isp-1",
            origin=None,
            http_origins=[source],
            parents=[{"id": "ixp-1", "url": f"http://127.0.0.1:{ixp.port}"}],
        ) as isp,
    ):
        yield Tiers(isp, ixp)
