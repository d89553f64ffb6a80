"""A miss: child appliance -> relay -> parent appliance -> S3, all real, and an upstream that lies."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts.catalog import CatalogObject, Kind, TitleEntry, media_key
from contracts.objectkey import title_of
from demo.origin import OriginServer
from fill.publish.index import remove_title, write_catalog
from fill.version import version_name
from oca.identity import Identity
from tests.appliance import Appliance, published, running
from tests.component.oca.test_serving import ask
from tests.relay import Meddle, Relay, altered, cut, honest
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZE = 3 * (1 << 20) + 500


def publish(s3: S3Client, bucket: str, data: bytes, stored: bytes) -> str:
    """Puts a title of one object into the catalog, and ``stored`` into S3 in its place; the object's key."""
    title = f"tt{secrets.token_hex(6)}"
    item = published(f"{title}/video.mp4", data)
    s3.put_object(Bucket=bucket, Key=media_key(item.key), Body=stored)
    manifests = [
        CatalogObject(f"{title}/{name}", 0, "text/plain", '"m"', 0, b"", Kind.MANIFEST)
        for name in ("m.m3u8", "m.mpd")
    ]
    entry = TitleEntry(title, 0, 60.0, (item, *manifests), manifests[0].key, manifests[1].key)
    write_catalog(s3, bucket, version_name(time.time(), secrets.token_bytes(3)), entry)
    return item.key


@dataclass
class World:
    """A chain of appliances, and objects that neither of them has yet."""

    child: Appliance
    """Waits for a parent that is slow, as everything is on a busy machine: what it asks of whom is counted."""
    hasty: Appliance
    """Asks a second upstream soon."""
    parent: Appliance
    relay: Relay
    good: list[tuple[str, bytes]]
    altered: tuple[str, bytes]
    short: tuple[str, bytes]


