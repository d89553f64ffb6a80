"""`fill publish` that is told to stop, as Ctrl-C in `make demo` tells it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from daemon.cli import Exit
from fill.s3documents import read_latest
from tests.component.fill.conftest import Setup, command
from tests.component.fill.test_publish_upload import _picture, clip
from tests.processes import below, named


def encoders(pid: int) -> list[psutil.Process]:
    return below(pid, named("ffmpeg"))


def test_sigterm_while_encoding_leaves_nothing_behind(setup: Setup) -> None:
    source = clip(setup.folder / "a.mp4", *_picture("320x180", length_s="60"))
    folder = setup.folder / "tmp"
    folder.mkdir()
    with subprocess.Popen(
        command("publish", source, "--title", "tt1", "--config", setup.write_config()),
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = time.monotonic() + 60
        while not (found := encoders(running.pid)):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGTERM)
        out, said = running.communicate(timeout=60)
    assert running.returncode == Exit.FAILED
    assert out == ""
    assert said.splitlines()[-1] == "fill: tt1: stopped before the end; publish it again"
    assert "Traceback" not in said
    assert not any(encoder.is_running() for encoder in found)
    assert _encodes(folder) == []
    assert read_latest(setup.client, setup.config.bucket, "catalog/latest") is None


def _encodes(folder: Path) -> list[Path]:
    return list(folder.glob("fill-publish-*"))
