"""The demo's children: started with a log each, watched, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from daemon.cli import CommandError, Exit

_GRACE_S: Final = 5
_POLL_S: Final = 0.1
_LOG_TAIL_BYTES: Final = 1500


@dataclass(slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    """Where its output goes; None is our own terminal."""
    reported: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def ending(self) -> str:
        """How it ended, in words; call only when it has."""
        code = self.process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def failure(self) -> CommandError:
        """How it ended, with the last it said: an error for whoever needed it."""
        if self.log is None:
            # What it said stands above. A mistake in the user's own words or file stays one.
            usage = self.process.returncode == Exit.USAGE
            return CommandError(
                f"{self.name} {self.ending()}, as it says above", Exit.USAGE if usage else Exit.FAILED
            )
        try:
            tail = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            tail = ""
        said = f", and last said:\n{tail}" if tail else ""
        return CommandError(f"{self.name} {self.ending()}; its log is {self.log}{said}")


class Processes:
    """Leaving the ``with`` ends every child: asked first, killed after a few seconds."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Child:
        """Starts a server; what it prints goes to its log."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as file:
            process = _spawn(command, stdout=file, stderr=file, env=env)
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def show(self, name: str, command: Sequence[str | Path]) -> None:
        """Runs a command to its end, its output on our terminal; raises `CommandError` when it fails."""
        child = Child(name, _spawn(command, stdout=None, stderr=None), None)
        self._wait(child)

    def capture(self, name: str, command: Sequence[str | Path], cwd: Path | None = None) -> bytes:
        """Runs a command to its end and gives back its standard output; the rest goes to its log."""
        output = self.logs / f"{name}.out"
        log = self.logs / f"{name}.log"
        with output.open("wb") as out, log.open("ab") as err:
            child = Child(name, _spawn(command, stdout=out, stderr=err, cwd=cwd), log)
        try:
            self._wait(child)
            return output.read_bytes()
        finally:
            # It may hold a key that is shown once.
            output.unlink()

    def _wait(self, child: Child) -> None:
        self._children.append(child)
        self.finish(child)

    def finish(self, child: Child) -> None:
        """Returns once ``child`` has ended; raises `CommandError` when it failed."""
        # Polled rather than waited for, so that a signal's exception is raised between two polls.
        while child.running:
            time.sleep(_POLL_S)
        self._children.remove(child)
        if child.process.returncode != 0:
            raise child.failure()

    def wait_until(
        self, what: str, ready: Callable[[], bool], needed: Sequence[Child], timeout_s: float
    ) -> None:
        """Returns when ``ready``; raises `CommandError` when a needed child ends first, or time runs out."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            for child in needed:
                if not child.running:
                    child.reported = True
                    raise child.failure()
            if time.monotonic() > deadline:
                logs = ", ".join(str(child.log) for child in needed)
                raise CommandError(f"{what} did not happen within {timeout_s:.0f} s; see {logs}")
            time.sleep(_POLL_S)

    def just_ended(self) -> list[Child]:
        """Servers that have ended since the last call."""
        ended = [child for child in self._children if not child.reported and not child.running]
        for child in ended:
            child.reported = True
        return ended

    def stop(self) -> None:
        """Ends every child and whatever it started. A second Ctrl-C skips the waiting."""
        running = [child for child in self._children if child.running]
        try:
            for child in reversed(running):
                child.process.terminate()
            deadline = time.monotonic() + _GRACE_S
            while any(child.running for child in running) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        finally:
            for child in running:
                _kill_group(child)
            for child in running:
                child.process.wait()
            self._children.clear()


def python(module: str, *arguments: str | Path) -> list[str | Path]:
    """The command line of one of our own programs, in this virtualenv."""
    return [sys.executable, "-m", module, *arguments]


def _spawn(
    command: Sequence[str | Path],
    *,
    stdout: IO[bytes] | None,
    stderr: IO[bytes] | None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*python("demo.child", str(os.getpid())), *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        # A group of its own: Ctrl-C in the terminal reaches the demo alone, which ends the others in
        # order, and what a child started can be ended with it.
        process_group=0,
    )


def _kill_group(child: Child) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(child.pid, signal.SIGKILL)
