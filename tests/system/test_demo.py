"""The demo, as its users meet it: players, a playback service, an operator, a browser.

One demo serves the whole module. What a test breaks (an appliance it kills) it mends again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from playwright.sync_api import Browser

from tests import commands
from tests.component.fill.test_publish import _picture, clip
from tests.waiting import PATIENCE_S

from .browser import Player
from .running_demo import Demo, decoded_frames, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

ALL = {"isp-a1", "isp-a2", "ixp-b1"}
BUFFER_S = 12
"""That the page fetches ahead: BUFFER_AHEAD_S of demo/player/engine.js."""
FRAMES = 60 * 25
"""Of the sample: a minute at 25 frames a second."""


def published(demo: Demo) -> dict[str, bytes]:
    """Every object below media/ in S3, by its key there without the prefix."""
    origin = demo.endpoints["origin"]
    client = boto3.client(
        "s3",
        endpoint_url=origin["endpoint_url"],
        aws_access_key_id=origin["access_key"],
        aws_secret_access_key=origin["secret_key"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        listed = client.list_objects_v2(Bucket=origin["bucket"], Prefix="media/")
        assert not listed["IsTruncated"]
        return {
            item["Key"].removeprefix("media/"): client.get_object(Bucket=origin["bucket"], Key=item["Key"])[
                "Body"
            ].read()
            for item in listed["Contents"]
        }
    finally:
        client.close()


def test_endpoints_file_says_where_everything_is(demo: Demo) -> None:
    endpoints = demo.endpoints
    assert endpoints.keys() == {
        *("steering", "steering_key", "origin", "appliances", "title", "player", "hls", "dash")
    }
    assert endpoints["origin"].keys() == {"endpoint_url", "bucket", "access_key", "secret_key"}
    assert endpoints["title"] == "tt0001"
    assert endpoints["hls"].startswith("/tt0001/")
    assert endpoints["dash"].startswith("/tt0001/")
    boxes = {box["id"]: box for box in endpoints["appliances"]}
    assert {(name, box["site"], box["tier"]) for name, box in boxes.items()} == {
        ("isp-a1", "isp-a", "isp"),
        ("isp-a2", "isp-a", "isp"),
        ("ixp-b1", "ixp-b", "ixp"),
    }
    children = {process.pid for process in demo.descendants()}
    for name, box in boxes.items():
        assert box.keys() == {"id", "site", "tier", "url", "admin", "pid"}
        assert box["pid"] in children
        status = json.loads(demo.request(f"{box['admin']}/v1/status")[2])
        assert status["id"] == name


def test_the_doctors_find_nothing_wrong(demo: Demo) -> None:
    for program, config in (("oca", "oca-isp-a1"), ("oca", "oca-ixp-b1"), ("steering", "steering")):
        done = commands.run(program, "doctor", "--config", demo.folder / f"{config}.yaml")
        assert done.returncode == 0, done.stdout


def test_steering_offers_the_viewers_own_network_first_and_the_exchange_last(demo: Demo) -> None:
    answer = demo.steer()
    assert [candidate["tier"] for candidate in answer["candidates"]] == ["isp", "isp", "ixp"]
    assert {candidate["appliance"] for candidate in answer["candidates"]} == ALL
    for candidate in answer["candidates"]:
        assert candidate["hls"] == candidate["base_url"] + demo.endpoints["hls"].lstrip("/")
        assert candidate["dash"] == candidate["base_url"] + demo.endpoints["dash"].lstrip("/")
        assert candidate["reason"]


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_byte_that_an_appliance_serves_is_the_byte_that_was_published(demo: Demo, name: str) -> None:
    base_url = demo.offered()[name]["base_url"]
    originals = published(demo)
    assert len(originals) >= 5  # three encodes and two manifests, at the least
    for key, original in originals.items():
        status, headers, body = demo.request(base_url + key)
        assert status == 200
        assert hashlib.sha256(body).digest() == hashlib.sha256(original).digest(), key
        # What the fill brought needs nobody else.
        assert last_member(headers["cache-status"]) == [name, "hit"], key


@pytest.mark.parametrize("form", ["hls", "dash"])
@pytest.mark.parametrize("name", ["isp-a1", "ixp-b1"])
def test_ffmpeg_decodes_the_whole_title_without_an_error(demo: Demo, name: str, form: str) -> None:
    frames = decoded_frames(demo.offered()[name][form])
    # A picture for each rung of the ladder up to 720 lines, and whatever sound comes with them.
    pictures = sum(key.endswith("/video.mp4") for key in published(demo))
    assert frames.count(FRAMES) == pictures >= 3
    assert len(frames) > pictures
    assert all(frames)


def test_what_an_isp_appliance_lacks_it_pulls_through_the_exchange_and_that_one_from_s3(demo: Demo) -> None:
    originals = published(demo)
    key = max(originals, key=lambda item: len(originals[item]))
    original = originals[key]
    url = demo.offered()["isp-a1"]["base_url"] + key

    purge(demo, "isp-a1", key)
    before = pulled(demo, "isp-a1"), pulled(demo, "ixp-b1")
    assert fetch(demo, url, original) == ["isp-a1", "fwd=miss"]
    assert pulled(demo, "isp-a1") - before[0] == Counter({"ixp-b1": len(original)})
    assert pulled(demo, "ixp-b1") == before[1]
    wait_until("it is stored", lambda: fetch(demo, url, original) == ["isp-a1", "hit"])

    purge(demo, "isp-a1", key)
    purge(demo, "ixp-b1", key)
    before = pulled(demo, "isp-a1"), pulled(demo, "ixp-b1")
    assert fetch(demo, url, original) == ["isp-a1", "fwd=miss"]
    assert pulled(demo, "isp-a1") - before[0] == Counter({"ixp-b1": len(original)})
    assert pulled(demo, "ixp-b1") - before[1] == Counter({"origin": len(original)})


def pulled(demo: Demo, name: str) -> Counter[str]:
    """Bytes that an appliance has fetched from each upstream since it started."""
    status = json.loads(demo.request(f"{demo.appliance(name)['admin']}/v1/status")[2])
    return Counter({upstream["name"]: upstream["bytes"] for upstream in status["upstreams"]})


def purge(demo: Demo, name: str, key: str) -> None:
    status, _, body = demo.request(f"{demo.appliance(name)['admin']}/v1/purge", body={"key": key})
    assert (status, json.loads(body)) == (200, {"purged": 1, "workers": 1, "silent": 0})


def fetch(demo: Demo, url: str, original: bytes) -> list[str]:
    """What the appliance's cache did for a whole GET, whose bytes must be the original's."""
    status, headers, body = demo.request(url)
    assert status == 200
    assert body == original
    return last_member(headers["cache-status"])


def last_member(cache_status: str) -> list[str]:
    """The cache's name and what it did (RFC 9211: `hit` or `fwd=...`) in the member nearest to us."""
    name, did, *_ = [item.strip() for item in cache_status.split(",")[-1].split(";")]
    return [name, did]


