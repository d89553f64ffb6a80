"""Starts the demo, one step after the other, as an operator would: every step is a command of ours.

S3 -> init -> publish -> plan -> steering, appliances -> fill -> steering offers all -> player page.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from contracts.fleet import PublicKey
from contracts.steer import SteerResponse
from daemon.cli import CommandError
from daemon.s3 import S3Error
from demo import configs, npm
from demo.endpoints import ApplianceEndpoint, Endpoints
from demo.layout import BUCKET, HOST, Box, Layout
from demo.origin import start_s3
from demo.playback import KEY_VARIABLE
from demo.processes import Child, Processes, python
from demo.sample import sample_video

SAMPLE_S: Final = 60
_READY_S: Final = 30


class Bringup:
    """One start of the demo; `run` does it and gives back where everything is."""

    def __init__(self, layout: Layout, processes: Processes, console: Console) -> None:
        self._layout = layout
        self._processes = processes
        self._console = console
        self._step = 0

    def run(self, source: Path | None, title: str) -> Endpoints:
        layout = self._layout
        if not npm.present(npm.PLAYERS):
            self._say("Fetching the players hls.js and dash.js, as locked")
            npm.install(npm.PLAYERS, self._processes)
        origin = self._start_s3()
        if source is None:
            self._say(f"Making a sample: moving picture, time code and tone, {SAMPLE_S} s")
            source = sample_video(self._processes, SAMPLE_S)
        key = self._init(origin)
        self._say(f"Publishing {title}: an encode for each rung, HLS and DASH, thumbnails, catalog")
        self._show("fill", "publish", source, "--title", title, config="fill")
        self._say("Planning who shall hold what")
        self._show("fill", "plan", config="fill")
        boxes = self._start_servers()
        for _, site in groupby(layout.boxes, lambda box: box.site):
            self._fill(list(site))
        self._say("Waiting until steering offers all three appliances")
        answer = self._wait_for_candidates(key, title, [child for _, child in boxes])
        self._start_playback(key, title)
        first = answer.candidates[0]
        return Endpoints(
            steering=layout.steering,
            steering_key=key,
            origin=origin,
            appliances=[
                ApplianceEndpoint(box.id, box.site, box.tier, box.url, box.admin, child.pid)
                for box, child in sorted(boxes, key=lambda pair: pair[0].data_port)
            ],
            title=title,
            player=layout.player,
            hls="/" + first.hls.removeprefix(first.base_url),
            dash="/" + first.dash.removeprefix(first.base_url),
        )

    def _start_s3(self) -> configs.Origin:
        layout = self._layout
        self._say(f"Starting S3 on port {layout.s3_port}")
        try:
            origin, _ = start_s3(self._processes, layout.root / "s3", HOST, layout.s3_port, BUCKET)
        except S3Error as error:
            raise CommandError(str(error)) from None
        return origin

    def _init(self, origin: configs.Origin) -> str:
        """Identities, configurations; the API key of steering."""
        layout = self._layout
        self._say("Keys and configurations")
        configs.write_credentials(layout, origin)
        keys: dict[str, PublicKey] = {}
        for box in layout.boxes:
            configs.write_appliance(layout, origin, box)
            identity = self._ask("oca", "init", config=f"oca-{box.id}")
            keys[box.id] = msgspec.convert(identity["public_key"], PublicKey)
        configs.write_fleet(layout, keys)
        configs.write_planner(layout, origin)
        self._ask("fill", "init-key", config="fill")
        configs.write_steering(layout, origin)
        key: str = self._ask("steering", "init", config="steering")["api_key"]
        configs.write_secret(layout.steering_key, key + "\n")
        return key

    def _start_servers(self) -> list[tuple[Box, Child]]:
        layout = self._layout
        self._say("Starting steering and the appliances")
        steering = self._processes.start(
            "steering", python("steering", "serve", "--config", layout.config("steering"))
        )
        self._ready(steering, f"{layout.steering}/readyz")
        boxes = [
            (
                box,
                self._processes.start(
                    box.id, python("oca", "serve", "--config", layout.config(f"oca-{box.id}"))
                ),
            )
            for box in layout.boxes
        ]
        for box, child in boxes:
            self._ready(child, f"{box.admin}/readyz")
        return boxes

    def _fill(self, site: list[Box]) -> None:
        """All of a site at the same time, as their timers would: each fetches a part, and they copy from each other."""
        first, *others = site
        self._say(f"Filling {' and '.join(box.id for box in site)} as planned")
        beside = [
            self._processes.start(
                f"fill-{box.id}", python("fill", "run", "--config", self._layout.config(f"fill-{box.id}"))
            )
            for box in others
        ]
        self._show("fill", "run", config=f"fill-{first.id}")
        for child in beside:
            self._processes.finish(child)
            if child.log is not None:
                self._console.print(child.log.read_text().strip(), highlight=False, markup=False)

    def _start_playback(self, key: str, title: str) -> None:
        layout = self._layout
        self._say("Starting the playback service and the player page")
        command = python("demo.playback", "--steering", layout.steering, "--title", title)
        command += ["--listen", f"{HOST}:{layout.player_port}"]
        child = self._processes.start("playback", command, env={KEY_VARIABLE: key})
        self._ready(child, f"{layout.player}api/titles")

    def _wait_for_candidates(self, key: str, title: str, boxes: list[Child]) -> SteerResponse:
        wanted = {box.id for box in self._layout.boxes}
        answers: list[SteerResponse] = []

        def all_offered() -> bool:
            try:
                answer = steer(self._layout.steering, key, title)
            except OSError:
                return False
            if answer is None:
                return False
            answers[:] = [answer]
            # An appliance whose heartbeat does not yet tell of its fill is offered as well, but further down.
            return wanted <= {
                candidate.appliance
                for candidate in answer.candidates
                if "holds the title" in candidate.reason
            }

        self._processes.wait_until("an answer of steering with all appliances", all_offered, boxes, _READY_S)
        return answers[0]

    def _ready(self, child: Child, url: str) -> None:
        self._processes.wait_until(f"{child.name} becoming ready", lambda: _answers(url), [child], _READY_S)

    def _show(self, program: str, *arguments: str | Path, config: str) -> None:
        command = python(program, *arguments, "--config", self._layout.config(config))
        self._processes.show(f"{program} {arguments[0]}", command)

    def _ask(self, program: str, subcommand: str, *, config: str) -> dict[str, Any]:
        command = python(program, subcommand, "--json", "--config", self._layout.config(config))
        answer = self._processes.capture(f"{program}-{subcommand}", command)
        return msgspec.json.decode(answer, type=dict[str, Any])

    def _say(self, text: str) -> None:
        self._step += 1
        self._console.print(f"[bold]{self._step:2}[/] {text}", highlight=False)


def steer(steering: str, key: str, title: str) -> SteerResponse | None:
    """Steering's answer for a viewer on this machine; None when it has none to give. OSError: it does not answer."""
    request = urllib.request.Request(
        f"{steering}/v1/steer",
        data=msgspec.json.encode({"client_ip": HOST, "title": title}),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return msgspec.json.decode(answer.read(), type=SteerResponse)
    except urllib.error.HTTPError as error:
        if error.code in {404, 503}:
            return None  # it has not read the catalog yet, or heard of an appliance that holds the title
        raise CommandError(f"steering answered {error.code} to the demo's own question") from None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # HTTPError and URLError are OSErrors: not ready, or not there
        return False
