"""Varnish, the files in its memory, signed links checked by vmod-digest as nginx's secure_link does."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil

from bench.edge.client import fetch
from bench.edge.content import File, request
from bench.edge.nginx import SECRET, links
from bench.edge.servers import SERVER_CORE, Server, pin, wait_open
from tests.ports import free_port

_PROGRAM: Final = """
vcl 4.1;
import digest;
import std;
backend origin {{ .host = "127.0.0.1"; .port = "{origin_port}"; }}
sub vcl_recv {{
    set req.http.X-Path = regsub(req.url, "\\?.*$", "");
    set req.http.X-Mark = regsub(req.url, "^.*[?&]md5=([^&]*).*$", "\\1");
    set req.http.X-Expires = regsub(req.url, "^.*[?&]expires=([0-9]+).*$", "\\1");
    if (std.time(req.http.X-Expires, std.real2time(0, now)) < now) {{ return (synth(403)); }}
    if (req.http.X-Mark != digest.base64url_nopad_hex(
            digest.hash_md5(req.http.X-Expires + req.http.X-Path + " {secret}"))) {{
        return (synth(403));
    }}
    set req.url = req.http.X-Path;
    unset req.http.X-Path;
    unset req.http.X-Mark;
    unset req.http.X-Expires;
    return (hash);
}}
sub vcl_deliver {{
    unset resp.http.Via;
    unset resp.http.X-Varnish;
    # An answer's length must not change with time: the load counts bytes.
    unset resp.http.Age;
    set resp.http.Cache-Status = "varnish; hit";
}}
"""


@contextlib.contextmanager
def varnish(root: Path, origin_port: int, files: Iterable[File]) -> Iterator[Server]:
    """A warmed cache in front of ``origin_port``; raises FileNotFoundError where it is not installed."""
    program, log = (
        shutil.which(name) or shutil.which(f"/usr/sbin/{name}") for name in ("varnishd", "varnishncsa")
    )
    if program is None or log is None or not list(Path("/usr/lib").glob("*/varnish/vmods/libvmod_digest.so")):
        raise FileNotFoundError("Varnish: apt-get install varnish varnish-vmod-digest")
    root.mkdir()
    port = free_port()
    (root / "edge.vcl").write_text(_PROGRAM.format(origin_port=origin_port, secret=SECRET))
    pinned = ["taskset", "-c", str(SERVER_CORE)]
    process = subprocess.Popen(
        [
            *pinned, program, "-F", "-n", str(root / "work"), "-a", f"127.0.0.1:{port}", "-f",
            str(root / "edge.vcl"), "-s", "malloc,1g", "-j", "none", "-p", "thread_pools=1",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    logger = None
    try:
        wait_open(port, process, "Varnish")
        logger = subprocess.Popen(
            [*pinned, log, "-n", str(root / "work"), "-w", str(root / "access.log")],
            stderr=subprocess.DEVNULL,
        )
        link = links()
        for file in files:
            fetch(port, request(link(file.key), None), file.size)
        main = psutil.Process(process.pid)
        processes = [main, *main.children(recursive=True), psutil.Process(logger.pid)]
        pin(processes, SERVER_CORE)
        yield Server(
            "Varnish", port, None, tuple(item.pid for item in processes), link,
            note="Varnish speaks no TLS to clients; its log is varnishncsa, counted with it",
        )  # fmt: skip
    finally:
        if logger is not None:
            logger.terminate()
            logger.wait()
        process.terminate()
        process.wait()