def test_the_playback_service_gives_the_browser_candidates_and_never_the_key(demo: Demo) -> None:
    url = f"{demo.endpoints['player']}api/playback"
    status, headers, body = demo.request(url, body={"title": "tt0001"})
    assert status == 200
    assert headers["cache-control"] == "no-store"
    assert demo.endpoints["steering_key"].encode() not in body
    answer = json.loads(body)
    assert {item["appliance"] for item in answer["candidates"]} == ALL
    assert answer["hls"] == demo.endpoints["hls"].lstrip("/")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"title": "tt9999"}, 404, "There is no title tt9999."),
        ({"title": "../etc"}, 422, "$.title"),
        ({"title": "tt0001", "client_ip": "192.0.2.1"}, 422, "client_ip"),
        ([], 422, "object"),
    ],
)
def test_the_playback_service_says_what_is_wrong_with_a_question(
    demo: Demo, body: Any, status: int, says: str
) -> None:
    answered, headers, raw = demo.request(f"{demo.endpoints['player']}api/playback", body=body)
    assert answered == status
    assert headers["content-type"].startswith("application/problem+json")
    assert says in json.loads(raw)["detail"]


def test_the_page_may_run_no_code_but_its_own(demo: Demo) -> None:
    status, headers, _ = demo.request(demo.endpoints["player"])
    assert status == 200
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("engine", ["hls", "dash"])
def test_a_browser_plays_on_when_the_appliance_that_serves_it_is_killed(
    demo: Demo, browser: Browser, engine: str
) -> None:
    demo.wait_offered(ALL)
    player = Player(browser, f"{demo.endpoints['player']}?engine={engine}")
    try:
        player.wait_for(f"probe.advanced >= {BUFFER_S + 1}", 120)
        assert player.state("error") is None
        assert player.state("stalls") == 0
        first = player.state("appliance")
        assert first.startswith("isp-")

        player.mark()
        demo.kill(first)
        # More than the buffer holds: what is shown at the end came from elsewhere.
        player.wait_for(f"probe.advanced >= {BUFFER_S + 3}", 120)
        assert player.standstill_s() < 4
        assert player.state("appliance") in ALL - {first}
        assert player.state("error") is None
        # Steering has noticed too, and the page has asked it again.
        wait_until("steering drops it", lambda: set(demo.offered()) == ALL - {first})
        player.wait_for(
            f"nearcast.candidates.length === 2 && nearcast.candidates.every((c) => c.appliance !== '{first}')",
            PATIENCE_S,
        )
        assert player.errors == []
    finally:
        player.page.close()
    demo.restart(first)
    demo.wait_offered(ALL)


