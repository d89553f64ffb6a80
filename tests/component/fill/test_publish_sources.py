"""Sources that are not simply a picture and its sound, through the real encoder: what players then see."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from fill.config import Publish
from fill.publish.choose import choose_encodes
from fill.publish.encode import video_arguments
from fill.publish.ffmpeg import EncodeFailed, Job, run_jobs
from fill.publish.ladder import Rung
from fill.publish.probe import NotVideo, probe
from fill.publish.publish import from_source
from fill.publish.source import Source
from tests.component.fill.test_publish import served

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SETTINGS = Publish(ladder=(Rung("180p", 180, 300_000),), segment_s=2, preset="ultrafast")

FLASH_S = 2
# White from second 2 on, and a tone from second 2 on.
_FLASH = f"color=black:size=320x180:rate=25:duration=5,drawbox=t=fill:color=white:enable='gte(t,{FLASH_S})'"
_BEEP = f"aevalsrc=gte(t\\,{FLASH_S})*sin(2000*t):sample_rate=48000:duration=5"
PICTURE = ["-f", "lavfi", "-i", _FLASH]
SOUND = ["-f", "lavfi", "-i", _BEEP]
# B-frames, as cameras and studios write them: their delay is what must not shift the picture.
CODECS = ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"]


def clip(path: Path, *arguments: str | Path) -> Path:
    command = [FFMPEG, "-v", "error", "-nostdin", "-y", *map(str, arguments), str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def playlist(path: Path, root: Path, settings: Publish = SETTINGS) -> Path:
    """What is published of ``path``, as far as the folder that would be uploaded."""
    root.mkdir()
    from_source(path, (), settings)(root)
    return root / "master.m3u8"


def pictures(path: Path) -> Iterator[tuple[float, bool]]:
    """When each picture of ``path`` is shown, and whether it is bright."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = bytes(frame.planes[0])
            assert frame.time is not None
            yield frame.time, sum(luma) > 128 * len(luma)


def first_sound_s(path: Path) -> float:
    """When the first sample of ``path`` that is not silence is heard."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.time is not None
            plane = bytes(frame.planes[0])[: frame.samples * 4]
            for index, (sample,) in enumerate(struct.iter_unpack("f", plane)):
                if abs(sample) > 0.2:
                    return frame.time + index / frame.sample_rate
    raise AssertionError("only silence")


def assert_flash_and_beep(path: Path, seen_s: float, heard_s: float) -> None:
    found = list(pictures(path))
    assert found[0][0] == 0
    assert next(time for time, bright in found if bright) == pytest.approx(seen_s, abs=0.021)
    assert first_sound_s(path) == pytest.approx(heard_s, abs=0.01)


def test_picture_and_sound_stay_together(tmp_path: Path) -> None:
    path = clip(tmp_path / "source.mp4", *PICTURE, *SOUND, *CODECS)
    master = playlist(path, tmp_path / "made", Publish(ladder=SETTINGS.ladder, segment_s=2))
    assert_flash_and_beep(master, FLASH_S, FLASH_S)


def test_a_late_picture_keeps_its_delay_and_is_preceded_by_its_first_frame(tmp_path: Path) -> None:
    path = clip(tmp_path / "source.mkv", "-itsoffset", "0.5", *PICTURE, *SOUND, *CODECS)
    master = playlist(path, tmp_path / "made")
    assert_flash_and_beep(master, FLASH_S + 0.5, FLASH_S)
    times = [time for time, _ in pictures(master)]
    assert times == pytest.approx([index / 25 for index in range(len(times))], abs=0.001)


def test_late_sound_keeps_its_delay_and_is_preceded_by_silence(tmp_path: Path) -> None:
    path = clip(tmp_path / "source.mkv", *PICTURE, "-itsoffset", "0.5", *SOUND, *CODECS)
    assert_flash_and_beep(playlist(path, tmp_path / "made"), FLASH_S, FLASH_S + 0.5)


def test_a_variable_frame_rate_becomes_a_constant_one_and_loses_no_frame(tmp_path: Path) -> None:
    """Every third picture of 50 a second is missing, and the first second of all."""
    dropping = ["-vf", "select='gte(t,1)*mod(n,3)'", "-fps_mode", "vfr"]
    wide = [item.replace("rate=25", "rate=50") for item in PICTURE]
    path = clip(tmp_path / "source.mkv", *wide, *SOUND, *dropping, *CODECS)
    master = playlist(path, tmp_path / "made")
    assert_flash_and_beep(master, FLASH_S, FLASH_S)
    times = [time for time, _ in pictures(master)]
    assert times == pytest.approx([index / 50 for index in range(len(times))], abs=0.001)
    assert len(times) == pytest.approx(250, abs=2)


def test_cover_art_is_not_the_film(tmp_path: Path) -> None:
    cover = clip(tmp_path / "cover.png", "-f", "lavfi", "-i", "color=red:size=640x640", "-frames:v", "1")
    film = clip(tmp_path / "film.mp4", *PICTURE, *SOUND, *CODECS)
    streams = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
    path = clip(tmp_path / "covered.mp4", "-i", film, "-i", cover, *streams)
    cover_first(path)
    with av.open(str(path)) as container:
        assert container.streams[0].disposition & av.stream.Disposition.attached_pic
    assert probe(path).height == 180
    assert_flash_and_beep(playlist(path, tmp_path / "made"), FLASH_S, FLASH_S)


def cover_first(path: Path) -> None:
    """Moves the udta of ``path``, which holds the cover, before the tracks of its moov."""
    data = path.read_bytes()
    moov = data.index(b"moov") - 4
    end = moov + struct.unpack_from(">I", data, moov)[0]
    assert end == len(data)  # else the offsets of the samples would move
    udta = data.rindex(b"udta") - 4
    udta_end = udta + struct.unpack_from(">I", data, udta)[0]
    moved = data[: moov + 8] + data[udta:udta_end] + data[moov + 8 : udta] + data[udta_end:]
    path.write_bytes(moved)


def hls(segment: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n{segment}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("kind", ["http", "another file", "list"])
def test_a_source_that_names_others_makes_nobody_open_them(tmp_path: Path, kind: str) -> None:
    """Neither the probe nor the encoder follows a playlist: not into the network, not into other files."""
    served_folder = tmp_path / "served"
    served_folder.mkdir()
    secret = clip(served_folder / "secret.ts", *PICTURE, "-c:v", "libx264")
    # ffmpeg takes a playlist for one only by this name.
    hostile = tmp_path / "film.m3u8"
    asked: list[str] = []
    with served(served_folder, asked) as url:
        content = {
            "http": hls(f"{url}/secret.ts"),
            "another file": hls(secret.as_uri()),
            "list": f"ffconcat version 1.0\nfile {secret.name}\n",
        }
        if kind == "list":
            hostile = served_folder / "film.m3u8"
        hostile.write_text(content[kind])
        with pytest.raises(NotVideo, match=r"film\.m3u8: not a video"):
            probe(hostile)
        source = Source(hostile, 320, 180, Fraction(25), 5.0)
        outputs = [(item, tmp_path / "video.mp4") for item in choose_encodes(source, SETTINGS.ladder)]
        job = Job("film", hostile, video_arguments(source, outputs, SETTINGS))
        with pytest.raises(EncodeFailed, match=r"film\.m3u8"):
            run_jobs([job], 1, lambda job, seconds: None, lambda job: None)
    assert asked == []
