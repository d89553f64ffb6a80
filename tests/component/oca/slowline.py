"""A real appliance and its player on two ends of a line: run in a network namespace of its own by `test_slow_line`.

``python -m tests.component.oca.slowline FOLDER``: prints, for each kind of line and player, how many sessions starved at most.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from contracts import ingest
from contracts.objectkey import title_of
from steering.keys import Paths, Signer, make
from tests import appliance
from tests.waiting import PATIENCE_S, until

HERE, THERE, PORT = "10.99.0.1", "10.99.0.2", 8080
KEY = "tt1/5000k.mp4"
BITRATE_BPS = 5_000_000
BYTES = 6_000_000
"""Of one answer: ten seconds of video, and more than the kernel holds for a client that is slow to take it."""
TAKES_BPS = 3_000_000
LINE = "tbf rate 3mbit burst 16kb limit 64kb"


def main() -> None:
    folder = Path(sys.argv[1])
    paths = Paths(folder / "steering")
    make(paths, new_api_key=False)
    signer = Signer.load(paths)
    (root := folder / "box").mkdir()
    config = {
        "listen": f"{HERE}:{PORT}",
        "auth": {"required": True, "keys_file": str(paths.public)},
        "steering": {"urls": [], "votes_interval_s": 1},
    }
    found = {}
    with line() as inside, appliance.running(root, **config) as box:
        put(box, os.urandom(BYTES))
        for name, shape, takes_bps in (
            ("free line, and a player that plays along", None, TAKES_BPS),
            ("slow line, and a player that would take more", LINE, 0),
        ):
            if shape is not None:
                subprocess.run(["tc", "qdisc", "add", "dev", "near", "root", *shape.split()], check=True)
            token, _ = signer.sign(title_of(KEY), f"session-{len(found)}", time.time(), 3600)
            player = subprocess.Popen([*inside, sys.executable, "-m", __spec__.name, token, str(takes_bps)])
            most = 0.0
            while player.poll() is None:
                most = max(most, starved(box))
                time.sleep(0.1)
            assert player.returncode == 0
            found[name] = max(most, until(lambda: [starved(box)])[0])
            until(lambda: starved(box) == 0.0)
    print(json.dumps(found))


def put(box: appliance.Appliance, data: bytes) -> None:
    item = msgspec.structs.replace(appliance.published(KEY, data), bitrate_bps=BITRATE_BPS)
    reply = box.ingest(ingest.Reserve(item))
    assert isinstance(reply, ingest.Reserved), reply
    with open(reply.path, "r+b") as file:
        file.write(data)
    assert isinstance(box.ingest(ingest.Commit(KEY)), ingest.Committed)


def starved(box: appliance.Appliance) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{box.admin}/v1/status", timeout=PATIENCE_S) as answer:
        return float((json.load(answer)["players"] or {"starved": 0.0})["starved"])


def play(token: str, takes_bps: int) -> None:
    """One answer, no faster than ``takes_bps``; 0 is as fast as it comes."""
    with socket.socket() as sock:
        if takes_bps:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        sock.connect((HERE, PORT))
        sock.sendall(f"GET /URISigningPackage={token}/{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head, _, body = sock.recv(64 << 10).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        left, began = BYTES - len(body), time.monotonic()
        while left:
            got = len(sock.recv(min(left, 64 << 10)))
            assert got, f"{left} bytes are missing"
            left -= got
            while (time.monotonic() - began) * takes_bps < (BYTES - left) * 8 and takes_bps:
                time.sleep(0.01)


@contextmanager
def line() -> Iterator[list[str]]:
    """Joins a second namespace to ours; the words before a command that is to run there."""
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    inside = ["nsenter", "--net", "--target", str(keeper.pid)]
    try:
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{keeper.pid}/ns/net") != own)
        for words in (
            "link set lo up",
            "link add near type veth peer name far",
            f"link set far netns {keeper.pid}",
            f"addr add {HERE}/24 dev near",
            "link set near up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        for words in (f"addr add {THERE}/24 dev far", "link set far up"):
            subprocess.run([*inside, "ip", *words.split()], check=True)
        yield inside
    finally:
        keeper.kill()
        keeper.wait()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        play(sys.argv[1], int(sys.argv[2]))
    else:
        main()