@pytest.mark.parametrize("engine", ["hls", "dash"])
def test_a_player_as_it_comes_moves_when_its_appliance_drains(
    demo: Demo, browser: Browser, engine: str
) -> None:
    demo.wait_offered(ALL)
    urls = {urlsplit(box["url"]).netloc: box for box in demo.endpoints["appliances"]}
    said = {box["id"]: demo.cmcd_requests(box["id"]) for box in urls.values()}
    player = Player(browser, f"{demo.endpoints['player']}plain.html?engine={engine}")
    try:
        player.wait_for("probe.advanced >= 3", 60)
        first = urls[player.page.evaluate("nearcast.hosts.at(-1)")]
        assert first["id"].startswith("isp-")
        name = first["id"]
        wait_until("what the player says of itself is read", lambda: demo.cmcd_requests(name) > said[name])
        player.mark()
        assert demo.request(f"{first['admin']}/v1/drain", body={})[0] == 200
        player.wait_for(f"nearcast.hosts.at(-1) !== '{urlsplit(first['url']).netloc}'", 60)
        player.wait_for("probe.advanced >= 12", 60)
        assert player.standstill_s() < 4
        assert player.state("error") is None
        assert player.errors == []
    finally:
        player.page.close()
        demo.request(f"{first['admin']}/v1/undrain", body={})
    demo.wait_offered(ALL)


def test_the_page_says_so_when_a_title_does_not_exist(demo: Demo, browser: Browser) -> None:
    player = Player(browser, f"{demo.endpoints['player']}?title=tt9999")
    try:
        player.wait_for("window.nearcast?.error !== null", PATIENCE_S)
        assert player.page.get_by_role("alert").inner_text() == "There is no title tt9999."
    finally:
        player.page.close()


SUBTITLES = "1\n00:00:00,500 --> 00:00:04,000\nHallo\n\n2\n00:00:05,000 --> 00:00:11,000\nWelt\n"


