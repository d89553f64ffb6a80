"""How the player page gets an object when appliances misbehave: demo/player/delivery.js in a browser.

The playback service is the real one; steering and the appliances are played by small servers, for
a real appliance cannot be made to send half a body.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.ports import free_port
from tests.waiting import PATIENCE_S

from .running_demo import CHECKOUT, wait_until

pytestmark = pytest.mark.alone

WHOLE = bytes(range(256)) * 4096  # 1 MiB whose every part is known
SOUND, HALTING, SILENT, OTHER_VERSION, REFUSING = "sound", "halting", "silent", "other-version", "refusing"


@dataclass
class World:
    """Steering's answers, how each appliance behaves, and what each was asked for."""

    behaviour: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    answers: int = 0
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> dict[str, Any]:
        self.answers += 1
        base = f"http://127.0.0.1:{self.port}/"
        candidates = [
            {
                "appliance": name,
                "site": "site",
                "tier": "isp",
                "reason": "near",
                "base_url": f"{base}{name}/",
                "hls": f"{base}{name}/t/master.m3u8",
                "dash": f"{base}{name}/t/manifest.mpd",
            }
            for name in self.behaviour
        ]
        return {
            "session": "session-1",
            "ttl_s": 300,
            "token": "",
            "expires_at": 1,
            "hls": f"{base}one/t/master.m3u8",
            "dash": f"{base}one/t/manifest.mpd",
            "candidates": candidates,
        }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name there
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(self.world.answer()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        wanted = self.headers["Range"]
        self.world.asked.append((name, wanted))
        does = self.world.behaviour[name]
        if does == SILENT:
            self.world.over.wait(PATIENCE_S)
            self.close_connection = True
            return
        first = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        last = int(wanted.partition("-")[2] or len(WHOLE) - 1) if wanted else len(WHOLE) - 1
        body = WHOLE[first : last + 1]
        self.send_response(403 if does == REFUSING else 206 if wanted else 200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Expose-Headers", "ETag, Cache-Status")
        self.send_header("ETag", f'"{does if does == OTHER_VERSION else "v1"}"')
        self.send_header("Cache-Status", f"{name}; hit")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if does == HALTING:
            self.wfile.write(body[: len(body) // 4])
            self.world.over.wait(PATIENCE_S)
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def world() -> Iterator[World]:
    result = World()
    handler = type("WorldHandler", (Handler,), {"world": result})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        result.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield result
        result.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def page(world: World, browser: Browser) -> Iterator[Page]:
    port = free_port()
    service = subprocess.Popen(
        [
            *(sys.executable, "-m", "demo.playback", "--listen", f"127.0.0.1:{port}"),
            *("--steering", f"http://127.0.0.1:{world.port}", "--title", "t"),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "NEARCAST_STEERING_KEY": "k"},
    )
    opened = browser.new_page()
    try:
        wait_until("the playback service answers", lambda: answers(port))
        # Any document of that origin will do: the module is what is tested.
        opened.goto(f"http://127.0.0.1:{port}/engine.js")
        yield opened
    finally:
        opened.close()
        service.terminate()
        service.wait(PATIENCE_S)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/titles", timeout=2):
            return True
    except OSError:
        return False


def get(page: Page, **options: int) -> dict[str, Any]:
    """What `Delivery.get` gives back, its events, and the error it ended with, if it did."""
    result: dict[str, Any] = page.evaluate(
        """async (options) => {
          const { Delivery, DELIVERY_BASE } = await import("/delivery.js");
          const delivery = new Delivery("t");
          const events = [];
          for (const type of ["delivered", "failed"]) {
            delivery.addEventListener(type, ({ detail }) => events.push({ type, ...detail }));
          }
          await delivery.open();
          try {
            const { data } = await delivery.get(DELIVERY_BASE + "t/video.mp4", options);
            const sha = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
            return { sha: sha.toHex?.() ?? [...sha].map((b) => b.toString(16).padStart(2, "0")).join(""),
                     bytes: data.byteLength, events };
          } catch (error) {
            return { error: error.message, events };
          } finally {
            delivery.close();
          }
        }""",
        options,
    )
    return result


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_first_candidate_is_asked_for_exactly_the_range(world: World, page: Page) -> None:
    world.behaviour = {"one": SOUND, "two": SOUND}
    result = get(page, start=1000, end=499_999)
    assert result["sha"] == sha(WHOLE[1000:500_000])
    assert world.asked == [("one", "bytes=1000-499999")]
    assert [(event["appliance"], event["cache"]) for event in result["events"]] == [("one", "hit")]


def test_a_response_that_halts_goes_on_elsewhere_from_the_byte_where_it_halted(
    world: World, page: Page
) -> None:
    world.behaviour = {"one": HALTING, "two": SOUND}
    result = get(page, start=0, end=399_999)
    assert result["sha"] == sha(WHOLE[:400_000])
    assert [name for name, _ in world.asked] == ["one", "two"]
    assert world.asked[1][1] == "bytes=100000-399999"
    assert [event["type"] for event in result["events"]] == ["failed", "delivered"]


def test_an_appliance_that_sends_nothing_is_left_for_the_next(world: World, page: Page) -> None:
    world.behaviour = {"one": SILENT, "two": SOUND}
    result = get(page)
    assert result["sha"] == sha(WHOLE)
    assert result["events"][0]["why"] == "sent nothing for 1.5 s"
    assert result["events"][1]["tried"] == ["one sent nothing for 1.5 s"]


def test_two_versions_of_an_object_are_never_mixed(world: World, page: Page) -> None:
    world.behaviour = {"one": HALTING, "two": OTHER_VERSION}
    result = get(page)
    assert result["sha"] == sha(WHOLE)
    assert world.asked == [("one", None), ("two", "bytes=262144-"), ("two", None)]


def test_when_all_refuse_the_playback_service_is_asked_again(world: World, page: Page) -> None:
    """As when a token has expired: a new answer brings new URLs."""
    world.behaviour = {"one": REFUSING, "two": REFUSING}
    result = get(page)
    assert result["error"] == "No appliance delivered t/video.mp4 (one answered 403; two answered 403)."
    assert world.answers > 1
