"""Caches that hold nothing yet: ours before S3 and before a plain origin, nginx and Varnish before the plain one."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.collapse.content import KEY, Content, nginx_program
from bench.edge.servers import wait_open
from contracts.catalog import media_key
from tests.appliance import free_port, running

_LIMITS: Final = {
    # All players are one network here.
    "requests_per_network": 10_000_000,
    "connections_per_network": 1_000_000,
}
_NGINX: Final = """
worker_processes {workers};
worker_rlimit_nofile 200000;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 30000; }}
http {{
    sendfile on;
    tcp_nodelay on;
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    proxy_cache_path {root}/cache levels=1:2 keys_zone=all:10m max_size=2g use_temp_path=off;
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache all;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 1h;
            proxy_cache_lock_age 1h;
            proxy_cache_valid 200 206 1h;
            {slicing}
        }}
    }}
}}
"""
_SLICING: Final = """slice 1m;
            proxy_cache_key $uri$slice_range;
            proxy_set_header Range $slice_range;"""
_VCL: Final = 'vcl 4.1;\nbackend origin { .host = "127.0.0.1"; .port = "%d"; }\n'


@dataclass(frozen=True)
class Cache:
    """A cache that is up. ``path`` is the file's at the upstream."""

    port: int
    process: psutil.Process
    path: str
    pulled_bytes: Callable[[], int] | None = None
    """What it says itself that it fetched, of everything."""

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """Our edge workers."""
        return [item for item in self.processes() if "edge" in item.cmdline()]


@dataclass(frozen=True)
class Contender:
    """``start(root, upstream_port, content)`` is a fresh cache in the folder ``root``."""

    name: str
    start: Callable[[Path, int, Content], AbstractContextManager[Cache]]
    from_s3: bool = False


@contextmanager
def ours(root: Path, upstream_port: int, content: Content, *, workers: int, http: bool) -> Iterator[Cache]:
    """An appliance before S3, or with ``http`` before the plain origin as a cache by RFC 9111."""
    root.mkdir()
    config = content.s3.config
    changes: dict[str, Any] = {
        "origin": {
            "bucket": config.bucket,
            "endpoint_url": f"http://127.0.0.1:{upstream_port}",
            "region": config.region,
            "credentials_file": config.credentials_file,
        }
    }
    if http:
        changes = {"origin": None, "http_origins": [{"url": f"http://127.0.0.1:{upstream_port}"}]}
    disks = [{"path": str(root / name), "capacity_bytes": 4 << 30} for name in ("disk1", "disk2")]
    with running(root, workers=workers, disks=disks, limits=_LIMITS, cors_origins=[], **changes) as made:

        def pulled() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{made.admin}/v1/status", timeout=30) as answer:
                return sum(item["bytes"] for item in json.load(answer)["upstreams"])

        path = f"/{KEY}" if http else f"/{config.bucket}/{media_key(KEY)}"
        yield Cache(made.port, psutil.Process(made.process.pid), path, pulled)


@contextmanager
def nginx(root: Path, upstream_port: int, _: Content, *, workers: int, sliced: bool) -> Iterator[Cache]:
    """A proxy cache with ``proxy_cache_lock``; raises FileNotFoundError where it is not installed."""
    program = nginx_program()
    root.mkdir()
    # Its worker gives up root's rights, and writes the cache.
    root.chmod(0o777)
    port = free_port()
    config = root / "nginx.conf"
    slicing = _SLICING if sliced else ""
    config.write_text(
        _NGINX.format(root=root, workers=workers, port=port, upstream=upstream_port, slicing=slicing)
    )
    command = [program, "-c", str(config), "-p", str(root), "-e", str(root / "error.log")]
    with _run(command, port, "nginx") as process:
        yield Cache(port, process, f"/{KEY}")


@contextmanager
def varnish(root: Path, upstream_port: int, _: Content) -> Iterator[Cache]:
    """Varnish as it comes, in memory; raises FileNotFoundError where it is not installed."""
    program = shutil.which("varnishd") or shutil.which("/usr/sbin/varnishd")
    if program is None:
        raise FileNotFoundError("Varnish is not installed: apt-get install varnish")
    root.mkdir()
    (root / "edge.vcl").write_text(_VCL % upstream_port)
    port = free_port()
    # Each of its waiting clients is a thread, once there is something to send.
    command = [
        *(program, "-F", "-n", str(root / "work"), "-a", f"127.0.0.1:{port}", "-f", str(root / "edge.vcl")),
        *("-s", "malloc,1g", "-j", "none", "-p", "thread_pool_max=5000", "-p", "listen_depth=4096"),
    ]
    with _run(command, port, "Varnish") as process:
        yield Cache(port, process, f"/{KEY}")


@contextmanager
def _run(command: list[str], port: int, what: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_open(port, process, what)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


CONTENDERS: Final = (
    Contender("nearcast, 1 worker", lambda *args: ours(*args, workers=1, http=False), from_s3=True),
    Contender("nearcast, 2 workers", lambda *args: ours(*args, workers=2, http=False), from_s3=True),
    Contender("nearcast, plain origin, 1 worker", lambda *args: ours(*args, workers=1, http=True)),
    Contender("nginx, 1 worker", lambda *args: nginx(*args, workers=1, sliced=False)),
    Contender("nginx, slice 1m, 1 worker", lambda *args: nginx(*args, workers=1, sliced=True)),
    Contender("Varnish", varnish),
)
