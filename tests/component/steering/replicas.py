"""Several replicas of one steering on a real NATS server."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import yaml

from tests.component.steering.service import Bucket, Service
from tests.natsserver import NatsServer


class Replicas:
    """They share the keys, as an operator gives every replica the same state_dir's files."""

    def __init__(self, folder: Path, bucket: Bucket, nats: NatsServer) -> None:
        self._folder = folder
        self._bucket = bucket
        self.nats = nats
        self._first: Service | None = None
        self.running = ExitStack()

    def start(self, name: str, fleet: object = None) -> Service:
        root = self._folder / name
        root.mkdir()
        if fleet is not None:
            (root / "fleet.yaml").write_text(yaml.safe_dump(fleet))
        made = Service(root, self._bucket)
        made.write(store={"engine": "nats", "servers": [self.nats.url]})
        if self._first is None:
            made.init()
            self._first = made
        else:
            made.key = self._first.key
            (root / "state").mkdir()
            for file in (self._first.root / "state").iterdir():
                (root / "state" / file.name).write_bytes(file.read_bytes())
        self.running.enter_context(made.running())
        made.wait_ready()
        return made
