"""A file is replaced whole or not at all, and a folder that cannot be synced is no failure."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from daemon.durable import replace_file, sync_folder


def test_the_new_bytes_and_mode_take_the_name(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(b"old")
    replace_file(file, b"new", mode=0o640)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o640)
    assert [child.name for child in tmp_path.iterdir()] == ["state"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = tmp_path / "state"
    taken.mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(taken, b"new", mode=0o600)
    assert [child.name for child in tmp_path.iterdir()] == ["state"]


def test_a_folder_is_synced_and_what_is_none_is_said(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nothing")
