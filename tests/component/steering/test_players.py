"""A player that steers by itself: one URL with every appliance in it, and an order that follows the fleet."""

from __future__ import annotations

from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from contracts.problem import Problem
from tests.component.steering.service import Answer, Service, is_problem

PLAYLIST = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=600000\n360p/video.m3u8\n"
DESCRIPTION = b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'
NS = "{urn:mpeg:dash:schema:mpd:2011}"


@pytest.fixture(scope="module")
def published(shared: Service) -> Service:
    shared.bucket.put("media/tt1/master.m3u8", PLAYLIST)
    shared.bucket.put("media/tt1/manifest.mpd", DESCRIPTION)
    return shared


def get(service: Service, url: str) -> Answer:
    """What a player gets, whose page is of somebody else."""
    parts = urlsplit(url)
    assert (parts.hostname, parts.port) == ("127.0.0.1", service.port)
    answer = service.ask(parts.path + (f"?{parts.query}" if parts.query else ""))
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    return answer


def test_one_playlist_has_every_pathway_and_names_who_steers(published: Service) -> None:
    published.beat()
    answered = published.steer(session="steered-hls").json
    got = get(published, answered["hls"])
    assert (got.status, got.headers["content-type"]) == (200, "application/vnd.apple.mpegurl; charset=utf-8")
    lines = got.body.decode().splitlines()
    boxes = [item["appliance"] for item in answered["candidates"]]
    known = ",".join(boxes)
    server = f"http://127.0.0.1:{published.port}/v1/steer/steered-hls/hls?pathways={known}"
    assert f'#EXT-X-CONTENT-STEERING:SERVER-URI="{server}",PATHWAY-ID="{boxes[0]}"' in lines
    urls = [line for line in lines if not line.startswith("#")]
    assert urls == [f"{item['base_url']}tt1/360p/video.m3u8" for item in answered["candidates"]]
    order = get(published, server).json
    assert order == {"VERSION": 1, "TTL": 30, "RELOAD-URI": server, "PATHWAY-PRIORITY": boxes}


def test_one_description_has_every_service_location(published: Service) -> None:
    published.beat()
    answered = published.steer(session="steered-dash").json
    got = get(published, answered["dash"])
    assert (got.status, got.headers["content-type"]) == (200, "application/dash+xml")
    mpd = ElementTree.fromstring(got.body)
    assert [(base.get("serviceLocation"), base.text) for base in mpd.findall(f"{NS}BaseURL")] == [
        (item["appliance"], f"{item['base_url']}tt1/") for item in answered["candidates"]
    ]


def test_the_order_follows_the_fleet_and_tells_newcomers_as_clones(published: Service) -> None:
    published.beat()
    first, second, third = (
        item["appliance"] for item in published.steer(session="follows-on").json["candidates"]
    )
    path = f"/v1/steer/follows-on/hls?pathways={first},{second}"
    published.beat(first, draining=True)
    order = published.ask(path).json
    assert set(order["PATHWAY-PRIORITY"]) == {second, third}
    assert order["PATHWAY-CLONES"] == [
        {"BASE-ID": first, "ID": third, "URI-REPLACEMENT": {"HOST": f"{third}.example:8080"}}
    ]
    published.beat()


def test_what_is_not_this_sessions_is_refused(published: Service) -> None:
    published.beat()
    base, _, key = published.steer(session="refusals").json["hls"].rpartition("/tt1/")
    is_problem(get(published, f"{base}/tt-de/master.m3u8"), Problem.NOT_FOUND)
    is_problem(get(published, f"{base}/tt1/360p/video.m3u8"), Problem.NOT_FOUND)
    assert get(published, f"{base}x/tt1/{key}").json["type"] == "urn:nearcast:problem:token-refused"
    revoked = published.ask("/v1/revoke", b'{"session": "refusals"}', authorization=f"Bearer {published.key}")
    assert revoked.status == 200
    is_problem(get(published, f"{base}/tt1/{key}"), Problem.TOKEN_REFUSED, "the session was revoked")


def test_a_manifest_that_is_not_there_or_none_is_said(published: Service) -> None:
    published.beat()
    answered = published.steer(session="missing-one", title="tt-de", country="DE").json
    got = get(published, answered["hls"])
    is_problem(got, Problem.UNAVAILABLE, "a candidate's own can")
    assert got.headers["retry-after"] == "2"
    published.bucket.put("media/tt-de/manifest.mpd", b"#EXTM3U")
    is_problem(get(published, answered["dash"]), Problem.UPSTREAM, "tt-de/manifest.mpd: not XML")
