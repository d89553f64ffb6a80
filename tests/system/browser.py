"""Headless Chromium on the player page, and a measure of its stalls that is not the page's own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]

# Runs before the page's own scripts, and looks at the video element alone.
_PROBE = """
window.probe = { time: 0, advanced: 0, standstill: 0, reset() { this.advanced = 0; this.standstill = 0; } };
let movedAt = null;
setInterval(() => {
  const video = document.querySelector("video");
  if (video === null) return;
  const now = performance.now();
  const moved = video.currentTime - probe.time;
  if (moved !== 0) {
    // Back to the start at the end of the title is no progress, and no standstill.
    if (moved > 0) probe.advanced += moved;
    probe.time = video.currentTime;
    movedAt = now;
  } else if (movedAt !== null) {
    probe.standstill = Math.max(probe.standstill, (now - movedAt) / 1000);
  }
}, 50);
"""


def require_chromium() -> None:
    """Skips where there is no Chromium, and fails where CI promises one."""
    if CHROMIUM.exists():
        return
    if os.environ.get("CI"):
        pytest.fail(f"{CHROMIUM} is missing, and CI is set")
    pytest.skip(f"{CHROMIUM} is missing (Debian: apt-get install chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Player:
    """The page, opened with one engine."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 1000})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_init_script(_PROBE)
        self.page.goto(url)

    def state(self, name: str) -> Any:
        return self.page.evaluate(f"window.nearcast?.{name}")

    def wait_for(self, expression: str, timeout_s: float) -> None:
        """Returns when ``expression`` is true in the page; fails with what the page knows otherwise."""
        # Asked from here: Playwright's own wait evaluates text in the page, which the page forbids.
        deadline = time.monotonic() + timeout_s
        while not self.page.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                known = self.page.evaluate("JSON.stringify({ ...window.nearcast, segments: [], probe })")
                raise AssertionError(f"not within {timeout_s} s: {expression}\n{known}\n{self.errors}")
            self.page.wait_for_timeout(200)

    def mark(self) -> None:
        self.page.evaluate("probe.reset()")

    def standstill_s(self) -> float:
        """The longest time since `mark` that the picture did not move."""
        return float(self.page.evaluate("probe.standstill"))
