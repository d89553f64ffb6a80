"""Runs ffmpeg: in processes of their own that end with this one, several at once, watched while they work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from fill.publish.probe import INPUT_OPTIONS

_STALLED_S: Final = 900.0
"""Without a frame more. Between two frames of a film there is no quarter of an hour of work."""
_SAID_BYTES: Final = 64 << 10


class EncodeFailed(Exception):
    """ffmpeg gave up; the message is the last it said."""


@dataclass(frozen=True, slots=True)
class Job:
    """``about`` is what the message of a failure begins with, ``arguments`` are those after the program's name."""

    name: str
    about: Path
    arguments: list[str]


def ffmpeg_program() -> str:
    """The path of ffmpeg: what IMAGEIO_FFMPEG_EXE names, or imageio-ffmpeg's own, or the system's.

    Raises `EncodeFailed`, in one line, where there is none.
    """
    try:
        named: str = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise EncodeFailed(
            "no ffmpeg: it comes with the package imageio-ffmpeg; or install Debian's (apt-get install ffmpeg)"
        ) from None
    found = shutil.which(named)
    if found is None:
        raise EncodeFailed(f"IMAGEIO_FFMPEG_EXE names {named}, which is no program")
    return found


def run_jobs(
    jobs: Sequence[Job],
    parallel: int,
    on_progress: Callable[[Job, float], None],
    on_done: Callable[[Job], None],
) -> None:
    """Runs all, ``parallel`` at once; ``on_progress`` hears the seconds of film that a job has done.

    Raises `EncodeFailed` of the first that fails; whichever way this ends, none of the processes is left.
    """
    running = _Running()
    threads = ThreadPoolExecutor(parallel, thread_name_prefix="ffmpeg")
    try:
        tasks = {threads.submit(_run, job, running, on_progress): job for job in jobs}
        left = set(tasks)
        while left:
            done, left = wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
            for task in done:
                task.result()
                on_done(tasks[task])
    finally:
        running.end()
        threads.shutdown(cancel_futures=True)


class _Running:
    """The processes that run now; after `end` there are none, and none can begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] | None = set()

    def start(self, command: list[str], errors: int) -> subprocess.Popen[str]:
        with self._lock:
            if self._processes is None:
                raise EncodeFailed("another encode failed before this one began")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            self._processes.add(process)
            return process

    def over(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            if self._processes is not None:
                self._processes.discard(process)

    def end(self) -> None:
        with self._lock:
            processes, self._processes = self._processes or set(), None
        for process in processes:
            process.kill()


def _run(job: Job, running: _Running, on_progress: Callable[[Job, float], None]) -> None:
    # The death of the parent is heard by the kernel for a thread: the child's program asks for it itself.
    child = [sys.executable, "-m", "fill.publish.child", str(os.getpid()), ffmpeg_program()]
    head = ["-v", "error", "-nostdin", "-y", "-progress", "pipe:1"]
    with tempfile.TemporaryFile() as errors:
        process = running.start([*child, *head, *job.arguments], errors.fileno())
        try:
            stalled = _follow(job, process, on_progress)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            running.over(process)
            if process.stdout is not None:
                process.stdout.close()
        if stalled:
            raise EncodeFailed(f"{job.about}: ffmpeg: not a frame more in {_STALLED_S:.0f} s")
        if code != 0:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _SAID_BYTES))
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise EncodeFailed(f"{job.about}: ffmpeg: {said[-1] if said else f'exit code {code}'}")


def _follow(job: Job, process: subprocess.Popen[str], on_progress: Callable[[Job, float], None]) -> bool:
    """Reads what ffmpeg says until it ends; True where it stood still and was ended for that."""
    assert process.stdout is not None  # PIPE was asked for
    furthest, moved_at = -1.0, time.monotonic()
    for line in process.stdout:
        name, _, value = line.strip().partition("=")
        now = time.monotonic()
        if name == "out_time_us" and value.isdigit() and (done_s := int(value) / 1_000_000) > furthest:
            furthest, moved_at = done_s, now
            on_progress(job, done_s)
        elif now - moved_at > _STALLED_S:
            process.kill()
            return True
    return False


def input_arguments(path: Path, *before: str) -> list[str]:
    """Opens ``path`` and nothing that it names; ``before`` are further options of the input."""
    arguments = list(before)
    for name, value in INPUT_OPTIONS.items():
        arguments += [f"-{name}", value]
    # file: so that a name such as concat:x or -y is a name and not an instruction.
    return [*arguments, "-i", f"file:{path.absolute()}"]
