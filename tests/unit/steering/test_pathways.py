"""A title's manifests with every pathway of a session in them, and those that come later told as clones."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from steering.pathways import (
    BadManifest,
    Clone,
    Pathway,
    UriReplacement,
    clones,
    steered_description,
    steered_playlist,
)

STEERING = "https://steering.example/v1/steer/abcdefgh/hls"
ONE = Pathway("isp-a1", "http://198.51.100.10:8080/URISigningPackage=t/")
TWO = Pathway("ixp-b1", "https://192.0.2.10/URISigningPackage=t/")
KEY = "tt0001/master.m3u8"
PUBLISHED = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-CONTENT-STEERING:SERVER-URI="https://elsewhere.example/"
#EXT-X-SESSION-DATA:DATA-ID="org.example.poster",URI="poster.json"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main, loud",URI="audio/audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=600000,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="audio",CLOSED-CAPTIONS=NONE
360p/video.m3u8

#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=60000,URI="360p/iframes.m3u8",PATHWAY-ID="old"
"""
DESCRIPTION = b"""<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:x="urn:example" type="static"><ProgramInformation/>
<Period><AdaptationSet x:kept="1"><Representation id="360p"><BaseURL>360p/video.mp4</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""
NS = "{urn:mpeg:dash:schema:mpd:2011}"


def test_a_playlist_names_every_pathway_and_its_own_groups() -> None:
    one = "http://198.51.100.10:8080/URISigningPackage=t/tt0001/"
    two = "https://192.0.2.10/URISigningPackage=t/tt0001/"
    stream = 'BANDWIDTH=600000,CODECS="avc1.4d401e,mp4a.40.2"'
    assert steered_playlist(PUBLISHED, KEY, [ONE, TWO], STEERING).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-SESSION-DATA:DATA-ID="org.example.poster",URI="{one}poster.json"',
        f'#EXT-X-CONTENT-STEERING:SERVER-URI="{STEERING}",PATHWAY-ID="isp-a1"',
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio@isp-a1",NAME="Main, loud",URI="{one}audio/audio.m3u8"',
        f'#EXT-X-STREAM-INF:{stream},AUDIO="audio@isp-a1",CLOSED-CAPTIONS=NONE,PATHWAY-ID="isp-a1"',
        f"{one}360p/video.m3u8",
        f'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=60000,URI="{one}360p/iframes.m3u8",PATHWAY-ID="isp-a1"',
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio@ixp-b1",NAME="Main, loud",URI="{two}audio/audio.m3u8"',
        f'#EXT-X-STREAM-INF:{stream},AUDIO="audio@ixp-b1",CLOSED-CAPTIONS=NONE,PATHWAY-ID="ixp-b1"',
        f"{two}360p/video.m3u8",
        f'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=60000,URI="{two}360p/iframes.m3u8",PATHWAY-ID="ixp-b1"',
    ]


@pytest.mark.parametrize(
    ("published", "why"),
    [
        ("", "does not begin with #EXTM3U"),
        ("<html>", "does not begin with #EXTM3U"),
        ("#EXTM3U\n#EXTINF:4,\na.m4s\n", "no EXT-X-STREAM-INF"),
    ],
)
def test_what_is_no_multivariant_playlist_is_refused(published: str, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        steered_playlist(published, KEY, [ONE], STEERING)


def test_a_description_names_every_service_location() -> None:
    mpd = ElementTree.fromstring(
        steered_description(DESCRIPTION, "tt0001/manifest.mpd", [ONE, TWO], STEERING)
    )
    assert [child.tag for child in mpd] == [
        f"{NS}{name}" for name in ("ProgramInformation", "BaseURL", "BaseURL", "ContentSteering", "Period")
    ]
    assert [(base.get("serviceLocation"), base.text) for base in mpd.findall(f"{NS}BaseURL")] == [
        ("isp-a1", "http://198.51.100.10:8080/URISigningPackage=t/tt0001/"),
        ("ixp-b1", "https://192.0.2.10/URISigningPackage=t/tt0001/"),
    ]
    steers = mpd.find(f"{NS}ContentSteering")
    assert steers is not None
    assert (steers.text, dict(steers.items())) == (
        STEERING,
        {"defaultServiceLocation": "isp-a1", "queryBeforeStart": "true"},
    )
    assert mpd.findtext(f".//{NS}Representation/{NS}BaseURL") == "360p/video.mp4"


def test_a_base_url_of_its_own_and_another_steering_are_replaced() -> None:
    own = b'<BaseURL serviceLocation="old">cmaf/</BaseURL><ContentSteering>https://old</ContentSteering><Period>'
    mpd = ElementTree.fromstring(
        steered_description(DESCRIPTION.replace(b"<Period>", own), "tt0001/manifest.mpd", [ONE], STEERING)
    )
    assert [base.text for base in mpd.findall(f"{NS}BaseURL")] == [
        "http://198.51.100.10:8080/URISigningPackage=t/tt0001/cmaf/"
    ]
    assert [steers.text for steers in mpd.findall(f"{NS}ContentSteering")] == [STEERING]


@pytest.mark.parametrize(
    ("published", "why"),
    [
        (b"#EXTM3U", "not XML"),
        (b"<html/>", "not an MPD"),
        (b'<!DOCTYPE MPD [<!ENTITY a "aaaa">]><MPD/>', "document type"),
    ],
)
def test_what_is_no_description_is_refused(published: bytes, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        steered_description(published, "tt0001/manifest.mpd", [ONE], STEERING)


def test_a_clone_is_told_on_a_pathway_of_the_same_scheme() -> None:
    urls = {
        "isp-a1": "http://198.51.100.10:8080",
        "isp-a2": "http://198.51.100.11:8080",
        "ixp-b1": "https://192.0.2.10",
        "ixp-b2": "https://192.0.2.11",
    }
    assert clones(["isp-a1", "ixp-b1"], urls, ["isp-a2", "isp-a1", "ixp-b2"]) == (
        Clone("isp-a1", "isp-a2", UriReplacement("198.51.100.11:8080")),
        Clone("ixp-b1", "ixp-b2", UriReplacement("192.0.2.11")),
    )
    assert clones(["isp-a1"], urls, ["ixp-b2"]) == ()
    assert clones(["gone"], urls, ["isp-a2"]) == ()
