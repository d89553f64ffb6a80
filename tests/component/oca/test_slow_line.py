"""Over a line that carries less than a video plays, its viewers are told to starve; who plays along over a good one is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.oca import slowline

TOOLS = ("unshare", "nsenter", "ip", "tc")


@pytest.mark.soak
@pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
    reason=f"network namespaces take root and {', '.join(TOOLS)}",
)
def test_a_slow_line_is_told_from_a_player_that_takes_its_time(tmp_path: Path) -> None:
    command = ["unshare", "--net", sys.executable, "-m", slowline.__name__, str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0
    along, slow = json.loads(done.stdout.splitlines()[-1]).values()
    assert along == 0.0
    assert slow > 0.0
