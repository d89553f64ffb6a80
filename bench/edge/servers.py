"""A server under test, and ours: an appliance that holds every file it is given.

All servers check a signed link on each request, log, and send ETag, Last-Modified, Accept-Ranges and a
Cache-Control; what one of them cannot do stands in its ``note``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from bench.edge.content import TITLE, File
from contracts import ingest
from steering.keys import Paths, Signer, make
from tests import certificates
from tests.appliance import Appliance, published, running
from tests.ports import free_port

SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1


@dataclass(frozen=True, eq=False)
class Server:
    """A server that is up; it speaks TLS on ``tls_port``. ``pids`` are all of its processes."""

    name: str
    port: int
    tls_port: int | None
    pids: tuple[int, ...]
    link: Callable[[str], str]
    """A request target for a key, signed for a viewer who was never here before."""
    note: str = ""
    """What it does not do that the others do."""
    any_query: bool = True
    """Whether a link may carry other words beside its signature."""

    def memory_bytes(self) -> int:
        """Proportional set size of all processes: shared pages count once."""
        return sum(psutil.Process(pid).memory_full_info().pss for pid in self.pids)


@contextlib.contextmanager
def appliance(
    root: Path,
    files: Iterable[File],
    *,
    workers: int = 1,
    cores: tuple[int, ...] = (SERVER_CORE,),
    name: str = "nearcast",
    **changes: object,
) -> Iterator[Server]:
    """An appliance of ours; worker ``i`` is pinned to ``cores[i]``, the rest to the first of them."""
    root.mkdir()
    paths = Paths(root / "steering")
    make(paths, new_api_key=False)
    signer, number = Signer.load(paths), itertools.count()
    auth = {"required": True, "keys_file": str(paths.public)}
    certificate, key = certificates.make(root)
    tls_port = free_port()
    tls = {"certificate_file": str(certificate), "key_file": str(key), "listen": f"127.0.0.1:{tls_port}"}
    disks = [{"path": str(root / disk), "capacity_bytes": 64 << 30} for disk in ("disk1", "disk2")]
    # All of the load comes from few networks here.
    limits = {
        "requests_per_network": 10_000_000,
        "requests_per_connection": 1_000_000_000,
        "connections_per_network": 1_000_000,
    }
    config: dict[str, Any] = {
        "auth": auth,
        "disks": disks,
        "tls": tls,
        "limits": limits,
        "workers": workers,
        **changes,
    }

    def link(key: str) -> str:
        token, _ = signer.sign(TITLE, f"viewer-{next(number)}", time.time(), 86400)
        return f"/URISigningPackage={token}/{key}"

    with running(root, **config) as made:
        for file in files:
            hold(made, file)
        supervisor = psutil.Process(made.process.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        pin(processes, cores[0])
        edges = [item for item in processes if "edge" in item.cmdline()]
        for item, core in zip(edges, itertools.cycle(cores)):
            pin([item], core)
        yield Server(name, made.port, tls_port, tuple(item.pid for item in processes), link)


def hold(made: Appliance, file: File) -> None:
    """Puts a file into the store, as the fill does."""
    data = file.body()
    item = msgspec.structs.replace(published(file.key, data), bitrate_bps=file.bitrate_bps)
    reply = made.ingest(ingest.Reserve(item))
    if not isinstance(reply, ingest.Reserved):
        raise RuntimeError(f"{file.key}: {reply}")
    with open(reply.path, "r+b") as staged:
        staged.write(data)
    reply = made.ingest(ingest.Commit(file.key))
    if not isinstance(reply, ingest.Committed):
        raise RuntimeError(f"{file.key}: {reply}")


def pin(processes: Iterable[psutil.Process], core: int) -> None:
    for process in processes:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def wait_open(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not start")
