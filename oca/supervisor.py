"""The parent process of an appliance: opens the sockets, starts the children, starts them again.

It owns the listening sockets, so a worker that dies loses its connections and no more: those that
wait to be accepted are its heir's. It parses no byte from outside. When it ends, however it ends,
its children end with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from daemon.cli import CommandError, Exit
from daemon.lifecycle import notify, watchdog_interval_s
from daemon.log import event
from oca.config import Config
from oca.sockets import Sockets

log = logging.getLogger("oca")

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
_STEADY_S: Final = 10.0
"""A child that lived this long is restarted at once when it ends."""
_STOP_S: Final = 15.0


@dataclass
class Child:
    """One child's place: its role, its listening sockets, and the process that fills the place now."""

    role: str
    number: int
    socks: tuple[socket.socket, ...]
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    pipe: int = -1
    started: float = 0.0
    wait_s: float = _FIRST_WAIT_S
    due: float = field(default=0.0)

    @property
    def name(self) -> str:
        return f"edge worker {self.number}" if self.role == "edge" else "storekeeper"


class Supervisor:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._raw = msgspec.json.encode(config)
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._announced = False

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; 0 then. Raises `CommandError` when it cannot start."""
        Path(self._config.run_dir).mkdir(parents=True, exist_ok=True)
        config = self._config
        ports = [("listen", config.listen)] + ([("tls.listen", config.tls.listen)] if config.tls else [])
        sockets = Sockets()
        self._children.append(Child("store", 0, (sockets.listen("admin", config.admin, 1)[0],)))
        opened = [sockets.listen(key, address, config.worker_count) for key, address in ports]
        for number in range(config.worker_count):
            self._children.append(Child("edge", number, tuple(socks[number] for socks in opened)))
        reader = self._watch_signals()
        event(log, "starting", listen=self._config.listen, workers=self._config.worker_count)
        for child in self._children:
            self._start(child)
        watchdog = watchdog_interval_s() or 1.0
        while not self._stopping:
            for key, _ in self._selector.select(timeout=min(watchdog, self._until_due())):
                if key.data is None:
                    self._signals(reader)
                else:
                    self._heard(key.data)
            self._restart_due()
            if self._announced:
                notify("WATCHDOG=1")
        self._stop()
        return int(Exit.DONE)

    def _watch_signals(self) -> socket.socket:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = writer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(reader, selectors.EVENT_READ, None)
        return reader

    def _signals(self, reader: socket.socket) -> None:
        received = reader.recv(256)
        if signal.SIGTERM in received or signal.SIGINT in received:
            self._stopping = True
            return
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child)

    def _start(self, child: Child) -> None:
        ours, theirs = os.pipe()
        listening = [sock.fileno() for sock in child.socks]
        arguments = [child.role, child.number, os.getpid(), theirs, *listening]
        child.process = subprocess.Popen(
            [sys.executable, "-m", "oca.process", *map(str, arguments)],
            stdin=subprocess.PIPE,
            pass_fds=(theirs, *listening),
            # Ctrl-C on a terminal reaches the whole group: let it stop us, and us stop them in order.
            start_new_session=True,
        )
        os.close(theirs)
        assert child.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.process.stdin.write(self._raw)
            child.process.stdin.close()
        child.pipe, child.ready, child.started = ours, False, time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _heard(self, child: Child) -> None:
        """The child says that it is ready, or has closed its end: then SIGCHLD follows."""
        if os.read(child.pipe, 1):
            child.ready = True
            event(log, "ready", child=child.name, pid=child.process.pid if child.process else 0)
            if not self._announced and all(child.ready for child in self._children):
                self._announced = True
                notify("READY=1\nSTATUS=Serving")
        self._close_pipe(child)

    def _close_pipe(self, child: Child) -> None:
        if child.pipe >= 0:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1

    def _ended(self, child: Child) -> None:
        assert child.process is not None
        code = child.process.returncode
        self._close_pipe(child)
        child.process = None
        if not self._announced and not child.ready and code == Exit.USAGE:
            # It said why on standard error. Starting it again would say it again.
            self._stop()
            raise CommandError(f"the {child.name} could not start", Exit.USAGE)
        lived = time.monotonic() - child.started
        child.wait_s = _FIRST_WAIT_S if lived > _STEADY_S else min(child.wait_s * 2, _LONGEST_WAIT_S)
        child.due = time.monotonic() + child.wait_s
        event(log, "ended", logging.ERROR, child=child.name, code=code, restart_in_s=child.wait_s)

    def _until_due(self) -> float:
        now = time.monotonic()
        return min([1.0, *(max(0.0, child.due - now) for child in self._children if child.process is None)])

    def _restart_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.due <= now and not self._stopping:
                self._start(child)

    def _stop(self) -> None:
        """Edge workers finish what is in flight, then the storekeeper goes."""
        notify("STOPPING=1")
        event(log, "stopping")
        for child in self._children:
            for sock in child.socks:
                sock.close()
        for role in ("edge", "store"):
            processes = [
                child.process for child in self._children if child.role == role and child.process is not None
            ]
            for process in processes:
                process.terminate()
            until = time.monotonic() + _STOP_S
            for process in processes:
                try:
                    process.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
