"""Subtitles of unknown origin: shown as they are meant, or refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.publish.webvtt import BadSubtitles, Cues, as_webvtt, check_webvtt, read_subtitles, stamp

SUBRIP = """\
1
00:00:03,000 --> 00:00:04,000
second <i>line</i>

2
0:0:1,5 --> 00:00:02,000  X1:0
<font color="red">first & best</font>
{\\an8}--> and more

3
00:00:05,000 --> 00:00:05,000
of no length
"""


def test_subrip_becomes_webvtt_in_order_and_without_what_players_would_show_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(b"\xef\xbb\xbf" + SUBRIP.replace("\n", "\r\n").encode())
    assert read_subtitles(path) == (
        "WEBVTT\n\n"
        "00:00:01.500 --> 00:00:02.000\nfirst &amp; best\n-> and more\n\n"
        "00:00:03.000 --> 00:00:04.000\nsecond <i>line</i>\n"
    )


def test_webvtt_stays_as_it_is(tmp_path: Path) -> None:
    text = "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nid\n00:01.000 --> 100:00:02.000 line:0\n<v A>hello\n"
    path = tmp_path / "a.vtt"
    path.write_text(text)
    assert read_subtitles(path) == text
    assert check_webvtt(text, "x") == Cues(1, 360_002.0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe1\x00", "is not UTF-8 (byte 0)"),
        (b"", "begins no cue"),
        (b"hello\n", "'hello' begins no cue"),
        (b"WEBVTTX\n", "does not begin with WEBVTT"),
        (b"WEBVTT\n\n00:01,000 --> 00:02.000\nx\n", "line 3"),
        (b"WEBVTT\n\n00:02.000 --> 00:01.000\nx\n", "ends before it begins"),
        (b"WEBVTT\n\n00:02.000 --> 00:03.000\nx\n\n00:01.000 --> 00:03.000\nx\n", "line 6"),
        (b"[Script Info]\nTitle: x\n", "begins no cue"),
    ],
)
def test_what_is_no_subtitles_is_refused_by_file_and_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.vtt"
    path.write_bytes(content)
    with pytest.raises(BadSubtitles) as refused:
        read_subtitles(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_webvtt_afterwards_or_refused(raw: bytes) -> None:
    try:
        text = as_webvtt(raw, "x.srt")
    except BadSubtitles:
        return
    check_webvtt(text, "x.srt")


@given(st.integers(0, 10**9))
def test_a_time_is_written_as_it_is_read(milliseconds: int) -> None:
    later = stamp((milliseconds + 1) / 1000)
    found = check_webvtt(f"WEBVTT\n\n{stamp(milliseconds / 1000)} --> {later}\nx\n", "x")
    assert found.last_s == pytest.approx((milliseconds + 1) / 1000)
