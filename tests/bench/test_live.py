"""Players of the live bench read what a packager writes."""

from __future__ import annotations

from bench.live.players import Playlist, read_dash, read_hls

SEGMENTS = ("chunk-stream0-00005.m4s", "chunk-stream0-00006.m4s", "chunk-stream0-00007.m4s")


def test_hls_and_dash_name_the_same_segments() -> None:
    hls = '#EXTM3U\n#EXT-X-MAP:URI="init-stream0.m4s"\n' + "".join(f"#EXTINF:1.0,\n{n}\n" for n in SEGMENTS)
    dash = """<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic"><Period><AdaptationSet><Representation id="0">
        <SegmentTemplate initialization="init-stream$RepresentationID$.m4s" startNumber="5"
            media="chunk-stream$RepresentationID$-$Number%05d$.m4s">
        <SegmentTimeline><S t="51200" d="12800" r="1" /><S d="6656" /></SegmentTimeline>
        </SegmentTemplate></Representation></AdaptationSet></Period></MPD>"""
    assert read_hls(hls) == read_dash(dash) == Playlist("init-stream0.m4s", SEGMENTS, ended=False)
    assert read_hls(hls + "#EXT-X-ENDLIST\n").ended
    assert read_dash(dash.replace("dynamic", "static")).ended
