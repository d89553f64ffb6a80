"""Routers to speak to: a second exabgp, and Debian's bird2, both over loopback, and `oca bgp` itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from daemon.cli import CommandError
from oca.bgp.command import ask
from oca.bgp.config import Bgp
from oca.bgp.feed import BgpStatus, NeighbourStatus
from tests.appliance import free_port
from tests.waiting import PATIENCE_S, until

ROUTER, OURS = "127.0.0.1", "127.0.0.2"
ROUTER_AS, OUR_AS = 64501, 64500


def wait_until(what: Callable[[], object], true: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    until(true, what, within_s)


def section(port: int, **changes: Any) -> dict[str, Any]:
    """The section bgp of a configuration that calls the router at ``port``."""
    of_neighbour = {
        name: changes.pop(name) for name in ("password_file", "max_prefixes", "remote_as") if name in changes
    }
    neighbour = {
        "address": ROUTER,
        "local_address": OURS,
        "remote_as": ROUTER_AS,
        "port": port,
    } | of_neighbour
    return {"local_as": OUR_AS, "neighbours": [neighbour], "hold_time_s": 30, "settle_s": 60} | changes


@dataclass
class Ours:
    """`oca bgp` with a folder of its own."""

    root: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.root / "bgp.log").read_text()

    def status(self) -> BgpStatus | None:
        assert self.process.poll() is None, self.log
        try:
            return ask(self.root / "run")
        except CommandError:
            return None

    def neighbour(self) -> NeighbourStatus | None:
        status = self.status()
        return None if status is None else status.neighbours[0]

    def wait(
        self, true: Callable[[NeighbourStatus], object], within_s: float = PATIENCE_S
    ) -> NeighbourStatus:
        found: list[NeighbourStatus] = []

        def there() -> bool:
            now = self.neighbour()
            if now is not None and true(now):
                found.append(now)
            return bool(found)

        wait_until(lambda: f"{self.neighbour()}\n{self.log}", there, within_s)
        return found[0]


@contextmanager
def oca_bgp(root: Path, config: Path) -> Iterator[Ours]:
    with (root / "bgp.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "oca", "bgp", "--config", str(config)], stdout=log, stderr=log
        )
    try:
        yield Ours(root, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def speaking(root: Path, port: int, **changes: Any) -> Iterator[Ours]:
    """`oca bgp` without an appliance around it."""
    msgspec.convert(section(port, **changes), Bgp)
    (root / "disk").mkdir(exist_ok=True)
    config = root / "oca.yaml"
    document = {
        "appliance": "test-1",
        "run_dir": str(root / "run"),
        "state_dir": str(root / "state"),
        "disks": [{"path": str(root / "disk"), "capacity_bytes": 10**8}],
        "origin": {"bucket": "nowhere"},
        "require_signed_catalog": False,
        "auth": {"required": False},
        "bgp": section(port, **changes),
    }
    config.write_bytes(msgspec.json.encode(document))
    with oca_bgp(root, config) as ours:
        yield ours


@dataclass
class Bird:
    """Debian's bird2 as the ISP's router. ``routes``: lines of a static protocol, by family."""

    root: Path
    port: int = field(default_factory=free_port)
    password: str | None = None
    routes: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    filter: str = ""
    """Statements of the IPv4 export filter: MED leaves for another AS only when it is set there."""
    ours_as: int = OUR_AS
    process: subprocess.Popen[bytes] | None = None

    @property
    def control(self) -> Path:
        return self.root / "bird.ctl"

    def write(self) -> None:
        static = "".join(
            f"protocol static s{family} {{ ipv{family} {{ import all; }};\n"
            + "".join(f"  route {line};\n" for line in self.routes[family])
            + "}\n"
            for family in (4, 6)
        )
        password = "" if self.password is None else f'  password "{self.password}";\n'
        (self.root / "bird.conf").write_text(
            f"router id 192.0.2.1;\nlog stderr all;\nprotocol device {{}}\n{static}"
            f"protocol bgp oca {{\n  local {ROUTER} port {self.port} as {ROUTER_AS};\n"
            f"  neighbor {OURS} as {self.ours_as};\n  strict bind yes; passive yes; multihop;\n{password}"
            "  graceful restart on; connect delay time 1; error wait time 1, 2;\n"
            f"  ipv4 {{ export filter {{ {self.filter} accept; }}; import none; }};\n"
            "  ipv6 { export all; import none; next hop address 2001:db8::1; };\n}\n"
        )

    def tell(self, *command: str) -> str:
        done = subprocess.run(
            ["/usr/sbin/birdc", "-s", str(self.control), *command], capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def reconfigure(self) -> None:
        self.write()
        assert "econfigur" in self.tell("configure"), self.tell("show", "status")

    @contextmanager
    def running(self) -> Iterator[Bird]:
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        self.write()
        with (self.root / "bird.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/bird", "-f", "-c", str(self.root / "bird.conf"), "-s", str(self.control)],
                stderr=log,
            )
        wait_until(
            lambda: (self.root / "bird.log").read_text(), lambda: "BIRD" in self.tell("show", "status")
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def bird_or_skip() -> None:
    if shutil.which("bird", path="/usr/sbin") is None:
        if os.environ.get("CI"):
            pytest.fail("bird2 is missing, and CI must have it")
        pytest.skip("needs Debian's bird2")


@contextmanager
def exabgp_router(root: Path, announced: Iterable[str], router_as: int = ROUTER_AS) -> Iterator[int]:
    """A second exabgp that announces static routes (``PREFIX next-hop ... attributes``); its port."""
    port = free_port()
    static = "".join(f"        route {line};\n" for line in announced)
    config = root / "router.conf"
    config.write_text(
        f"neighbor {OURS} {{\n    router-id 192.0.2.1;\n    local-address {ROUTER};\n    local-as {router_as};\n"
        f"    peer-as {OUR_AS};\n    hold-time 30;\n    passive true;\n    listen {port};\n"
        "    family { ipv4 unicast; ipv6 unicast; }\n    capability { graceful-restart 60; }\n"
        f"    static {{\n{static}    }}\n}}\n"
    )
    environment = {
        "exabgp_daemon_drop": "false",
        "exabgp_api_cli": "false",
        "exabgp_tcp_bind": ROUTER,
        "exabgp_tcp_port": str(port),
        "exabgp_log_level": "WARNING",
    }
    with (root / "router.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "exabgp", "server", str(config)],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: (root / "router.log").read_text(), lambda: _listens(port))
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    """Seen without calling: a call would be taken for a neighbour."""
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in psutil.net_connections("tcp4")
    )
