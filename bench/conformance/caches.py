"""Four shared caches before one origin, each told to be a correct one as far as it can be told.

What each is told stands beside it; where a default breaks a rule of RFC 9111 that a setting keeps, it is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.collapse.content import nginx_program
from bench.edge.servers import wait_open
from tests.appliance import free_port, running

_NGINX: Final = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    proxy_cache_path {root}/cache levels=1:2 keys_zone=all:10m max_size=1g use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{origin};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache all;
            proxy_cache_revalidate on;
        }}
    }}
}}
"""
_VCL: Final = 'vcl 4.1;\nbackend origin { .host = "127.0.0.1"; .port = "%d"; }\n'
_VARNISH: Final = ("-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600")
_RECORDS: Final = {
    "exec_thread.autoconfig": "INT 0",
    "exec_thread.limit": "INT 1",
    "accept_threads": "INT 0",
    "task_threads": "INT 1",
    "admin.user_id": "STRING #-1",
    "http.server_ports": "STRING {port}:ip-in=127.0.0.1",
    "url_remap.remap_required": "INT 1",
    "cache.ram_cache.size": "INT 268435456",
    "cache.threads_per_disk": "INT 1",
    "log.logging_enabled": "INT 0",
    "diags.debug.enabled": "INT 0",
    "http.wait_for_cache": "INT 2",
    # A shared cache may guess where Last-Modified is there (0 would guess for all), and obeys what a client asks.
    "http.cache.required_headers": "INT 1",
    "http.cache.ignore_client_cc_max_age": "INT 0",
    "http.cache.ignore_client_no_cache": "INT 0",
    "http.cache.cache_responses_to_cookies": "INT 1",
    "http.insert_response_via_str": "INT 0",
}
_ALLOWED: Final = "ip_allow: [{apply: in, ip_addrs: 127.0.0.0/8, action: allow, methods: ALL}]\n"


@dataclass(frozen=True)
class Contender:
    """``start(root, origin_port)`` gives the port of a fresh cache; raises FileNotFoundError without its program."""

    name: str
    start: Callable[[Path, int], AbstractContextManager[int]]
    told: str


@contextmanager
def ours(root: Path, origin_port: int) -> Iterator[int]:
    root.mkdir()
    source = {"url": f"http://127.0.0.1:{origin_port}", "strict": True}
    with running(root, origin=None, http_origins=[source], cors_origins=[]) as made:
        yield made.port


@contextmanager
def nginx(root: Path, origin_port: int) -> Iterator[int]:
    program = nginx_program()
    root.mkdir()
    root.chmod(0o777)  # its worker gives up root's rights
    port = free_port()
    config = root / "nginx.conf"
    config.write_text(_NGINX.format(root=root, port=port, origin=origin_port))
    with _run([program, "-c", str(config), "-p", str(root), "-e", str(root / "error.log")], port, "nginx"):
        yield port


@contextmanager
def varnish(root: Path, origin_port: int) -> Iterator[int]:
    program = shutil.which("varnishd") or shutil.which("/usr/sbin/varnishd")
    if program is None:
        raise FileNotFoundError("Varnish is not installed: apt-get install varnish")
    root.mkdir()
    (root / "edge.vcl").write_text(_VCL % origin_port)
    port = free_port()
    command = [
        *(program, "-F", "-n", str(root / "work"), "-a", f"127.0.0.1:{port}", "-f", str(root / "edge.vcl")),
        *("-s", "malloc,256m", "-j", "none", *_VARNISH),
    ]
    with _run(command, port, "Varnish"):
        yield port


@contextmanager
def trafficserver(root: Path, origin_port: int) -> Iterator[int]:
    program = shutil.which("traffic_server")
    if program is None:
        raise FileNotFoundError("Traffic Server is not installed: apt-get install trafficserver")
    root.mkdir()
    for name in ("etc", "log", "run", "cache"):
        (root / name).mkdir()
    modules = Path("/usr/lib/trafficserver/modules")
    folders = {
        "prefix": root, "exec_prefix": root, "bindir": "/usr/bin", "sbindir": "/usr/sbin",
        "sysconfdir": root / "etc", "datadir": root / "cache", "includedir": root, "libdir": modules.parent,
        "libexecdir": modules, "localstatedir": root, "runtimedir": root / "run", "logdir": root / "log",
        "cachedir": root / "cache",
    }  # fmt: skip
    (root / "runroot.yaml").write_text("".join(f"{name}: {path}\n" for name, path in folders.items()))
    port, etc = free_port(), root / "etc"
    (etc / "records.config").write_text(
        "".join(f"CONFIG proxy.config.{name} {value.format(port=port)}\n" for name, value in _RECORDS.items())
    )
    (etc / "storage.config").write_text(f"{root}/cache 256M\n")
    (etc / "ip_allow.yaml").write_text(_ALLOWED)
    (etc / "remap.config").write_text(f"map http://127.0.0.1:{port}/ http://127.0.0.1:{origin_port}/\n")
    environment = {"TS_RUNROOT": f"{root}/runroot.yaml"}
    with _run([program, f"--run-root={root}/runroot.yaml"], port, "Traffic Server", environment):
        yield port


@contextmanager
def _run(
    command: list[str], port: int, what: str, environment: dict[str, str] | None = None
) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    try:
        wait_open(port, process, what)
        yield
    finally:
        process.terminate()
        process.wait()


CONTENDERS: Final = (
    Contender("nearcast", ours, "http_origins, strict: no guess but the RFC's own"),
    Contender("nginx", nginx, "proxy_cache, proxy_cache_revalidate"),
    Contender("Varnish", varnish, "no VCL but its own; default_ttl 0, default_grace 0, default_keep 3600"),
    Contender("Traffic Server", trafficserver, "required_headers 1, clients' Cache-Control obeyed"),
)
