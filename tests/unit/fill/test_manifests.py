"""What players are told of a title."""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree import ElementTree

import pytest

from fill.publish.boxes import Layout, Segment
from fill.publish.dash import presentation_description
from fill.publish.hls import media_playlist, multivariant_playlist, text_playlist, thumbnail_playlist
from fill.publish.language import language_name, language_tag
from fill.publish.source import DynamicRange, Purpose, Sound, Text
from fill.publish.thumbnails import lay_out, thumbnail_index
from fill.publish.tracks import (
    AudioTrack,
    Package,
    TextTrack,
    Thumbnails,
    VideoTrack,
    track_folders,
    track_names,
)

_LAYOUT = Layout(800, 800, 68, (Segment(868, 1000, 4.0), Segment(1868, 900, 0.1)), "avc1.64001f")
_SOUND = Layout(700, 700, 68, (Segment(768, 500, 4.0),), "mp4a.40.2")
_VIDEO = VideoTrack("360p", _LAYOUT, 640, 360, Fraction(30000, 1001))
_HDR = VideoTrack("1080p-hdr", _LAYOUT, 1920, 1080, Fraction(25), DynamicRange.PQ)
_AUDIO = AudioTrack("audio-de", _SOUND, Sound(0, "de"), "Deutsch", default=True)
_SPOKEN = AudioTrack(
    "audio-de-2", _SOUND, Sound(1, "de", purpose=Purpose.DESCRIPTION), "A & B", default=False
)
_TEXT = TextTrack("text-en", Text(0, "en", purpose=Purpose.CAPTION), "English (captions)")
_THUMBNAILS = Thumbnails(8.0, 250, 10, 10, 160, 90, 200_000)
_ALL = Package((_VIDEO, _HDR), (_AUDIO, _SPOKEN), (_TEXT,), _THUMBNAILS)
_MPD = "{urn:mpeg:dash:schema:mpd:2011}"


def test_a_media_playlist_names_every_byte_range() -> None:
    text = media_playlist(_VIDEO)
    assert '#EXT-X-MAP:URI="video.mp4",BYTERANGE="800@0"' in text
    assert "#EXTINF:4.000000,\n#EXT-X-BYTERANGE:1000@868\nvideo.mp4\n" in text
    assert "#EXT-X-TARGETDURATION:4\n" in text
    assert text.endswith("#EXT-X-ENDLIST\n")


def test_the_multivariant_playlist_adds_the_sound_to_every_rate() -> None:
    text = multivariant_playlist(Package((_VIDEO,), (_AUDIO,)))
    # The short last segment has 72 kb/s, and is too short to say what a link must carry.
    assert "BANDWIDTH=3000," in text
    assert 'CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=29.970,' in text
    assert 'VIDEO-RANGE=SDR,CLOSED-CAPTIONS=NONE,AUDIO="audio"\n360p/video.m3u8\n' in text


def test_without_sound_or_text_no_manifest_mentions_it() -> None:
    for text in (multivariant_playlist(Package((_VIDEO,))), presentation_description(Package((_VIDEO,)))):
        assert not re.search("audio|text|subtitle|thumbnail", text.replace("contentType", ""), re.IGNORECASE)


