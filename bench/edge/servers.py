"""The servers side by side: an appliance with one edge worker, and nginx with one worker.

Both check a signed link on each request, log, and send ETag, Last-Modified, Accept-Ranges and a
Cache-Control. nginx has what its tuning guides name: sendfile, tcp_nopush, open_file_cache, a
buffered access log.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.edge.content import TITLE, body, keys
from steering.keys import Paths, Signer, make
from tests import certificates
from tests.appliance import free_port, running

SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1

_SECRET: Final = "bench"
_NGINX: Final = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 30000; }}
http {{
    types {{ video/mp4 m4s mp4; }}
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    open_file_cache max=10000 inactive=60s;
    open_file_cache_valid 60s;
    access_log {root}/access.log combined buffer=64k flush=1s;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_buffer_size 256k;
        ssl_session_cache shared:s:10m;
        ssl_session_tickets on;
        location / {{
            root {root}/media;
            secure_link $arg_md5,$arg_expires;
            secure_link_md5 "$secure_link_expires$uri {secret}";
            if ($secure_link = "") {{ return 403; }}
            if ($secure_link = "0") {{ return 403; }}
            add_header Cache-Control "public, max-age=31536000, immutable";
            add_header Cache-Status "nginx; hit";
            add_header Access-Control-Allow-Origin *;
            add_header Timing-Allow-Origin *;
            add_header Access-Control-Expose-Headers "Cache-Status, Content-Range, Content-Length, Date, ETag";
        }}
    }}
}}
"""


@dataclass(frozen=True, eq=False)
class Server:
    """A server that is up; it speaks TLS on ``tls_port``. ``pids`` are all of its processes."""

    name: str
    port: int
    tls_port: int
    pids: tuple[int, ...]
    links: dict[str, str]
    """Request target, signed, by key."""

    def memory_bytes(self) -> int:
        """Proportional set size of all processes: shared pages count once."""
        return sum(psutil.Process(pid).memory_full_info().pss for pid in self.pids)


@contextlib.contextmanager
def appliance(root: Path) -> Iterator[Server]:
    """An appliance of ours, holding every file."""
    root.mkdir()
    paths = Paths(root / "steering")
    make(paths, new_api_key=False)
    token, _ = Signer.load(paths).sign(TITLE, "bench", time.time(), 86400)
    auth = {"required": True, "keys_file": str(paths.public)}
    certificate, key = certificates.make(root)
    tls_port = free_port()
    tls = {"certificate_file": str(certificate), "key_file": str(key), "listen": f"127.0.0.1:{tls_port}"}
    disks = [{"path": str(root / name), "capacity_bytes": 1 << 30} for name in ("disk1", "disk2")]
    # All of the load comes from one network here.
    limits = {"requests_per_network": 10_000_000, "requests_per_connection": 1_000_000_000}
    with running(root, auth=auth, disks=disks, tls=tls, limits=limits) as made:
        for name in keys():
            made.put(name, body(name))
        supervisor = psutil.Process(made.process.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        _pin(processes)
        links = {name: f"/URISigningPackage={token}/{name}" for name in keys()}
        yield Server("nearcast", made.port, tls_port, tuple(process.pid for process in processes), links)


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Server]:
    """A tuned nginx over the same files; raises FileNotFoundError where it is not installed."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx")
    root.mkdir()
    for key in keys():
        path = root / "media" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body(key))
    # Its worker gives up root's rights and must still reach the files.
    for folder in (root, *root.parents[:1]):
        folder.chmod(0o755)
    port, tls_port = free_port(), free_port()
    certificate, private = certificates.make(root)
    config = root / "nginx.conf"
    config.write_text(
        _NGINX.format(
            root=root, port=port, tls_port=tls_port, certificate=certificate, key=private, secret=_SECRET
        )
    )
    process = subprocess.Popen([program, "-c", str(config), "-p", str(root), "-e", str(root / "error.log")])
    try:
        _wait_open(port, process)
        master = psutil.Process(process.pid)
        processes = [master, *master.children(recursive=True)]
        _pin(processes)
        links = {key: _signed(f"/{key}") for key in keys()}
        yield Server("nginx", port, tls_port, tuple(item.pid for item in processes), links)
    finally:
        process.terminate()
        process.wait()


def _signed(path: str) -> str:
    expires = int(time.time()) + 86400
    digest = hashlib.md5(f"{expires}{path} {_SECRET}".encode(), usedforsecurity=False).digest()
    mark = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"{path}?md5={mark}&expires={expires}"


def _pin(processes: list[psutil.Process]) -> None:
    for process in processes:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {SERVER_CORE})


def _wait_open(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx did not start: see its error.log")
