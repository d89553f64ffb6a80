"""The parent process of an appliance: opens the sockets, starts the children, starts them again.

It owns the listening sockets, so a worker that dies loses its connections and no more: those that
wait to be accepted are its heir's. It parses no byte from outside. When it ends, however it ends,
its children end with it.

    SIGTERM, SIGINT   tell steering, let responses in flight finish, end
    SIGHUP            read the configuration again: each worker is replaced by one that has the new
                      one, and ends when its last response is out; a wrong file changes nothing
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from daemon.cli import CommandError, Exit
from daemon.config import ConfigError
from daemon.lifecycle import allow_open_files, notify, watchdog_interval_s
from daemon.log import event
from oca.children import Child
from oca.config import Config
from oca.sockets import Sockets

log = logging.getLogger("oca")

_STOP_S: Final = 5.0
"""Beyond the drain time, for a child to end before it is killed."""
_STORE_STOP_S: Final = 20.0
"""For the storekeeper to end: it writes down what is on the disks, 2 s for a million objects and longer where the
disks are busy."""
_NOTICE_S: Final = 2.0
"""Between telling steering and letting go of the players: steering's answers in flight arrive."""
_RELOADED: Final = frozenset({"tls", "auth", "cors_origins", "limits", "pacing", "access_log", "log_level"})
"""Sections that SIGHUP takes up. The others are the storekeeper's, or sockets: they take a restart."""


class Supervisor:
    """``reread`` gives the configuration as it is in the file now, or raises `ConfigError`."""

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread
        self._raw = msgspec.json.encode(config)
        self._children: list[Child] = []
        self._leaving: dict[subprocess.Popen[bytes], float] = {}
        """Workers that finish their last responses, and until when they may."""
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._announced = False

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; 0 then. Raises `CommandError` when it cannot start."""
        config = self._config
        Path(config.run_dir).mkdir(parents=True, exist_ok=True)
        allow_open_files()
        self._open(config)
        reader = self._watch_signals()
        event(log, "starting", listen=config.listen, workers=config.worker_count)
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

    def _open(self, config: Config) -> None:
        ports = [("listen", config.listen)] + ([("tls.listen", config.tls.listen)] if config.tls else [])
        sockets = Sockets()
        self._children.append(Child("store", 0, (sockets.listen("admin", config.admin, 1)[0],)))
        opened = [sockets.listen(key, address, config.worker_count) for key, address in ports]
        for number in range(config.worker_count):
            self._children.append(Child("edge", number, tuple(socks[number] for socks in opened)))

    def _watch_signals(self) -> socket.socket:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = writer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(reader, selectors.EVENT_READ, None)
        return reader

    def _signals(self, reader: socket.socket) -> None:
        received = reader.recv(256)
        if signal.SIGTERM in received or signal.SIGINT in received:
            self._stopping = True
            return
        if signal.SIGHUP in received:
            self._reload()
        for child in self._children:
            if child.ended() is not None:
                self._ended(child)
            if child.successor is not None and child.successor.ended() is not None:
                self._refused(child)
        for process in [process for process in self._leaving if process.poll() is not None]:
            del self._leaving[process]

    # Starting, and starting again

    def _start(self, child: Child) -> None:
        child.start(self._raw)
        self._selector.register(child.pipe, selectors.EVENT_READ, child)

    def _heard(self, child: Child) -> None:
        """The child says that it is ready, or has closed its end: then SIGCHLD follows."""
        if os.read(child.pipe, 1):
            child.ready = True
            event(log, "ready", child=child.name, pid=child.pid)
            self._take_over(child)
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
        code = child.ended()
        self._close_pipe(child)
        if not self._announced and not child.ready and code == Exit.USAGE:
            # It said why on standard error. Starting it again would say it again.
            self._stop()
            raise CommandError(f"the {child.name} could not start", Exit.USAGE)
        event(log, "ended", logging.ERROR, child=child.name, code=code, restart_in_s=child.vacate())

    def _until_due(self) -> float:
        now = time.monotonic()
        dues = [child.due for child in self._children if child.process is None]
        return min([1.0, *(max(0.0, due - now) for due in (*dues, *self._leaving.values()))])

    def _restart_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.due <= now and not self._stopping:
                self._start(child)
        for process, until in self._leaving.items():
            if until <= now:
                process.kill()

    # A new configuration

    def _reload(self) -> None:
        try:
            wanted = self._reread()
        except ConfigError as error:
            event(log, "reload refused, nothing has changed", logging.ERROR, why=str(error))
            return
        config = _merged(self._config, wanted)
        if config != wanted:
            event(
                log,
                "some of the new configuration takes a restart",
                logging.WARNING,
                keys=_changed(config, wanted),
            )
        event(log, "reloading")
        self._raw = msgspec.json.encode(config)
        self._config = config
        for child in self._edges():
            if child.successor is not None and child.successor.process is not None:
                self._close_pipe(child.successor)
                child.successor.process.kill()
                self._leaving[child.successor.process] = time.monotonic()
            child.successor = Child(child.role, child.number, child.socks)
            self._start(child.successor)

    def _take_over(self, successor: Child) -> None:
        """A successor that is ready takes the place; who was there finishes and ends."""
        for place, child in enumerate(self._children):
            if child.successor is successor:
                self._children[place] = successor
                if child.process is not None:
                    child.process.terminate()
                    self._leaving[child.process] = time.monotonic() + self._config.drain_timeout_s + _STOP_S

    def _refused(self, child: Child) -> None:
        """A successor ended before it was ready: whoever has the place keeps it."""
        assert child.successor is not None
        self._close_pipe(child.successor)
        event(log, "reload failed, the old one serves on", logging.ERROR, child=child.name)
        child.successor = None

    def _edges(self) -> Iterator[Child]:
        return (child for child in self._children if child.role == "edge")

    # The end

    def _stop(self) -> None:
        """Steering is told first, then responses in flight finish, then the storekeeper goes."""
        notify("STOPPING=1")
        event(log, "stopping")
        store = [child.process for child in self._children if child.role == "store" and child.process]
        if self._announced and self._config.steering.urls:
            for process in store:
                process.send_signal(signal.SIGUSR1)
            time.sleep(_NOTICE_S)
        edges = [child.process for child in self._edges() if child.process]
        edges += [
            child.successor.process for child in self._edges() if child.successor and child.successor.process
        ]
        for child in self._children:
            for sock in child.socks:
                sock.close()
        _end([*edges, *self._leaving], self._config.drain_timeout_s + _STOP_S)
        _end(store, _STORE_STOP_S)


def _end(processes: list[subprocess.Popen[bytes]], within_s: float) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + within_s
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            # One of its threads may be in a call to a disk that hangs: the kernel ends it when that returns.
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                event(log, "left behind, for a disk hangs", logging.ERROR, pid=process.pid)


def _merged(current: Config, wanted: Config) -> Config:
    """``wanted`` in what a running appliance can take up, ``current`` in the rest."""
    fixed = {name: getattr(current, name) for name in Config.__struct_fields__ if name not in _RELOADED}
    if current.tls is None or wanted.tls is None:
        fixed["tls"] = current.tls
    else:
        fixed["tls"] = msgspec.structs.replace(wanted.tls, listen=current.tls.listen)
    return msgspec.structs.replace(wanted, **fixed)


def _changed(config: Config, wanted: Config) -> list[str]:
    return [name for name in Config.__struct_fields__ if getattr(config, name) != getattr(wanted, name)]
