"""Commands of ours that run to their end, each in a process of its own that need not import anything anew.

A Python that has just imported boto3 and msgspec forks for each command, which takes a tenth of a start. What
the command is given is what a shell would give it: arguments, environment, working directory, two files
to write to. What is served, killed or signalled in a test is started as it is in the field instead.

Run as ``python -m tests.commands FD``, by `_Forker` alone.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.lifecycle import die_with_parent

_MAX_REQUEST_BYTES = 1 << 17
_PRELOADED = ("fill.cli", "oca.cli", "oca.identity", "oca.store.disks", "oca.supervisor", "steering.cli",
              "steering.serve", "boto3.session", "botocore.client", "botocore.httpsession")  # fmt: skip


def run(
    program: str, *arguments: str | Path, env: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """``python -m PROGRAM ARGUMENTS`` until it ends: one of fill, oca, steering."""
    argv = [program, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = _forker.run(argv, dict(env or os.environ), out.fileno(), err.fileno(), timeout_s)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


class _Forker:
    """The process that forks; started when it is first needed, and ended with this one."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._line: socket.socket | None = None

    def run(self, argv: list[str], env: dict[str, str], out: int, err: int, timeout_s: float) -> int:
        request = json.dumps({"argv": argv, "env": env, "cwd": os.getcwd()}).encode()
        assert len(request) < _MAX_REQUEST_BYTES
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._connected(), [request], [out, err, writing])
        finally:
            os.close(writing)
        with open(reading, "rb") as said, selectors.DefaultSelector() as selector:
            pid = int(said.readline())
            selector.register(said, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout_s)
            return int(said.readline())

    def _connected(self) -> socket.socket:
        with self._starting:
            if self._line is None:
                self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "tests.commands", str(theirs.fileno())],
                        pass_fds=(theirs.fileno(),),
                        stdin=subprocess.DEVNULL,
                    )
                atexit.register(self._end, self._line, process)
            return self._line

    @staticmethod
    def _end(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
        line.close()
        process.wait()


_forker = _Forker()


# In the process that forks


def _serve(line: socket.socket) -> int:
    """Forks for whatever is asked until nobody is left to ask; in the fork it gives back its exit code."""
    while True:
        request, fds, _, _ = socket.recv_fds(line, _MAX_REQUEST_BYTES, 3)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not request:
            return 0
        if os.fork() == 0:
            line.close()
            return _attend(json.loads(request), *fds)
        for fd in fds:
            os.close(fd)


def _attend(request: dict[str, Any], out: int, err: int, status: int) -> int:
    """Forks once more, for the command; waits for its end, and tells its exit code as a shell does."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, max(out, err, status) + 1)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        program, *arguments = request["argv"]
        sys.argv = [program, *arguments]
        return int(importlib.import_module(f"{program}.cli").main(arguments))
    os.write(status, b"%d\n" % pid)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(status, b"%d\n" % ended)
    os._exit(0)


def main() -> int:
    die_with_parent(os.getppid())
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    return _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
