"""The pacing table's network: ``python -m bench.edge.line``, run in a network namespace of its own.

Our appliances stand here; the players stand in a second namespace, behind a veth pair. Its sending
end is either free or a line of 40 Mb/s with a queue of 64 KB (tbf). Prints a list of `Row`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.edge.content import TITLE, File, request
from bench.edge.household import Result, Task
from bench.edge.load import end_cleanly
from bench.edge.servers import Server, appliance
from tests.ports import free_port

BITRATE_BPS: Final = 3_000_000
SEGMENT_S: Final = 2
PLAYERS: Final = 3
FACTOR: Final = 3.0
BURST_S: Final = 2.0
LINE: Final = "40mbit"
_SEGMENT_BYTES: Final = BITRATE_BPS * SEGMENT_S // 8
_SEGMENTS: Final = 20
_HERE, _THERE = "10.99.0.1", "10.99.0.2"


class Plan(msgspec.Struct, frozen=True):
    seconds: float
    congestion_controls: tuple[str, ...]


class Row(msgspec.Struct, frozen=True):
    line: str
    congestion_control: str
    paced: bool
    sent_segments: int
    retransmitted: int
    result: Result


def main() -> int:
    end_cleanly()
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    file = File(f"{TITLE}/3000k.mp4", _SEGMENT_BYTES * _SEGMENTS, BITRATE_BPS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-edge-") as folder, _household() as inside:
        for control in plan.congestion_controls:
            for paced in (False, True):
                pacing = {"factor": FACTOR, "burst_s": BURST_S} if paced else None
                port = free_port()
                with appliance(
                    Path(folder) / f"{control}-{paced}", [file], pacing=pacing,
                    congestion_control=control, listen=f"{_HERE}:{port}",
                ) as server:  # fmt: skip
                    for line in ("free", LINE):
                        _set_line(line)
                        rows.append(_row(server, port, file, inside, line, control, paced, plan.seconds))
                        print(".", end="", file=sys.stderr, flush=True)
    sys.stdout.buffer.write(msgspec.json.encode(rows))
    return 0


def _row(
    server: Server, port: int, file: File, inside: list[str], line: str, control: str, paced: bool,
    seconds: float,
) -> Row:  # fmt: skip
    players = []
    for _ in range(PLAYERS):
        link = server.link(file.key)
        spans = [(at, at + _SEGMENT_BYTES) for at in range(0, file.size, _SEGMENT_BYTES)]
        players.append(tuple(request(link, span) for span in spans))
    with _echo() as echo_port:
        task = Task(_HERE, port, echo_port, tuple(players), _SEGMENT_BYTES, SEGMENT_S, seconds)
        sent, again = _tcp()
        done = subprocess.run(
            [*inside, sys.executable, "-m", "bench.edge.household"],
            input=msgspec.json.encode(task),
            stdout=subprocess.PIPE,
            check=True,
        )
    sent_now, again_now = _tcp()
    found = msgspec.json.decode(done.stdout, type=Result)
    return Row(line, control, paced, sent_now - sent, again_now - again, found)


@contextlib.contextmanager
def _household() -> Iterator[list[str]]:
    """Joins a second namespace to ours; the words before a command that is to run there."""
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    inside = ["nsenter", "--net", "--target", str(keeper.pid)]
    try:
        _ip("link set lo up")
        _ip("link add line type veth peer name home")
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{keeper.pid}/ns/net").readlink() == own:
            if keeper.poll() is not None:
                raise RuntimeError("unshare ended")
        _ip(f"link set home netns {keeper.pid}")
        _ip(f"addr add {_HERE}/24 dev line")
        _ip("link set line up")
        for words in (f"addr add {_THERE}/24 dev home", "link set home up"):
            subprocess.run([*inside, "ip", *words.split()], check=True)
        yield inside
    finally:
        keeper.kill()
        keeper.wait()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _set_line(line: str) -> None:
    subprocess.run(["tc", "qdisc", "del", "dev", "line", "root"], capture_output=True)
    if line != "free":
        shape = f"qdisc add dev line root tbf rate {line} burst 16kb limit 64kb"
        subprocess.run(["tc", *shape.split()], check=True)


@contextlib.contextmanager
def _echo() -> Iterator[int]:
    """A UDP port that sends back what comes, for as long as the context is open."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((_HERE, 0))

        def serve() -> None:
            while (got := sock.recvfrom(100))[0]:
                sock.sendto(*got)

        thread = threading.Thread(target=serve)
        thread.start()
        port: int = sock.getsockname()[1]
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (_HERE, port))
            thread.join()


def _tcp() -> tuple[int, int]:
    """Segments sent and sent again in this namespace so far."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    found = dict(zip(names, values, strict=True))
    return int(found["OutSegs"]), int(found["RetransSegs"])


if __name__ == "__main__":
    sys.exit(main())
