"""How a demo refuses to start, and how it ends: with one clear line, and with nothing left behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.component.fill.test_publish import _picture, clip
from tests.processes import below, named
from tests.waiting import PATIENCE_S

from .running_demo import CHECKOUT, Demo, free_offset, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One of these tests' own, for they end it; what it plays is soon published."""
    folder = tmp_path_factory.mktemp("ends")
    source = clip(folder / "short.mp4", *_picture("320x180", length_s="2"))
    running = Demo(folder / "demo", source)
    try:
        running.wait_ready()
        yield running
    finally:
        running.close()


def refused(folder: Path, offset: int, *more: str) -> str:
    """Standard error of a demo that does not start; nothing else may have been printed."""
    result = subprocess.run(
        [*Demo.command(folder, offset), *more],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    return result.stderr


def left_behind(folder: Path, before: list[psutil.Process]) -> list[psutil.Process]:
    """Those of ``before`` that live, and whoever else has the demo's folder in its command line."""
    return [process for process in {*before, *psutil.process_iter()} if lives(process, folder, before)]


def lives(process: psutil.Process, folder: Path, before: list[psutil.Process]) -> bool:
    try:
        # is_running() compares start times: another process with the same pid is not meant. Who has
        # ended and waits for its parent to look has an empty command line.
        return process.is_running() and any(
            process in before or str(folder) in word for word in process.cmdline()
        )
    except psutil.NoSuchProcess:
        return False


def test_a_port_in_use_is_one_line_that_names_it(tmp_path: Path) -> None:
    offset = free_offset()
    with socket.create_server(("127.0.0.1", 7080 + offset)):
        said = refused(tmp_path / "demo", offset)
    assert said == (
        f"demo: port {7080 + offset} (steering) is in use: stop what listens there, or shift every port: "
        f'make demo DEMO_ARGS="--port-offset {offset + 1000}"\n'
    )


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    said = refused(tmp_path, free_offset())
    assert said == f"demo: {tmp_path} holds something that is not a demo's: name another --dir\n"
    assert (tmp_path / "thesis.txt").read_text() == "the only copy"


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "demo", Path("/proc/demo")):
        said = refused(folder, free_offset())
        assert said.startswith(f"demo: --dir {folder}: ")
        assert said.endswith(": name a folder that you may write\n")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_source_that_is_not_there_or_no_file_is_one_line(tmp_path: Path) -> None:
    said = refused(tmp_path / "demo", free_offset(), "--source", str(tmp_path))
    assert said == f"demo: --source {tmp_path}: is a directory; a video file is wanted\n"
    said = refused(tmp_path / "demo", free_offset(), "--source", "holiday.mp4")
    assert said == "demo: --source holiday.mp4: no such file or directory; a video file is wanted\n"


def test_a_killed_demo_takes_everything_with_it(tmp_path: Path) -> None:
    """Even in the middle of publishing, when the encoder is a grandchild."""
    demo = Demo(tmp_path / "demo")
    try:

        def encoders() -> list[psutil.Process]:
            assert demo.process.poll() is None, demo.said()
            return below(demo.process.pid, named("ffmpeg")) if "Publishing" in demo.said() else []

        wait_until("the encoder runs", encoders, 300)
        before = demo.descendants()
        demo.process.kill()
        demo.process.wait()
        wait_until("nothing is left", lambda: not left_behind(demo.folder, before))
    finally:
        demo.close()


def test_a_killed_make_takes_everything_with_it(tmp_path: Path) -> None:
    folder, offset = tmp_path / "demo", free_offset()
    command = ["make", "demo", f"DEMO_ARGS=--dir {folder} --port-offset {offset}"]
    make = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    before: list[psutil.Process] = []
    try:

        def gateway() -> list[psutil.Process]:
            assert make.poll() is None
            return below(make.pid, named("juicefs"))

        wait_until("S3 runs", gateway, 300)
        before = below(make.pid)
        make.kill()
        make.wait()
        wait_until("nothing is left", lambda: not left_behind(folder, before))
    finally:
        make.kill()
        make.wait()
        for process in before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


def test_an_appliance_that_ends_by_itself_is_reported(demo: Demo) -> None:
    pid = demo.pid("isp-a2")
    demo.kill("isp-a2")
    wait_until("a report", lambda: f"isp-a2 (pid {pid}) was ended by SIGKILL" in demo.said())


def test_ctrl_c_ends_every_process_and_a_second_demo_is_refused_until_then(
    demo: Demo, tmp_path: Path
) -> None:
    said = refused(demo.folder, demo.offset)
    assert said.startswith(f"demo: a demo is running already (pid {demo.process.pid}, in {demo.folder})")
    said = refused(tmp_path / "demo", demo.offset)
    assert said.startswith(f"demo: port {8083 + demo.offset} (ixp-b1, players) is in use")

    before = demo.descendants()
    assert len(before) >= 6  # S3, steering, two appliances with their workers, the playback service
    assert demo.interrupt() == 0
    wait_until("nothing is left", lambda: not left_behind(demo.folder, before), 15)
    assert not demo.endpoints_file.exists()
    assert (demo.folder / "logs" / "steering.log").exists()
