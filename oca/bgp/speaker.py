"""The process `oca bgp`: keeps exabgp running, its routes in the RIB, and every reader of them up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from contracts.route import Announcement, Attributes
from daemon.cli import CommandError, Exit
from daemon.config import ConfigError
from daemon.lifecycle import notify, watchdog_interval_s
from daemon.log import event
from oca.bgp import exabgp, relay
from oca.bgp.config import Bgp
from oca.bgp.events import MAX_LINE_BYTES, BadLine, read_line
from oca.bgp.feed import (
    MAX_MESSAGE_PREFIXES,
    SOCKET_NAME,
    WANT_STATUS,
    Begin,
    BgpStatus,
    Changes,
    NeighbourStatus,
    Whole,
    frame,
)
from oca.bgp.rib import Rib, Session

log = logging.getLogger("oca.bgp")

_LINES_NAME: Final = "bgp-lines.sock"
_CONFIG_NAME: Final = "exabgp.conf"
_CHUNK_BYTES: Final = 1 << 18
_TICK_S: Final = 0.5
_STATUS_S: Final = 2.0
_RESTART_S: Final = 2.0
_MAX_RESTART_S: Final = 60.0
_STOP_S: Final = 5.0
_MAX_READERS: Final = 16


def read_passwords(config: Bgp) -> dict[str, str]:
    """TCP MD5 passwords by the neighbour's address; raises `ConfigError`."""
    found = {}
    for neighbour in config.neighbours:
        if neighbour.password_file is None:
            continue
        try:
            lines = Path(neighbour.password_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigError(f"{neighbour.password_file}: {why}") from None
        password = lines[0] if lines else ""
        if not exabgp.quotable(password):
            raise ConfigError(
                f"{neighbour.password_file}: its first line is not a password of 1 to 80 printable ASCII "
                "characters without space, quotes, backslash, semicolon, braces or #"
            )
        found[neighbour.address] = password
    return found


class _Reader:
    """A storekeeper, or `oca bgp --status`, and what it has yet to hear."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.pending: set[str] = set()
        self.begun = self.complete = False
        self.status_due = True
        self.woken = asyncio.Event()


class Speaker:
    def __init__(self, config: Bgp, run_dir: Path) -> None:
        self._config = config
        self._run_dir = run_dir
        self._passwords = read_passwords(config)
        self._rib = Rib(config, time.monotonic())
        self._peerings = {name: session.config.peering for name, session in self._rib.sessions.items()}
        self._readers: set[_Reader] = set()
        self._child: asyncio.subprocess.Process | None = None
        self._paused: frozenset[str] = frozenset()
        self._wanted = asyncio.Event()
        """That there is a session to be had: exabgp has no use for a configuration without neighbours."""
        self._wanted.set()
        self._bad_lines = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; raises `CommandError` when it cannot begin."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        lines = await self._listen(_LINES_NAME, self._read_lines, 0o600)
        readers = await self._listen(SOCKET_NAME, self._tell, 0o660)
        chores = [asyncio.create_task(chore) for chore in (self._keep_running(), self._tick())]
        notify("READY=1")
        event(log, "BGP starts", neighbours=len(self._config.neighbours), local_as=self._config.local_as)
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *chores], return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in (*chores, *self._tasks):
            task.cancel()
        await self._end_child()
        for server, name in ((lines, _LINES_NAME), (readers, SOCKET_NAME)):
            server.close()
            (self._run_dir / name).unlink(missing_ok=True)
        (self._run_dir / _CONFIG_NAME).unlink(missing_ok=True)
        for ended in done:
            ended.result()

    async def _listen(self, name: str, serve: object, mode: int) -> asyncio.AbstractServer:
        path = self._run_dir / name
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise CommandError(f"{path}: another `oca bgp` is running", Exit.FAILED)
        try:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(serve, path, limit=_CHUNK_BYTES)  # type: ignore[arg-type]
            path.chmod(mode)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from None
        return server

    # exabgp

    async def _keep_running(self) -> None:
        """Starts exabgp, and again when it ends, ever more patiently."""
        wait_s = _RESTART_S
        while True:
            await self._wanted.wait()
            self._write_config()
            began = time.monotonic()
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "exabgp",
                "server",
                str(self._run_dir / _CONFIG_NAME),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **exabgp.environment()},
                start_new_session=True,
            )
            said = await self._follow(self._child)
            code = await self._child.wait()
            now = time.monotonic()
            self._rib.lost("exabgp ended", now)
            self._flush()
            if now - began > _MAX_RESTART_S:
                wait_s = _RESTART_S
            event(log, "exabgp ended", logging.ERROR, code=code, said=said, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _MAX_RESTART_S)

    async def _follow(self, child: asyncio.subprocess.Process) -> str:
        """Its last words. They are for debugging: what matters comes as JSON."""
        assert child.stdout is not None
        last = b""
        while data := await child.stdout.read(_CHUNK_BYTES):
            log.debug("exabgp: %s", data[:2000])
            last = (last + data)[-600:]
        return " ".join(last.decode(errors="replace").split())[-300:]

    def _write_config(self) -> None:
        helper = shlex.join(
            [sys.executable, "-I", "-S", str(Path(relay.__file__)), str(self._run_dir / _LINES_NAME)]
        )
        self._paused = self._rib.paused
        text = exabgp.configuration(self._config, helper, self._passwords, self._paused)
        path = self._run_dir / _CONFIG_NAME
        draft = path.with_suffix(".new")
        # It may hold passwords.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(draft, path)

    def _pause(self) -> None:
        """Ends or begins sessions as the RIB wants it; those of other neighbours go on."""
        all_paused = len(self._rib.paused) == len(self._rib.sessions)
        if all_paused:
            self._wanted.clear()
        else:
            self._wanted.set()
        self._write_config()
        if self._child is not None and self._child.returncode is None:
            # SIGUSR1: it reads its configuration again.
            self._child.send_signal(signal.SIGTERM if all_paused else signal.SIGUSR1)

    async def _end_child(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    async def _read_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the relay. A line that is too long is left out, and counted."""
        if not _same_user(writer):
            writer.close()
            return
        held = b""
        skipping = False
        while data := await reader.read(_CHUNK_BYTES):
            *lines, rest = (held + data).split(b"\n")
            if skipping and lines:
                del lines[0]
                skipping = False
            for line in lines:
                self._take(line)
            held = rest
            if len(held) > MAX_LINE_BYTES:
                self._bad(f"a line of more than {MAX_LINE_BYTES} bytes")
                held, skipping = b"", True
            self._flush()
        writer.close()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            happened = read_line(line, self._peerings)
        except BadLine as error:
            self._bad(str(error))
            return
        if happened is not None:
            self._rib.take(happened, time.monotonic())

    def _bad(self, why: str) -> None:
        self._bad_lines += 1
        if self._bad_lines == 1:
            event(log, "exabgp said what we do not understand", logging.ERROR, why=why[:300])

    async def _tick(self) -> None:
        watched, said = time.monotonic(), time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            self._rib.tick(now)
            if self._rib.paused != self._paused:
                self._pause()
            if now - said >= _STATUS_S:
                said = now
                self._status_due()
            self._flush()
            if now - watched >= (watchdog_interval_s() or _STATUS_S):
                watched = now
                notify("WATCHDOG=1")

    # Readers

    def _flush(self) -> None:
        """Says what happened: to the log once, to every reader what it has not heard."""
        for what, facts in self._rib.notices:
            level = logging.INFO if what in {"BGP session up", "BGP table whole"} else logging.WARNING
            event(log, what, level, **facts)
        if self._rib.notices:
            self._rib.notices.clear()
            self._status_due()
        changed, self._rib.changed = self._rib.changed, set()
        for reader in self._readers:
            reader.pending |= changed
            if reader.pending or (self._rib.whole and not reader.complete):
                reader.woken.set()

    def _status_due(self) -> None:
        for reader in self._readers:
            reader.status_due = True
            reader.woken.set()

    async def _tell(self, asker: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if await asker.read(1) == WANT_STATUS:
                writer.write(frame(self.status()))
                await writer.drain()
            elif len(self._readers) < _MAX_READERS:
                await self._tell_all(writer)
        writer.close()

    async def _tell_all(self, writer: asyncio.StreamWriter) -> None:
        reader = _Reader(writer)
        reader.pending = set(self._rib.routes)
        self._readers.add(reader)
        reader.woken.set()
        try:
            while True:
                await reader.woken.wait()
                reader.woken.clear()
                for message in self._news(reader):
                    writer.write(message)
                    await writer.drain()
        finally:
            self._readers.discard(reader)

    def _news(self, reader: _Reader) -> Iterator[bytes]:
        if reader.status_due:
            reader.status_due = False
            yield frame(self.status())
        if not reader.begun:
            reader.begun = True
            yield frame(Begin())
        while reader.pending:
            some = [reader.pending.pop() for _ in range(min(MAX_MESSAGE_PREFIXES, len(reader.pending)))]
            yield frame(_changes(some, self._rib.routes))
        if self._rib.whole and not reader.complete:
            reader.complete = True
            yield frame(Whole())

    def status(self) -> BgpStatus:
        now = time.monotonic()
        return BgpStatus(
            tuple(_neighbour_status(session, now) for session in self._rib.sessions.values()),
            len(self._rib.routes),
            self._rib.whole,
            self._bad_lines,
        )


def _neighbour_status(session: Session, now: float) -> NeighbourStatus:
    stopped = "stopped" if session.paused_until is not None else "down"
    return NeighbourStatus(
        session.config.address,
        session.config.remote_as,
        "up" if session.up else stopped,
        round(now - session.since, 1),
        session.why,
        len(session.routes),
        {verdict.name.lower(): count for verdict, count in sorted(session.refusals().items(), key=str)},
        len(session.stale),
        session.whole,
        session.config.max_prefixes,
        session.flaps,
    )


def _changes(prefixes: Iterable[str], routes: dict[str, Attributes]) -> Changes:
    announced: dict[Attributes, list[str]] = {}
    withdrawn = []
    for prefix in prefixes:
        attributes = routes.get(prefix)
        if attributes is None:
            withdrawn.append(prefix)
        else:
            announced.setdefault(attributes, []).append(prefix)
    return Changes(
        tuple(Announcement(attributes, tuple(texts)) for attributes, texts in announced.items()),
        tuple(withdrawn),
    )


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the process at the other end runs as we do."""
    sock = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return bool(uid == os.getuid())
