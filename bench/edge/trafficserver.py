"""Apache Traffic Server, the files in its cache, signed links checked by its url_sig plugin."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil

from bench.edge.client import fetch
from bench.edge.content import File, request
from bench.edge.servers import SERVER_CORE, Server, pin, wait_open
from tests.ports import free_port

_MODULES: Final = Path("/usr/lib/trafficserver/modules")
_SECRET: Final = "benchbenchbench0"
_HOST: Final = "edge.example.net:8080"
_RECORDS: Final = {
    "exec_thread.autoconfig": "INT 0",
    "exec_thread.limit": "INT 1",
    "exec_thread.affinity": "INT 0",
    "accept_threads": "INT 0",
    "task_threads": "INT 1",
    "admin.user_id": "STRING #-1",
    "http.server_ports": "STRING {port}:ip-in=127.0.0.1",
    "http.insert_response_via_str": "INT 0",
    "http.cache.required_headers": "INT 0",
    # An answer's length must not change with time: the load counts bytes.
    "http.insert_age_in_response": "INT 0",
    "cache.ram_cache.size": "INT 1073741824",
    "cache.ram_cache_cutoff": "INT 8388608",
    "cache.threads_per_disk": "INT 1",
    "url_remap.remap_required": "INT 1",
    "log.logging_enabled": "INT 3",
    "diags.debug.enabled": "INT 0",
    "http.keep_alive_no_activity_timeout_in": "INT 120",
}  # fmt: skip
_ALLOWED: Final = "ip_allow: [{apply: in, ip_addrs: 127.0.0.0/8, action: allow, methods: ALL}]\n"
_LOGGING: Final = """
logging:
  formats:
    - name: combined
      format: '%<chi> - %<caun> [%<cqtn>] "%<cqtx>" %<pssc> %<pscl> "%<{Referer}cqh>" "%<{User-agent}cqh>"'
  logs:
    - filename: access
      format: combined
"""


@contextlib.contextmanager
def trafficserver(root: Path, origin_port: int, files: Iterable[File]) -> Iterator[Server]:
    """A warmed cache in front of ``origin_port``; raises FileNotFoundError where it is not installed."""
    program = shutil.which("traffic_server")
    if program is None or not (_MODULES / "url_sig.so").exists():
        raise FileNotFoundError(
            "Traffic Server: apt-get install trafficserver trafficserver-experimental-plugins"
        )
    root.mkdir()
    port = free_port()
    _configure(root, port, origin_port)
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), program, f"--run-root={root}/runroot.yaml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TS_RUNROOT": f"{root}/runroot.yaml"},
    )
    try:
        wait_open(port, process, f"Traffic Server ({root / 'log'})")
        expiries = itertools.count(int(time.time()) + 86400)

        def link(key: str) -> str:
            return _signed(f"/{key}", next(expiries))

        for file in files:
            fetch(port, request(link(file.key), None), file.size)
        main = psutil.Process(process.pid)
        processes = [main, *main.children(recursive=True)]
        pin(processes, SERVER_CORE)
        yield Server("Traffic Server", port, None, tuple(item.pid for item in processes), link, note=(
            "Traffic Server's url_sig admits no other query beside its own"
        ), any_query=False)  # fmt: skip
    finally:
        process.terminate()
        process.wait()


def _configure(root: Path, port: int, origin_port: int) -> None:
    for name in ("etc", "log", "run", "cache"):
        (root / name).mkdir()
    folders = {
        "prefix": root, "exec_prefix": root, "bindir": "/usr/bin", "sbindir": "/usr/sbin",
        "sysconfdir": root / "etc", "datadir": root / "cache", "includedir": root, "libdir": _MODULES.parent,
        "libexecdir": _MODULES, "localstatedir": root, "runtimedir": root / "run", "logdir": root / "log",
        "cachedir": root / "cache",
    }  # fmt: skip
    (root / "runroot.yaml").write_text("".join(f"{name}: {path}\n" for name, path in folders.items()))
    etc = root / "etc"
    records = {name: value.format(port=port) for name, value in _RECORDS.items()}
    (etc / "records.config").write_text(
        "".join(f"CONFIG proxy.config.{name} {value}\n" for name, value in records.items())
    )
    (etc / "storage.config").write_text(f"{root}/cache 512M\n")
    (etc / "url_sig.config").write_text(f"key0 = {_SECRET}\nerror_url = 403\n")
    (etc / "ip_allow.yaml").write_text(_ALLOWED)
    (etc / "logging.yaml").write_text(_LOGGING)
    (etc / "remap.config").write_text(
        f"map http://{_HOST}/ http://127.0.0.1:{origin_port}/ @plugin=url_sig.so @pparam={etc}/url_sig.config\n"
    )


def _signed(path: str, expires: int) -> str:
    """As url_sig wants it: algorithm 2 is HMAC with MD5, parts 01 is the path without the host."""
    target = f"{path}?E={expires}&A=2&K=0&P=01&S="
    return target + hmac.new(_SECRET.encode(), target[1:].encode(), "md5").hexdigest()
