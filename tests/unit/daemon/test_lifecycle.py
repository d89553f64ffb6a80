"""What systemd is told, over a real datagram socket, and how a child ends with its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.lifecycle import notify, watchdog_interval_s


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


@pytest.mark.parametrize("state", ["READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=all is well"])
def test_systemd_hears_each_state_as_one_datagram(systemd: socket.socket, state: str) -> None:
    notify(state)
    assert systemd.recv(1000) == state.encode()


def test_an_abstract_socket_is_one_whose_name_starts_with_an_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """sd_notify(3)."""
    name = f"nearcast-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("READY=1")
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "x" * 200, "@" + "x" * 200])
def test_a_notification_that_cannot_be_sent_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("10000000", None, 5.0),
        ("10000000", "", 5.0),
        ("10000000", "mine", 5.0),
        ("10000000", "1", None),  # meant for another process
        ("3000000", None, 1.5),
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
        ("-5", None, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_must_be(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, interval_s: float | None
) -> None:
    for name, value in (
        ("WATCHDOG_USEC", usec),
        ("WATCHDOG_PID", str(os.getpid()) if pid == "mine" else pid),
    ):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == interval_s


_PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
sys.stdin.read()
"""
_CHILD = """
import sys, time
from daemon.lifecycle import die_with_parent
die_with_parent(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_child_ends_with_its_parent_even_when_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid, ready = parent.stdout.readline().split()
    assert ready == "ready"
    parent.send_signal(signal.SIGKILL)
    parent.wait(20)
    for stream in (parent.stdin, parent.stdout):
        assert stream is not None
        stream.close()
    until = time.monotonic() + 20
    while _alive(int(pid)):
        assert time.monotonic() < until
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_a_parent_that_ended_before_the_call_is_noticed() -> None:
    """Nobody would send the signal any more."""
    done = subprocess.run([sys.executable, "-c", _CHILD, "1"], capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""


def test_a_shells_soft_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    code = "import resource; from daemon.lifecycle import allow_open_files; print(allow_open_files(400), "
    code += "*resource.getrlimit(resource.RLIMIT_NOFILE))"
    for soft, hard, most in ((64, 300, 300), (64, 512, 400), (450, 512, 450)):
        done = subprocess.run(
            ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.split() == [str(most), str(most), str(hard)]