@pytest.fixture(scope="module")
def subtitled(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A title with subtitles that is published while the fleet runs: nobody has planned it, and it is pulled through."""
    folder = tmp_path_factory.mktemp("subtitled")
    (folder / "de.srt").write_text(SUBTITLES)
    # Its colours turn by 30 degrees a second: no two of its moments look alike.
    film = clip(folder / "film.mp4", *_picture("320x180", length_s="12"), "-vf", "hue=h=30*t")
    config = demo.folder / "fill.yaml"
    said = commands.run(
        "fill", "publish", film, "--title", "tt0002", "--subtitles", f"de={folder}/de.srt", "--config", config
    )
    assert said.returncode == 0, said
    asked = f"{demo.endpoints['player']}api/playback"
    wait_until("steering to know it", lambda: demo.request(asked, body={"title": "tt0002"})[0] == 200)
    return "tt0002"


# Red, green, blue and alpha of what a canvas of a thumbnail's size shows.
_PIXELS = "Array.from(canvas.getContext('2d').getImageData(0, 0, 160, 90).data)"


def thumbnail(player: Player, time_s: float) -> list[int]:
    """What the page draws beside the bar while it is dragged to that moment."""
    player.page.evaluate(f"bar.value = {time_s}, void bar.dispatchEvent(new Event('input'))")
    player.wait_for(f"Number(document.querySelector('#thumbnail').dataset.time) === {time_s}", PATIENCE_S)
    assert player.page.evaluate("[thumbnail.hidden, thumbnail.width, thumbnail.height]") == [False, 160, 90]
    drawn: list[int] = player.page.evaluate(f"((canvas) => {_PIXELS})(thumbnail)")
    return drawn


def picture(player: Player, time_s: float) -> list[int]:
    """What the video itself shows then, of the same size."""
    # A hundredth later: the picture that begins there, and not the one that ends.
    player.page.evaluate(f"void (video.currentTime = {time_s + 0.01})")
    player.wait_for(f"!video.seeking && Math.abs(video.currentTime - {time_s}) < 0.1", PATIENCE_S)
    draw = f"canvas.getContext('2d').drawImage(video, 0, 0, 160, 90); return {_PIXELS}"
    sized = "Object.assign(document.createElement('canvas'), { width: 160, height: 90 })"
    shown: list[int] = player.page.evaluate(f"(() => {{ const canvas = {sized}; {draw} }})()")
    return shown


def unlike(one: list[int], other: list[int]) -> float:
    """How far apart two pictures are, from 0 to 255."""
    return sum(abs(here - there) for here, there in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("engine", ["hls", "dash"])
def test_a_browser_shows_the_texts_and_thumbnails_of_a_title_that_has_just_been_published(
    demo: Demo, browser: Browser, subtitled: str, engine: str
) -> None:
    player = Player(browser, f"{demo.endpoints['player']}plain.html?engine={engine}&title={subtitled}")
    try:
        player.wait_for("video.textTracks.length", PATIENCE_S)
        assert player.page.evaluate("video.textTracks[0].language") == "de"
        player.page.evaluate("video.textTracks[0].mode = 'showing'")
        player.wait_for("video.textTracks[0].cues?.length === 2", PATIENCE_S)
        cues = player.page.evaluate("[...video.textTracks[0].cues].map((cue) => [cue.startTime, cue.text])")
        assert cues == [[0.5, "Hallo"], [5, "Welt"]]
        player.page.evaluate("video.pause(), void (video.currentTime = 6)")
        player.wait_for("video.textTracks[0].activeCues?.[0]?.text === 'Welt'", PATIENCE_S)
        # Two tiles, for there is one for every two segments.
        for at_s, other_s in ((0, 8), (8, 0)):
            drawn = thumbnail(player, at_s + 3)
            assert drawn == thumbnail(player, at_s + 1)
            right, wrong = (unlike(drawn, picture(player, moment)) for moment in (at_s, other_s))
            assert right < wrong / 3
        assert player.state("error") is None
        assert player.errors == []
    finally:
        player.page.close()
