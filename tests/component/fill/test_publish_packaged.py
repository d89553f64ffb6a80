"""Folders that somebody else has packaged: taken as they are, or refused with the file and the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.cli import Exit
from fill.config import Publish
from fill.publish.ladder import Rung
from fill.publish.named import BadPackage
from fill.publish.packaged import from_folder
from fill.publish.publish import from_source
from tests.component.fill.conftest import Setup, fill, last_line
from tests.component.fill.test_publish_sources import clip
from tests.component.fill.test_publish_tracks import lavfi

RELEASED_AT = int(datetime(2999, 1, 31, 17, tzinfo=UTC).timestamp())
_INPUT = lavfi("testsrc2=size=128x72:rate=25:duration=5", "sine=duration=5")
_CODECS = ("-preset", "ultrafast", "-g", "50", "-c:a", "aac")


def _ours(root: Path) -> None:
    source = clip(root.parent / "source.mkv", *_INPUT, *_CODECS)
    settings = Publish(ladder=(Rung("72p", 72, 100_000),), segment_s=2, preset="ultrafast")
    from_source(source, (), settings)(root)


def _cmaf(root: Path) -> None:
    """Both manifests of ffmpeg's own packager, a file for each segment."""
    clip(root / "out.mpd", *_INPUT, *_CODECS, "-f", "dash", "-hls_playlist", "1", "-seg_duration", "2")


def _ts(root: Path) -> None:
    clip(root / "out.m3u8", *_INPUT, *_CODECS, "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod")


def _ranges(root: Path) -> None:
    options = ("-hls_time", "2", "-hls_segment_type", "fmp4", "-hls_flags", "single_file")
    clip(root / "out.m3u8", *_INPUT, *_CODECS, "-f", "hls", *options, "-hls_playlist_type", "vod")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ready") / "made"
    root.mkdir()
    _ours(root)
    return root


@pytest.mark.parametrize("make", [_ours, _cmaf, _ts, _ranges])
def test_what_a_packager_has_made_is_taken_as_it_is(tmp_path: Path, make: Callable[[Path], None]) -> None:
    root = tmp_path / "made"
    root.mkdir()
    make(root)
    content = from_folder(root, "tt1")(tmp_path)
    assert content.duration_s == pytest.approx(5, abs=0.2)
    assert {item.path for item in content.files} == {
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()
    }
    assert content.hls.endswith(".m3u8")
    assert content.dash.endswith(".mpd" if (make in (_ours, _cmaf)) else ".m3u8")
    if make is _ours:
        assert {(item.path, item.height) for item in content.files if item.height} == {("72p/video.mp4", 72)}


def test_a_packaged_title_is_in_the_catalog_under_its_own_names(setup: Setup, ready: Path) -> None:
    done = fill(
        "publish", ready, "--packaged", "--title", "tt1", "--json", "--release", "2999-01-31T18:00+01:00",
        "--comparable", "tt8,tt7", "--tags", "drama", "--config", setup.write_config(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["hls"], said["dash"]) == ("tt1/master.m3u8", "tt1/manifest.mpd")
    assert (said["released_at"], said["comparable"], said["tags"]) == (RELEASED_AT, ["tt8", "tt7"], ["drama"])
    again = fill("publish", ready, "--packaged", "--title", "tt1", "--json", "--config", setup.write_config())
    assert json.loads(again.stdout)["released_at"] == RELEASED_AT
    assert json.loads(again.stdout)["comparable"] == ["tt8", "tt7"]
    out = fill(
        "publish", ready, "--packaged", "--title", "tt1", "--json", "--release", "now", "--comparable", "none",
        "--config", setup.write_config(),
    )  # fmt: skip
    assert json.loads(out.stdout)["released_at"] is None
    assert json.loads(out.stdout)["comparable"] == []


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


def _damage(root: Path) -> None:
    data = bytearray((root / "72p/video.mp4").read_bytes())
    last = data.rindex(b"mdat")
    data[last + 4 : last + 400] = bytes(396)
    (root / "72p/video.mp4").write_bytes(data)


_BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda root: (root / "audio/audio.mp4").unlink(), "names 'audio/audio.mp4', which is not"),
    ("short", lambda root: (root / "72p/video.mp4").write_bytes(b"x" * 3000), "and it has 3000"),
    ("up", _edit("master.m3u8", "72p/video.m3u8", "../72p/video.m3u8"), "only relative names"),
    ("absolute", _edit("manifest.mpd", "<BaseURL>72p", "<BaseURL>/72p"), "only relative names"),
    ("url", _edit("72p/video.m3u8", "\nvideo.mp4", "\nhttps://example.com/v.mp4"), "only relative names"),
    ("live", _edit("72p/video.m3u8", "#EXT-X-ENDLIST", ""), "so it is live"),
    ("dynamic", _edit("manifest.mpd", 'type="static"', 'type="dynamic"'), "is live"),
    ("no xml", _edit("manifest.mpd", "</MPD>", ""), "manifest.mpd: is not XML"),
    ("entity", _edit("manifest.mpd", "<MPD", "<!DOCTYPE x []><MPD"), "has a document type"),
    ("damaged", _damage, "does not decode"),
    ("foreign", lambda root: (root / "setup.exe").write_bytes(b"MZ"), "setup.exe: a file of this kind"),
    ("hidden", lambda root: (root / ".x.mp4").write_bytes(b""), "is not an object key"),
    ("link", lambda root: (root / "x.mp4").symlink_to("/etc/passwd"), "links are not followed"),
    ("two", lambda root: shutil.copy(root / "manifest.mpd", root / "b.mpd"), "which of them"),
    (
        "none",
        lambda root: [(root / name).unlink() for name in ("manifest.mpd", "master.m3u8")],
        "holds no HLS",
    ),
    ("not utf-8", lambda root: (root / "72p/video.m3u8").write_bytes(b"#EXTM3U\n\xff"), "is not UTF-8"),
    ("no range", _edit("72p/video.m3u8", "BYTERANGE:", "BYTERANGE:x"), "is no byte range"),
]


@pytest.mark.parametrize(("name", "change", "says"), _BROKEN, ids=[name for name, *_ in _BROKEN])
def test_what_players_could_not_play_is_refused(
    tmp_path: Path, ready: Path, name: str, change: Callable[[Path], object], says: str
) -> None:
    root = tmp_path / "made"
    shutil.copytree(ready, root)
    change(root)
    with pytest.raises(BadPackage) as refused:
        from_folder(root, "tt1")(tmp_path)
    assert says in str(refused.value)
    assert str(root) in str(refused.value)


def test_a_folder_that_is_none_changes_nothing(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    before = setup.client.list_objects_v2(Bucket=setup.config.bucket)["KeyCount"]
    done = fill("publish", "nowhere", "--packaged", "--title", "tt1", "--config", setup.write_config())
    assert done.returncode == Exit.USAGE
    assert last_line(done) == "fill: nowhere: no such folder"
    assert setup.client.list_objects_v2(Bucket=setup.config.bucket)["KeyCount"] == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--release", "tomorrow"),
        ("--release", "1969-01-01"),
        ("--comparable", "tt1"),
        ("--comparable", "a b"),
        ("--tags", "A B"),
        ("--subtitles", "film.vtt"),
        ("--subtitles", "xx-=film.vtt"),
    ],
)
def test_what_is_said_wrongly_of_a_title_is_named(setup: Setup, option: str, value: str) -> None:
    done = fill("publish", "x.mp4", "--title", "tt1", option, value, "--config", setup.write_config())
    assert done.returncode == Exit.USAGE
    assert f"{option} {value!r}" in last_line(done)
