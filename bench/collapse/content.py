"""The one file that everybody wants: in S3 with its catalog, and in a folder that nginx serves as a plain origin."""

from __future__ import annotations

import random
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from bench.edge.servers import wait_open
from contracts.catalog import CatalogObject, Kind, TitleEntry, media_key
from daemon.s3 import open_client
from demo.origin import OriginServer
from fill.publish.index import write_catalog
from fill.version import version_name
from tests.appliance import free_port, published

KEY: Final = "tt0001/1080p/video.mp4"
_PLAIN: Final = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 8192; }}
http {{
    types {{ video/mp4 mp4; }}
    sendfile on;
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root}/media;
        add_header Cache-Control "public, max-age=31536000, immutable";
    }}
}}
"""


@dataclass(frozen=True)
class Content:
    """The file and where it is to be had; ``digest`` is its xxh3-128 in hexadecimal."""

    size: int
    digest: str
    s3: OriginServer
    plain_port: int


@contextmanager
def content(root: Path, size: int, s3: OriginServer) -> Iterator[Content]:
    """Puts it into both; raises FileNotFoundError where nginx is not installed."""
    data = random.Random(KEY).randbytes(size)
    item = published(KEY, data)
    client = open_client(s3.config)
    client.put_object(Bucket=s3.config.bucket, Key=media_key(KEY), Body=data)
    title = KEY.partition("/")[0]
    manifests = [
        CatalogObject(f"{title}/{name}", 0, "text/plain", '"m"', 0, b"", Kind.MANIFEST)
        for name in ("m.m3u8", "m.mpd")
    ]
    entry = TitleEntry(title, 0, 60.0, (item, *manifests), manifests[0].key, manifests[1].key)
    write_catalog(client, s3.config.bucket, version_name(time.time(), secrets.token_bytes(3)), entry)
    client.close()
    with plain_origin(root / "plain", KEY, data) as port:
        yield Content(size, xxhash.xxh3_128_hexdigest(data), s3, port)


def nginx_program() -> str:
    """Raises FileNotFoundError where it is not installed."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx")
    return program


@contextmanager
def plain_origin(root: Path, key: str, data: bytes) -> Iterator[int]:
    """A static server of ``data`` as ``/key``; its port."""
    program = nginx_program()
    path = root / "media" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    for folder in (*root.parents[:1], root, *path.parents[: len(key.split("/"))]):
        folder.chmod(0o755)  # its worker gives up root's rights
    path.chmod(0o644)
    port = free_port()
    config = root / "nginx.conf"
    config.write_text(_PLAIN.format(root=root, port=port))
    process = subprocess.Popen([program, "-c", str(config), "-p", str(root), "-e", str(root / "error.log")])
    try:
        wait_open(port, process, "the plain origin")
        yield port
    finally:
        process.terminate()
        process.wait()
