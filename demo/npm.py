"""Fetches the two players, exactly as the lock file says, with the virtualenv's own npm."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Final

from daemon.cli import CommandError
from demo.processes import Processes

_PLAYER: Final = Path(__file__).parent / "player"
_MODULES: Final = _PLAYER / "node_modules"
_STAMP: Final = _MODULES / ".nearcast-lock"


def players_present() -> bool:
    """Whether what the lock file names is installed."""
    return _STAMP.exists() and _STAMP.read_text() == _lock_digest()


def install_players(processes: Processes) -> None:
    """Installs them; raises `CommandError` with npm's reason when that fails."""
    npm = shutil.which("npm", path=str(Path(sys.executable).parent)) or shutil.which("npm")
    if npm is None:
        raise CommandError(
            "npm is missing: build the virtualenv again (make clean, make demo), which brings it"
        )
    # Two demos at a time may both find the players missing.
    with (_PLAYER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if players_present():
            return
        # No scripts: what comes from a registry is served to the browser, never run here.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            processes.capture("npm", command, cwd=_PLAYER)
        except CommandError as error:
            why = next((line for line in str(error).splitlines() if "reason:" in line), "")
            raise CommandError(
                f"npm cannot fetch the players{why and ': '}{why.removeprefix('npm error ')}; "
                f"is its registry reachable from here? Its log is {processes.logs / 'npm.log'}"
            ) from None
        _STAMP.write_text(_lock_digest())


def _lock_digest() -> str:
    return hashlib.sha256((_PLAYER / "package-lock.json").read_bytes()).hexdigest()