def pulled(appliance: Appliance) -> dict[str, int]:
    """Bytes that the appliance has fetched, by upstream."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{appliance.admin}/v1/status", timeout=PATIENCE_S
    ) as answer:
        return {item["name"]: item["bytes"] for item in json.load(answer)["upstreams"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, origin: OriginServer, s3: S3Client) -> Iterator[World]:
    root = tmp_path_factory.mktemp("pull")
    config = {
        "bucket": origin.config.bucket,
        "endpoint_url": origin.config.endpoint_url,
        "credentials_file": str(origin.credentials_file),
    }
    # A child proves who it is, as in the field: its key is made before any of them starts.
    roots = {name: root / name for name in ("parent-1", "child-1", "child-2")}
    keys = []
    for name, folder in roots.items():
        (folder / "state").mkdir(parents=True)
        identity, _ = Identity.load_or_make(name, folder / "state" / "identity.jwk")
        keys.append({**identity.public_key(), "kid": name})
    peers = root / "peers.jwks"
    peers.write_text(json.dumps({"keys": keys}))
    nobody = root / "nobody.jwks"
    nobody.write_text('{"keys": []}')
    auth = {"required": True, "keys_file": str(nobody), "peers_file": str(peers)}
    published_now = []
    for change in [lambda data: data] * 12 + [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[: 1 << 20],
    ]:
        data = random.Random(len(published_now)).randbytes(SIZE)
        published_now.append((publish(s3, origin.config.bucket, data, change(data)), data))
    with ExitStack() as stack:
        parent = stack.enter_context(
            running(roots["parent-1"], appliance="parent-1", origin=config, auth=auth)
        )
        relay = stack.enter_context(Relay(parent.port))
        children = [
            stack.enter_context(
                running(
                    roots[name],
                    appliance=name,
                    origin=config,
                    parents=[{"id": "parent-1", "url": f"http://127.0.0.1:{relay.port}"}],
                    # Longer than a test waits: who falls silent must not be waited for alone.
                    pull={"stall_timeout_s": 60, "hedge_s": hedge_s},
                )
            )
            for name, hedge_s in (("child-1", 60), ("child-2", 0.3))
        ]
        *good, wrong, short = published_now
        yield World(*children, parent, relay, good, wrong, short)


@pytest.fixture(autouse=True)
def _relay_is_honest_again(world: World) -> Iterator[None]:
    yield
    world.relay.meddle = honest


def test_a_miss_comes_through_the_parent_and_is_a_hit_from_then_on(world: World) -> None:
    key, data = world.good.pop()
    before, parent_before = pulled(world.child), pulled(world.parent)
    first = ask(world.child, target=f"/{key}")
    assert (first.status, first.body) == (200, data)
    assert first.headers["cache-status"] == "child-1; fwd=miss; stored"
    second = ask(world.child, target=f"/{key}")
    assert (second.body, second.headers["cache-status"]) == (data, "child-1; hit")
    after, parent_after = pulled(world.child), pulled(world.parent)
    assert after["parent-1"] - before["parent-1"] == SIZE
    assert after["origin"] == before["origin"]
    assert parent_after["origin"] - parent_before["origin"] == SIZE


def test_many_players_who_miss_at_once_cost_one_fetch(world: World) -> None:
    key, data = world.good.pop()
    before = pulled(world.child)["parent-1"]
    answers: list[bytes] = []
    players = [
        threading.Thread(target=lambda: answers.append(ask(world.child, target=f"/{key}").body))
        for _ in range(20)
    ]
    for player in players:
        player.start()
    for player in players:
        player.join(2 * PATIENCE_S)
    assert answers == [data] * 20
    assert pulled(world.child)["parent-1"] - before == SIZE


def test_a_range_of_a_miss_fetches_only_its_slices(world: World) -> None:
    key, data = world.good.pop()
    before = pulled(world.child)["parent-1"]
    answer = ask(world.child, "Range: bytes=1500000-1500099\r\n", target=f"/{key}")
    assert (answer.status, answer.body) == (206, data[1500000:1500100])
    assert pulled(world.child)["parent-1"] - before == 1 << 20


@pytest.mark.parametrize("meddle", [altered, cut], ids=["alters a byte", "hangs up"])
def test_a_parent_that_lies_is_found_out_and_the_origin_asked(world: World, meddle: Meddle) -> None:
    key, data = world.good.pop()
    world.relay.meddle = meddle
    before = pulled(world.child)["origin"]
    answer = ask(world.child, target=f"/{key}")
    assert (answer.status, answer.body) == (200, data)
    assert pulled(world.child)["origin"] > before


def test_a_parent_that_falls_silent_is_not_waited_for_alone(world: World) -> None:
    key, data = world.good.pop()
    silent = threading.Event()

    def hold(data: bytes, offset: int) -> bytes | None:
        silent.wait(PATIENCE_S)
        return data

    world.relay.meddle = hold
    try:
        answer = ask(world.hasty, target=f"/{key}")
    finally:
        silent.set()
    assert (answer.status, answer.body) == (200, data)


def breaker(appliance: Appliance, upstream: str) -> str:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{appliance.admin}/v1/status", timeout=PATIENCE_S
    ) as answer:
        return next(item["breaker"] for item in json.load(answer)["upstreams"] if item["name"] == upstream)


def test_bytes_that_nobody_published_are_never_served(world: World) -> None:
    key, data = world.altered
    good = ask(world.child, "Range: bytes=0-99\r\n", target=f"/{key}")
    assert (good.status, good.body) == (206, data[:100])
    assert ask(world.child, "Range: bytes=-100\r\n", target=f"/{key}").status == 502


def test_an_object_cut_short_at_the_origin_is_refused(world: World) -> None:
    key, _ = world.short
    assert ask(world.child, "Range: bytes=-100\r\n", target=f"/{key}").status == 502


def test_what_is_not_in_the_catalog_is_404(world: World) -> None:
    answer = ask(world.child, target="/tt404/video.mp4")
    assert answer.status == 404


def test_a_title_that_is_unpublished_is_dropped_by_who_holds_it_and_not_pulled_again(
    world: World, origin: OriginServer, s3: S3Client
) -> None:
    key, data = world.good.pop()
    assert ask(world.child, target=f"/{key}").body == data
    now = time.time()
    version = version_name(now, secrets.token_bytes(3))
    remove_title(s3, origin.config.bucket, version, title_of(key), int(now))
    deadline = time.monotonic() + 120
    while ask(world.child, target=f"/{key}").status != 404:
        assert time.monotonic() < deadline
        # A title that nobody knows has each of them look for a newer catalog.
        ask(world.child, target="/tt-nobody/video.mp4")
        time.sleep(0.1)
    assert ask(world.child, target=f"/{world.good[0][0]}").status == 200


def test_a_stranger_may_not_pull_from_the_parent(world: World, tmp_path: Path) -> None:
    key, _ = world.good.pop()
    assert ask(world.parent, target=f"/{key}").status == 403
    stranger, _ = Identity.load_or_make("child-1", tmp_path / "identity.jwk")
    token = stranger.token("parent-1", 1_700_000_000)
    assert ask(world.parent, f"Authorization: Bearer {token}\r\n", target=f"/{key}").status == 403


def test_a_parent_that_keeps_failing_is_not_asked_any_more(world: World) -> None:
    """Last of the module: for half a minute the parent stays passed over."""
    world.relay.meddle = lambda data, offset: None
    for key, data in (world.good.pop(), world.good.pop()):
        # A run of its own for each: the slices between them are not asked for.
        for start in (0, 2 << 20, 3 << 20):
            answer = ask(world.child, f"Range: bytes={start}-{start + 99}\r\n", target=f"/{key}")
            assert (answer.status, answer.body) == (206, data[start : start + 100])
    assert breaker(world.child, "parent-1") == "open"
    accepted = world.relay.accepted
    key, data = world.good.pop()
    answer = ask(world.child, target=f"/{key}")
    assert (answer.status, answer.body) == (200, data)
    assert world.relay.accepted == accepted
    assert breaker(world.child, "origin") == "closed"