def test_hls_names_each_sound_and_text_by_language_purpose_and_place() -> None:
    text = multivariant_playlist(_ALL)
    media = [line for line in text.splitlines() if line.startswith("#EXT-X-MEDIA")]
    assert media[0].endswith(
        'NAME="Deutsch",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio-de/audio.m3u8"'
    )
    assert 'CHARACTERISTICS="public.accessibility.describes-video"' in media[1]
    assert "DEFAULT=NO" in media[1]
    assert "TYPE=SUBTITLES" in media[2]
    assert 'URI="text-en/text.m3u8"' in media[2]
    streams = [line for line in text.splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    assert all('AUDIO="audio",SUBTITLES="text"' in line for line in streams)
    assert "VIDEO-RANGE=PQ" in streams[1]
    assert text_playlist(_TEXT, 4.2).splitlines()[-3:] == ["#EXTINF:4.200000,", "text.vtt", "#EXT-X-ENDLIST"]


def test_dash_has_a_set_for_each_range_language_and_kind() -> None:
    root = ElementTree.fromstring(presentation_description(_ALL))
    sets = root.findall(f"{_MPD}Period/{_MPD}AdaptationSet")
    assert [item.get("contentType") for item in sets] == ["video", "video", "audio", "audio", "text", "image"]
    essential = sets[1].find(f"{_MPD}EssentialProperty")
    assert essential is not None
    assert essential.get("value") == "16"
    assert [item.get("lang") for item in sets[2:5]] == ["de", "de", "en"]
    roles = [role.get("value") for item in sets for role in item.findall(f"{_MPD}Role")]
    assert roles == ["main", "description", "caption"]
    assert sets[3].findtext(f"{_MPD}Label") == "A & B"
    (picture,) = sets[0].findall(f"{_MPD}Representation")
    assert picture.get("frameRate") == "30000/1001"
    base = picture.find(f"{_MPD}SegmentBase")
    assert base is not None
    assert base.get("indexRange") == "800-867"
    tiles = sets[5].find(f"{_MPD}Representation/{_MPD}EssentialProperty")
    assert tiles is not None
    assert tiles.get("value") == "10x10"


def test_no_url_in_a_manifest_is_absolute() -> None:
    """A signed prefix carries over only to relative URLs."""
    mpd = presentation_description(_ALL)
    assert "<BaseURL>360p/video.mp4</BaseURL>" in mpd
    for text in (mpd, media_playlist(_VIDEO), multivariant_playlist(_ALL)):
        for found in re.findall(r'(?:URI="|<BaseURL>|media=")([^"<]+)', text):
            assert re.match(r"[a-z0-9][A-Za-z0-9$./-]+\Z", found), found


def test_a_thumbnail_is_named_for_every_time_and_lies_inside_its_sheet() -> None:
    cues = re.findall(
        r"(\S+) --> (\S+)\n(\d+)\.jpg#xywh=(\d+),(\d+),160,90", thumbnail_index(_THUMBNAILS, 1995.5)
    )
    assert len(cues) == 250
    assert cues[0] == ("00:00:00.000", "00:00:08.000", "1", "0", "0")
    assert cues[111] == ("00:14:48.000", "00:14:56.000", "2", "160", "90")
    assert cues[-1][:3] == ("00:33:12.000", "00:33:15.500", "3")
    assert [end for _, end, *_ in cues[:-1]] == [start for start, *_ in cues[1:]]
    playlist = thumbnail_playlist(_THUMBNAILS, 1995.5)
    assert re.findall(r"EXTINF:([\d.]+),\n(\d+)\.jpg", playlist) == [
        ("800.000000", "1"), ("800.000000", "2"), ("395.500000", "3"),
    ]  # fmt: skip


def test_hls_gives_the_size_of_a_tile_and_dash_that_of_a_sheet() -> None:
    said = re.compile(r"EXT-X-(?:IMAGE-STREAM-INF|TILES):.*\bRESOLUTION=(\d+x\d+)")
    hls = multivariant_playlist(_ALL) + thumbnail_playlist(_THUMBNAILS, 1995.5)
    assert set(said.findall(hls)) == {"160x90"}
    (sheet,) = re.findall(r'<Representation id="thumbnails".* (width=.*)>', presentation_description(_ALL))
    assert sheet == 'width="1600" height="900"'


@pytest.mark.parametrize(
    ("segments", "every_s", "expected"), [(1, 10, (1, 1, 1)), (3, 10, (2, 2, 1)), (900, 4, (900, 10, 10))]
)
def test_sheets_are_no_larger_than_their_tiles_need(
    segments: int, every_s: int, expected: tuple[int, int, int]
) -> None:
    layout = Layout(8, 8, 8, tuple(Segment(0, 1, 4.0) for _ in range(segments)), "x")
    laid = lay_out(VideoTrack("240p", layout, 426, 240, Fraction(25)), every_s, 4)
    assert (laid.count, laid.columns, laid.rows) == expected


@pytest.mark.parametrize(
    ("said", "tag", "name"),
    [
        ("ger", "de", "Deutsch"),
        ("deu", "de", "Deutsch"),
        ("en", "en", "English"),
        ("pt_BR", "pt-BR", "português (BR)"),
        ("gsw", "gsw", "Schwiizertüütsch"),
        ("tlh", "tlh", "tlh"),
        ("mul", "und", "und"),
        ('x"\n', "und", "und"),
        (None, "und", "und"),
    ],
)
def test_a_language_is_written_as_manifests_write_it(said: str | None, tag: str, name: str) -> None:
    assert language_tag(said) == tag
    assert language_name(tag) == name


def test_tracks_of_one_language_are_told_apart() -> None:
    assert track_folders("audio", ["de", "und", "de", "und"]) == [
        "audio-de",
        "audio",
        "audio-de-2",
        "audio-2",
    ]
    sounds = [Sound(0, "de"), Sound(1, "de"), Sound(2, "und"), Sound(3, "de", purpose=Purpose.COMMENTARY)]
    assert track_names(sounds) == ["Deutsch", "Deutsch 2", "Main", "Deutsch (commentary)"]
