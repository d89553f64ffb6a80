"""Starts a load program on the client's core, hands it its task, reads its result."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from bench.edge.servers import CLIENT_CORE

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How long and how often, as the command line says."""

    seconds: float
    rounds: int
    quick: bool
    only: str


class Failed(Exception):
    """A load program ended without a result; what was wrong it has printed."""


def end_cleanly() -> None:
    """Makes a signal that ends us unwind what is open: the servers end with us."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda ended, _: sys.exit(128 + ended))


def start(program: str, task: msgspec.Struct, core: int = CLIENT_CORE) -> subprocess.Popen[bytes]:
    """The module ``program``, running; what it prints is for `result`."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, "-m", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(task))
    process.stdin.close()
    process.stdin = None
    return process


def result(process: subprocess.Popen[bytes], kind: type[T]) -> T:
    """What it found; raises `Failed` on a wrong answer."""
    printed, _ = process.communicate()
    if process.returncode != 0:
        raise Failed("the load ended early")
    return msgspec.json.decode(printed, type=kind)


def run(program: str, task: msgspec.Struct, kind: type[T], core: int = CLIENT_CORE) -> T:
    return result(start(program, task, core), kind)
