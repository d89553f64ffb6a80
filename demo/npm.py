"""Fetches what a folder's package-lock.json names, exactly, with the virtualenv's own npm."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Final

from daemon.cli import CommandError
from demo.processes import Processes

PLAYERS: Final = Path(__file__).parent / "player"


def present(folder: Path) -> bool:
    """Whether what the lock file names is installed."""
    stamp = _stamp(folder)
    return stamp.exists() and stamp.read_text() == _lock_digest(folder)


def install(folder: Path, processes: Processes) -> None:
    """Installs it, unless it is there; raises `CommandError` with npm's reason when that fails."""
    npm = shutil.which("npm", path=str(Path(sys.executable).parent)) or shutil.which("npm")
    if npm is None:
        raise CommandError(
            "npm is missing: build the virtualenv again (make clean, make demo), which brings it"
        )
    # Two of us at a time may both find it missing.
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if present(folder):
            return
        # No scripts: what comes from a registry does nothing while it is installed.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            processes.capture("npm", command, cwd=folder)
        except CommandError as error:
            why = next((line for line in str(error).splitlines() if "reason:" in line), "")
            raise CommandError(
                f"npm cannot fetch what {folder / 'package-lock.json'} names"
                f"{why and ': '}{why.removeprefix('npm error ')}; "
                f"is its registry reachable from here? Its log is {processes.logs / 'npm.log'}"
            ) from None
        _stamp(folder).write_text(_lock_digest(folder))


def _stamp(folder: Path) -> Path:
    return folder / "node_modules" / ".nearcast-lock"


def _lock_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
