"""What is made of a source beside its picture, and how many bits of it: through the real encoder."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from fill.config import Publish
from fill.publish.check import BadEncode, check_alignment, decode_all
from fill.publish.ladder import Rung
from fill.publish.probe import NotVideo, probe
from fill.publish.publish import Content, from_source
from fill.publish.source import DynamicRange, Purpose, Text
from tests.component.fill.test_publish_sources import clip

SUBRIP = "1\n00:00:01,000 --> 00:00:02,000\nHallo & <i>du</i>\n"
LADDER = (Rung("90p", 90, 150_000), Rung("180p", 180, 400_000))
SETTINGS = Publish(ladder=LADDER, segment_s=2, preset="ultrafast", thumbnail_s=2)


def published(path: Path, root: Path, settings: Publish = SETTINGS, texts: tuple[Text, ...] = ()) -> Content:
    root.mkdir()
    return from_source(path, texts, settings)(root)


def lavfi(*graphs: str) -> list[str]:
    return [word for graph in graphs for word in ("-f", "lavfi", "-i", graph)]


def test_sounds_and_texts_of_every_language_are_there_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SUBRIP)
    inputs = lavfi("testsrc2=size=320x180:rate=25:duration=5", "sine=duration=5", "sine=440:duration=5")
    path = clip(
        tmp_path / "a.mkv",
        *(*inputs, "-i", tmp_path / "a.srt", "-map", "0", "-map", "1", "-map", "2", "-map", "3"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default"),
        *("-metadata:s:s:0", "language=fre", "-disposition:s:0", "hearing_impaired"),
        *("-preset", "ultrafast", "-c:s", "srt"),
    )
    content = published(path, tmp_path / "made", texts=(Text(0, "de", file=tmp_path / "a.srt"),))
    root = tmp_path / "made"
    assert {item.path.partition("/")[0] for item in content.files} == {
        *("90p", "180p", "audio-de", "audio-en", "text-fr", "text-de", "thumbnails"),
        *("master.m3u8", "manifest.mpd"),
    }
    for folder, said in (("text-fr", "Hallo &"), ("text-de", "Hallo &amp;")):
        assert said in (root / folder / "text.vtt").read_text()
    master = (root / "master.m3u8").read_text()
    assert 'NAME="English",LANGUAGE="en",DEFAULT=YES' in master
    assert 'NAME="Deutsch",LANGUAGE="de",DEFAULT=NO' in master
    assert 'NAME="français (captions)",LANGUAGE="fr"' in master
    with av.open(str(root / "master.m3u8")) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (2, 2)
    # One for each segment of 2 s, in one sheet.
    assert (root / "thumbnails" / "thumbnails.vtt").read_text().count("-->") == 3
    with av.open(str(root / "thumbnails" / "1.jpg")) as container:
        (sheet,) = container.decode(video=0)
        assert (sheet.width, sheet.height) == (480, 90)


def test_a_high_range_is_kept_by_its_rung_and_mapped_for_the_others(tmp_path: Path) -> None:
    made = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    path = clip(
        tmp_path / "a.mkv",
        *lavfi(f"testsrc2=size=320x180:rate=25:duration=3,{made}"),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
    )
    assert probe(path).dynamic_range is DynamicRange.PQ
    ladder = (*LADDER, Rung("180p-hdr", 180, 600_000, hdr=True))
    published(path, tmp_path / "made", Publish(ladder=ladder, segment_s=2, preset="ultrafast"))
    found = {}
    for name in ("180p", "180p-hdr"):
        with av.open(str(tmp_path / "made" / name / "video.mp4")) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            found[name] = (stream.codec_context.name, frame.format.name, stream.codec_context.color_trc)
    assert found["180p"][:2] == ("h264", "yuv420p")
    assert found["180p"][2] != 16
    assert found["180p-hdr"] == ("hevc", "yuv420p10le", 16)
    master = (tmp_path / "made" / "master.m3u8").read_text()
    assert re.search(r'CODECS="hvc1\.2\.4\.L\d+\.[0-9A-F.]+",RESOLUTION=320x180,.*VIDEO-RANGE=PQ', master)


def test_an_easy_title_takes_fewer_bits_than_the_ladder_and_a_hard_one_all_of_them(tmp_path: Path) -> None:
    spent = {}
    for name, graph in (
        ("easy", "smptebars=size=320x180:rate=25:duration=5"),
        ("hard", "color=gray:size=320x180:rate=25:duration=5,noise=alls=60:allf=t"),
    ):
        path = clip(tmp_path / f"{name}.mkv", *lavfi(graph), "-preset", "ultrafast", "-crf", "10")
        spent[name] = published(path, tmp_path / name).spent
    assert all(item.constant_quality and item.saved_share > 0.5 for item in spent["easy"])
    assert not any(item.constant_quality for item in spent["hard"])
    for item in spent["hard"]:
        assert item.needed_bps is not None
        assert item.needed_bps > item.ladder_bps
        assert 0.5 < item.average_bps / item.ladder_bps < 1.3


def test_rungs_that_are_not_aligned_are_found(tmp_path: Path) -> None:
    rungs = {}
    for name, seconds in (("a", 2), ("b", 2), ("c", 1)):
        path = clip(
            tmp_path / f"{name}.mp4",
            *lavfi("testsrc2=size=64x36:rate=25:duration=4"),
            *("-force_key_frames", f"expr:gte(t,n_forced*{seconds})", "-g", "1000", "-sc_threshold", "0"),
            *("-movflags", "+frag_keyframe+delay_moov+default_base_moof+cmaf+global_sidx"),
        )
        rungs[name] = (decode_all(path, name), tuple(float(at) for at in range(0, 4, seconds)))
    source = Path("x.mp4")
    check_alignment({"a": rungs["a"], "b": rungs["b"]}, source)
    with pytest.raises(
        BadEncode, match="its encode c: 4 key frames, not at the instants of the 2 segments of a"
    ):
        check_alignment(rungs, source)


def test_a_damaged_frame_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = clip(
        tmp_path / "a.mp4",
        *lavfi("testsrc2=size=320x180:rate=25:duration=6"),
        *("-g", "50", "-movflags", "+frag_keyframe+default_base_moof+cmaf+global_sidx"),
    )
    data = bytearray(path.read_bytes())
    assert decode_all(path, "a").frames == 150
    middle = data.index(b"mdat", len(data) // 2)
    data[middle + 200 : middle + 1200] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(BadEncode, match="a "):
        decode_all(path, "a")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-i", "color=red:size=8200x16:rate=1:duration=1"), "its picture has 8200 x 16 pixels"),
        (("-i", "color=red:size=16x16:rate=1/100:duration=90000"), "says that it lasts 90000 s"),
    ],
)
def test_a_source_beyond_the_bounds_is_refused_before_it_is_encoded(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    path = clip(tmp_path / "a.mkv", "-f", "lavfi", *arguments, "-c:v", "ffv1")
    with pytest.raises(NotVideo, match=says):
        probe(path)


def test_a_film_that_has_no_picture_for_long_is_given_up(tmp_path: Path) -> None:
    path = clip(
        tmp_path / "a.mkv",
        *lavfi("testsrc2=size=64x36:rate=25:duration=1", "sine=duration=1"),
        *("-preset", "ultrafast"),
    )
    clock = iter([0.0, *[1000.0] * 100])
    with pytest.raises(NotVideo, match="no picture was found"):
        probe(path, lambda: next(clock))


def test_purposes_are_read_from_the_container(tmp_path: Path) -> None:
    path = clip(
        tmp_path / "a.mkv",
        *lavfi("testsrc2=size=64x36:rate=25:duration=1", "sine=duration=1", "sine=duration=1"),
        *("-map", "0", "-map", "1", "-map", "2", "-disposition:a:1", "visual_impaired"),
        *("-metadata:s:a:0", 'title=Die "Fassung"', "-preset", "ultrafast"),
    )
    sounds = probe(path).sounds
    assert [sound.purpose for sound in sounds] == [Purpose.MAIN, Purpose.DESCRIPTION]
    assert sounds[0].title == "Die \u201dFassung\u201d"
