"""nginx with what its tuning guides name: sendfile, tcp_nopush, open_file_cache, a buffered access log."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil

from bench.edge.content import File
from bench.edge.servers import SERVER_CORE, Server, pin, wait_open
from tests import certificates
from tests.ports import free_port

SECRET: Final = "bench"
_CONFIG: Final = """
worker_processes {workers};
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 30000; }}
http {{
    types {{ video/mp4 m4s mp4; }}
    sendfile on;
    {aio}
    tcp_nopush {nopush};
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    open_file_cache max=10000 inactive=60s;
    open_file_cache_valid 60s;
    access_log {root}/access.log combined buffer=64k flush=1s;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    add_header Cache-Control "public, max-age=31536000, immutable";
    add_header Access-Control-Allow-Origin *;
    add_header Timing-Allow-Origin *;
    add_header Access-Control-Expose-Headers "Cache-Status, Content-Range, Content-Length, Date, ETag";
    root {media};
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        listen 127.0.0.1:{tls_port} ssl backlog=4096 reuseport;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_buffer_size 256k;
        ssl_session_cache shared:s:10m;
        ssl_session_tickets on;
        location / {{
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
    # For caches in front: they check the link themselves.
    server {{ listen 127.0.0.1:{origin_port}; access_log off; }}
}}
"""
_THREADS: Final = "aio threads; directio off;"
# With both, the end of an answer now and then waits 40 ms for the client's delayed acknowledgement.
_NOPUSH_WITH_THREADS: Final = "off"


def write_media(media: Path, files: Iterable[File]) -> None:
    for file in files:
        path = media / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body())


@contextlib.contextmanager
def nginx(
    root: Path,
    media: Path,
    *,
    workers: int = 1,
    name: str = "nginx",
    aio_threads: bool = False,
    origin_port: int | None = None,
) -> Iterator[Server]:
    """Serves the folder ``media``; raises FileNotFoundError where it is not installed."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx")
    root.mkdir()
    # Its worker gives up root's rights and must still reach the files.
    for folder in (root, media, *root.parents[:1]):
        folder.chmod(0o755)
    port, tls_port = free_port(), free_port()
    certificate, private = certificates.make(root)
    config = root / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            root=root,
            media=media,
            workers=workers,
            aio=_THREADS if aio_threads else "",
            nopush=_NOPUSH_WITH_THREADS if aio_threads else "on",
            secret=SECRET,
            port=port,
            tls_port=tls_port,
            origin_port=origin_port or free_port(),
            certificate=certificate,
            key=private,
        )
    )
    process = subprocess.Popen([program, "-c", str(config), "-p", str(root), "-e", str(root / "error.log")])
    try:
        wait_open(port, process, f"nginx ({root / 'error.log'})")
        master = psutil.Process(process.pid)
        processes = [master, *master.children(recursive=True)]
        pin(processes, SERVER_CORE)
        yield Server(name, port, tls_port, tuple(item.pid for item in processes), links())
    finally:
        process.terminate()
        process.wait()


def links() -> Callable[[str], str]:
    """Signs a key for secure_link, with another expiry each time."""
    expiries = itertools.count(int(time.time()) + 86400)
    return lambda key: _signed(f"/{key}", next(expiries))


def _signed(path: str, expires: int) -> str:
    digest = hashlib.md5(f"{expires}{path} {SECRET}".encode(), usedforsecurity=False).digest()
    mark = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"{path}?md5={mark}&expires={expires}"
