"""Which ffmpeg encodes, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import pytest

from fill.publish.ffmpeg import EncodeFailed, ffmpeg_program


def test_one_that_is_named_without_a_folder_is_looked_for_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As imageio-ffmpeg names the system's, where it carries none itself: execv(3) knows no PATH."""
    (tmp_path / "ffmpeg").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "ffmpeg")
    assert ffmpeg_program() == str(tmp_path / "ffmpeg")


def test_none_is_one_line_that_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(
        EncodeFailed, match=r"^IMAGEIO_FFMPEG_EXE names /nowhere/ffmpeg, which is no program$"
    ):
        ffmpeg_program()

    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(EncodeFailed, match=r"^no ffmpeg: .*imageio-ffmpeg.*apt-get install ffmpeg"):
        ffmpeg_program()
