"""`fill publish` and `fill plan` with a real encoder and a real S3."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import pytest

from contracts.objectkey import SLICE_BYTES, digest
from daemon.cli import Exit
from demo.origin import OriginServer
from fill.s3documents import read_entry, read_latest
from tests.component.fill.conftest import Setup, command, fill, last_line, make_setup, read_index

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def clip(path: Path, *arguments: str) -> Path:
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments, str(path)], check=True, timeout=60)
    return path


def _picture(size: str, rate: str = "25", length_s: str = "9") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={length_s}"]


_TONE = ["-f", "lavfi", "-i", "sine=duration=9"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    return clip(path, *_picture("854x480"), *_TONE, "-preset", "ultrafast")


@pytest.fixture(scope="module")
def title(tmp_path_factory: pytest.TempPathFactory, source: Path, origin: OriginServer, s3: S3Client) -> Path:
    """What ``source`` was published as, downloaded."""
    setup = make_setup(tmp_path_factory.mktemp("title"), origin, s3)
    assert fill("publish", source, "--title", "tt1", "--config", setup.write_config()).returncode == 0
    return _download(setup, "tt1")


class _Ranges(SimpleHTTPRequestHandler):
    """A file server that knows single ranges, as every CDN does and Python's does not."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, asked: list[str], directory: str) -> None:
        self.asked = asked
        super().__init__(*arguments, directory=directory)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        data = Path(self.translate_path(self.path)).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2] or len(data)) + 1, len(data)) if asked else len(data)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        # A player that seeks hangs up in the middle.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[start:end])

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The URL under which ``folder`` is served over HTTP; ``asked`` gets the path of each request."""
    handler = partial(_Ranges, asked=[] if asked is None else asked, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _download(setup: Setup, title: str) -> Path:
    found = setup.client.list_objects_v2(Bucket=setup.config.bucket, Prefix=f"media/{title}/")
    for item in found["Contents"]:
        path = setup.folder / item["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        setup.client.download_file(setup.config.bucket, item["Key"], str(path))
    return setup.folder / "media" / title


def _plays(manifest: Path, streams: int) -> None:
    """All of it decodes, without a word of ffmpeg."""
    done = subprocess.run(
        [FFMPEG, "-v", "error", "-xerror", "-i", str(manifest), "-map", "0", "-f", "framecrc", "-"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(",")[0] for line in done.stdout.splitlines() if not line.startswith("#")]
    assert len(set(rows)) == streams
    # 9 s of 25 pictures a second, and of sound in frames of 1024 at 48 kHz.
    assert all(rows.count(stream) >= 220 for stream in set(rows))


def test_what_is_published_plays_and_is_described_byte_by_byte(setup: Setup, source: Path) -> None:
    done = fill("publish", source, "--title", "tt1", "--json", "--config", setup.write_config())
    assert done.returncode == 0, done.stderr
    title = _download(setup, "tt1")
    _plays(title / "master.m3u8", 4)
    _plays(title / "manifest.mpd", 4)
    bucket = setup.config.bucket
    latest = read_latest(setup.client, bucket, "catalog/latest")
    assert latest is not None
    (ref,) = read_index(setup.client, bucket, latest.version).titles
    entry = read_entry(setup.client, bucket, ref)
    assert {item.key for item in entry.objects} == {
        *(f"tt1/{name}" for name in ("master.m3u8", "manifest.mpd", "audio/audio.mp4", "audio/audio.m3u8")),
        *(f"tt1/{rung}/video.{kind}" for rung in ("240p", "360p", "480p") for kind in ("mp4", "m3u8")),
        *(f"tt1/thumbnails/{name}" for name in ("1.jpg", "thumbnails.vtt", "thumbnails.m3u8")),
    }
    for item in entry.objects:
        data = (setup.folder / "media" / item.key).read_bytes()
        assert len(data) == item.size
        parts = [data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES)]
        assert b"".join(map(digest, parts)) == item.digests
        head = setup.client.head_object(Bucket=bucket, Key=f"media/{item.key}")
        assert head["ContentType"] == item.media_type


@pytest.mark.parametrize("player", [FFMPEG, "/usr/bin/ffmpeg"], ids=["bundled", "debian"])
def test_ffmpeg_plays_every_frame_over_http_without_any_option(title: Path, player: str) -> None:
    """ffmpeg 9 joins adjoining HLS ranges and then stops after the first: ours do not adjoin."""
    if not Path(player).exists():
        pytest.skip(f"{player} is not installed")
    with served(title) as url:
        done = subprocess.run(
            [
                player,
                "-nostdin",
                "-v",
                "error",
                "-i",
                f"{url}/master.m3u8",
                "-map",
                "0",
                "-f",
                "framecrc",
                "-",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(",")[0] for line in done.stdout.splitlines() if not line.startswith("#")]
    counts = sorted(rows.count(stream) for stream in set(rows))
    assert counts[:3] == [225, 225, 225]
    assert len(counts) == 4
    assert counts[3] >= 9 * 48_000 // 1024


def test_segments_are_four_seconds_and_aligned_over_the_ladder(title: Path) -> None:
    lengths = [
        [line for line in (title / rung / "video.m3u8").read_text().splitlines() if "EXTINF" in line]
        for rung in ("360p", "480p")
    ]
    assert lengths[0] == lengths[1] == ["#EXTINF:4.000000,", "#EXTINF:4.000000,", "#EXTINF:1.000000,"]


@pytest.mark.parametrize(
    ("name", "arguments", "streams"),
    [
        ("silent.mp4", _picture("426x240"), 1),
        ("odd.mkv", [*_picture("321x241", "30000/1001"), *_TONE, "-pix_fmt", "yuv444p"], 2),
        # Every third picture is missing: a variable frame rate.
        ("variable.mkv", [*_picture("320x180", "50"), "-vf", "select='mod(n,3)'", "-fps_mode", "vfr"], 1),
    ],
)
def test_unusual_sources_are_published(setup: Setup, name: str, arguments: list[str], streams: int) -> None:
    path = clip(setup.folder / name, *arguments)
    done = fill("publish", path, "--title", "tt1", "--config", setup.write_config())
    assert done.returncode == 0, done.stderr
    _plays(_download(setup, "tt1") / "master.m3u8", streams)


def test_publishing_again_replaces_the_title_and_keeps_the_others(setup: Setup, source: Path) -> None:
    setup.publish_bytes("other", 10)
    config = setup.write_config()
    first = json.loads(fill("publish", source, "--title", "tt1", "--json", "--config", config).stdout)
    again = json.loads(fill("publish", source, "--title", "tt1", "--json", "--config", config).stdout)
    assert again["titles"] == first["titles"] == 2
    index = read_index(setup.client, setup.config.bucket, again["catalog"])
    assert [ref.title for ref in index.titles] == ["other", "tt1"]
    assert again["catalog"] in index.titles[1].entry
    assert again["catalog"] not in index.titles[0].entry


def _file(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut(path: Path, *arguments: str) -> None:
    """Makes a video, and leaves the first two thirds of its bytes."""
    clip(path, *arguments)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


_NO_SOURCE: list[tuple[str, Callable[[Path], object], Exit, str]] = [
    ("empty.mp4", lambda path: _file(path, b""), Exit.USAGE, "not a video"),
    ("text.mp4", lambda path: _file(path, b"not a video\n" * 100), Exit.USAGE, "not a video"),
    ("zeros.mp4", lambda path: _file(path, bytes(5000)), Exit.USAGE, "not a video"),
    ("photo.png", lambda path: clip(path, *_picture("64x64"), "-frames:v", "1"), Exit.USAGE, "not a video"),
    ("folder", lambda path: path.mkdir(), Exit.USAGE, "not a file"),
    ("missing.mp4", lambda path: None, Exit.USAGE, "no such file"),
    ("song.m4a", lambda path: clip(path, *_TONE), Exit.USAGE, "holds no video"),
    # The index of an MP4 is at its end, unless it was moved to the start; Matroska needs none.
    ("cut.mp4", lambda path: _cut(path, *_picture("320x180"), *_TONE), Exit.USAGE, "not a video"),
    (
        "cut-faststart.mp4",
        lambda path: _cut(path, *_picture("320x180"), *_TONE, "-movflags", "+faststart"),
        Exit.FAILED,
        "and it says 9.0 s",
    ),
    (
        "cut.mkv",
        lambda path: _cut(path, *_picture("320x180"), *_TONE),
        Exit.FAILED,
        "and it says 9.0 s",
    ),
]


@pytest.mark.parametrize(("name", "make", "code", "says"), _NO_SOURCE, ids=[name for name, *_ in _NO_SOURCE])
def test_what_cannot_be_published_whole_is_refused_in_one_line_and_changes_nothing(
    setup: Setup, name: str, make: Callable[[Path], object], code: Exit, says: str
) -> None:
    setup.publish_bytes("tt1", 10)
    before = _bucket(setup)
    path = setup.folder / name
    make(path)
    done = fill("publish", path, "--title", "tt1", "--config", setup.write_config())
    assert done.returncode == code
    said = last_line(done)
    assert str(path) in said
    assert says in said
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == [said]
    assert done.stdout == ""
    assert _bucket(setup) == before


def _bucket(setup: Setup) -> dict[str, str]:
    found = setup.client.list_objects_v2(Bucket=setup.config.bucket)
    return {item["Key"]: item["ETag"] for item in found["Contents"]}


def test_of_two_publishers_of_a_title_at_once_one_ends_and_nothing_is_mixed(
    setup: Setup, source: Path
) -> None:
    other = clip(setup.folder / "other.mp4", *_picture("320x180"), *_TONE)
    config = setup.write_config()
    running = [
        subprocess.Popen(
            command("publish", path, "--title", "tt1", "--config", config),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for path in (source, other)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    # Each was first, or later than the other's end, or was told to wait.
    codes = [process.returncode for process in running]
    assert 0 in codes
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "tt1: another `fill publish` is at work on this title" in text
    latest = read_latest(setup.client, setup.config.bucket, "catalog/latest")
    assert latest is not None
    (ref,) = read_index(setup.client, setup.config.bucket, latest.version).titles
    title = _download(setup, "tt1").parent
    for item in read_entry(setup.client, setup.config.bucket, ref).objects:
        data = (title / item.key).read_bytes()
        parts = [data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES)]
        assert b"".join(map(digest, parts)) == item.digests


def test_a_wrong_secret_is_found_before_anything_is_encoded(setup: Setup) -> None:
    source = setup.folder / "cut.mkv"  # only its encode tells that it is cut off
    _cut(source, *_picture("320x180"))
    wrong = setup.folder / "wrong"
    wrong.write_text("[default]\naws_access_key_id = nearcast\naws_secret_access_key = wrong\n")
    config = setup.write_config(credentials_file=str(wrong))
    done = fill("publish", source, "--title", "tt1", "--config", config)
    assert done.returncode == 1
    assert "was refused" in last_line(done)


@pytest.mark.parametrize("title", ["../x", "", "a b", "x" * 65])
def test_a_bad_title_is_refused_before_anything_is_done(setup: Setup, title: str) -> None:
    done = fill("publish", "x.mp4", "--title", title, "--config", setup.write_config())
    assert done.returncode == 2
    assert "--title" in last_line(done)


def test_a_plan_says_what_did_not_fit(setup: Setup) -> None:
    setup.publish_bytes("big", 3 << 20, now=2000)
    setup.publish_bytes("small", 1 << 20, now=1000)
    (row,) = setup.plan(capacity_bytes=2 << 20)["appliances"]
    assert (row["appliance"], row["titles"], row["left_out"]) == ("isp-a1", 1, ["big"])
    assert 0.5 < row["share"] <= 1


def test_there_is_nothing_to_plan_before_something_is_published(setup: Setup) -> None:
    setup.write_fleet()
    done = fill("plan", "--config", setup.write_config())
    assert done.returncode == 1
    assert "nothing is published yet" in last_line(done)
