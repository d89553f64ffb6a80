"""One child process of the supervisor: how it is started, told its configuration, and heard of."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
"""Between tries of a child that does not get as far as being ready."""


@dataclass(eq=False)
class Child:
    """One child's place: its role, its listening sockets, and the process that fills the place now."""

    role: str
    number: int
    socks: tuple[socket.socket, ...]
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    pipe: int = -1
    """Readable once the child is ready (a byte) or gone (its end)."""
    due: float = 0.0
    """When to start it again."""
    successor: Child | None = None
    """Takes over this place, with a newer configuration, once it is ready."""
    _wait_s: float = field(default=_FIRST_WAIT_S, repr=False)

    @property
    def name(self) -> str:
        return f"edge worker {self.number}" if self.role == "edge" else "storekeeper"

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    def start(self, config: bytes) -> None:
        """Starts the process; ``config`` is written to its standard input."""
        ours, theirs = os.pipe()
        listening = [sock.fileno() for sock in self.socks]
        arguments = [self.role, self.number, os.getpid(), theirs, *listening]
        self.process = subprocess.Popen(
            # -P: whatever lies in the working directory is not ours to import.
            [sys.executable, "-P", "-m", "oca.process", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            pass_fds=(theirs, *listening),
            # Ctrl-C on a terminal reaches the whole group: let it stop us, and us stop them in order.
            start_new_session=True,
        )
        os.close(theirs)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(config)
            self.process.stdin.close()
        self.pipe, self.ready = ours, False

    def ended(self) -> int | None:
        """The exit code of a process that has ended; None while there is one, or none was started."""
        return self.process.poll() if self.process is not None else None

    def vacate(self) -> float:
        """The process has ended: the place is empty until `due`. The seconds until then."""
        self._wait_s = _FIRST_WAIT_S if self.ready else min(self._wait_s * 2, _LONGEST_WAIT_S)
        self.process, self.ready, self.due = None, False, time.monotonic() + self._wait_s
        return self._wait_s
