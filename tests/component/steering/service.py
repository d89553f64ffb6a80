"""A real `steering serve` with its own bucket, fleet file and keys, and everybody who speaks to it."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from joserfc.jwk import OKPKey

from contracts import catalog, plan
from contracts.documents import encode, sha256
from contracts.heartbeat import AUDIENCE, PATH, Heartbeat, PlanProgress
from contracts.objectkey import digest
from contracts.problem import MEDIA_TYPE, Problem
from daemon.s3 import S3Config
from oca.identity import Identity
from tests import commands
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST = "127.0.0.1"
BOXES = {"isp-a1": "isp-a", "isp-a2": "isp-a", "ixp-b1": "ixp-b"}
IDENTITIES = {name: Identity(name, OKPKey.generate_key("Ed25519")) for name in BOXES}
VIEWER = "198.51.100.7"


def wait_until(what: str, true: Callable[[], object]) -> None:
    until(true, lambda: what)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def is_problem(answer: Answer, problem: Problem, says: str = "", field: str | None = None) -> None:
    assert answer.status == problem.status, answer.body
    assert answer.headers["content-type"] == MEDIA_TYPE
    document = answer.json
    assert document["type"] == "urn:nearcast:problem:" + problem.name.lower().replace("_", "-")
    assert document["status"] == problem.status
    assert says in document.get("detail", "")
    assert document.get("field") == field
    for internal in ("Traceback", ".py", "/tmp"):
        assert internal not in answer.body.decode()


@dataclass
class Bucket:
    """What the fill publishes, without an encoder."""

    client: S3Client
    config: S3Config
    versions: int = 0

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.config.bucket, Key=key, Body=body)

    def version(self) -> str:
        self.versions += 1
        return f"20261121T{self.versions:06d}Z-0a1b2c"

    def publish(
        self,
        titles: Mapping[str, tuple[str, ...] | None],
        broken: tuple[str, ...] = (),
        released: Mapping[str, int] | None = None,
    ) -> str:
        """A catalog of these titles, each with its countries; the entries of ``broken`` are no JSON.

        ``released`` has the dates of those that have one.
        """
        version = self.version()
        refs = []
        for title, countries in titles.items():
            data = b"#EXTM3U\n"
            objects = tuple(
                catalog.CatalogObject(f"{title}/{name}", len(data), "video/mp4", '"e"', 1, digest(data))
                for name in ("master.m3u8", "manifest.mpd")
            )
            entry = catalog.TitleEntry(
                title, 1, 1.0, objects, f"{title}/master.m3u8", f"{title}/manifest.mpd", countries
            )
            entry = msgspec.structs.replace(entry, released_at=(released or {}).get(title))
            key = catalog.entry_key(version, title)
            raw = b"{" if title in broken else encode(entry)
            self.put(key, raw)
            refs.append(catalog.TitleRef(title, key, 16, 1, sha256=sha256(raw)))
        self.put(catalog.index_key(version), encode(catalog.CatalogIndex(version, tuple(refs))))
        self.put(catalog.LATEST_KEY, encode(catalog.Latest(version)))
        return version

    def plan(self, titles: Mapping[str, tuple[str, ...]], catalog_version: str) -> str:
        """A plan of these titles for each of these appliances."""
        version = self.version()
        for name, wanted in titles.items():
            objects = tuple(
                plan.PlannedObject(f"{title}/{part}", 8, "test")
                for title in wanted
                for part in ("master.m3u8", "manifest.mpd")
            )
            made = plan.Plan(version, name, BOXES.get(name, "isp-a"), catalog_version, objects)
            self.put(plan.plan_key(version, name), encode(made))
        self.put(plan.LATEST_KEY, encode(catalog.Latest(version)))
        return version


def fleet(*without: str) -> dict[str, Any]:
    """The fleet file: two appliances in an ISP, one at an exchange."""

    def appliances(site: str) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "url": f"http://{name}.example:8080",
                "capacity_bytes": 10**9,
                "throughput_bps": 10**9,
                "public_key": IDENTITIES[name].public_key(),
            }
            for name, at in BOXES.items()
            if at == site and name not in without
        ]

    countries = {"isp-a": "DE", "ixp-b": "AT"}
    prefixes = {"isp-a": ["198.51.100.0/24", "2001:db8:a::/48"], "ixp-b": ["0.0.0.0/1", "198.51.0.0/16"]}
    return {
        "sites": [
            {
                "id": site,
                "tier": site[:3],
                "country": countries[site],
                "prefixes": prefixes[site],
                "appliances": appliances(site),
            }
            for site in prefixes
        ]
    }


@dataclass
class Service:
    """One service in its folder; ``key`` is an API key of it."""

    root: Path
    bucket: Bucket
    port: int = field(default_factory=free_port)
    key: str = ""
    process: subprocess.Popen[bytes] | None = None
    sequence: int = 0
    boot: str = field(default_factory=lambda: secrets.token_hex(8))
    tls: ssl.SSLContext | None = None
    """Whom its callers believe, and what they show; None: it speaks plain HTTP."""

    @property
    def config(self) -> Path:
        return self.root / "steering.yaml"

    @property
    def fleet_file(self) -> Path:
        return self.root / "fleet.yaml"

    def write(self, **changes: Any) -> None:
        origin = msgspec.to_builtins(self.bucket.config)
        origin |= {"connect_timeout_s": 1, "read_timeout_s": 60} | changes.pop("origin", {})
        document = {
            "fleet": str(self.fleet_file),
            "public_url": self.url,
            "listen": f"{HOST}:{self.port}",
            "state_dir": str(self.root / "state"),
            "origin": origin,
            "content_refresh_s": 0.05,
            "reads_per_s": 1000,  # whoever waits for something looks at the fleet all the time
        }
        self.config.write_text(yaml.safe_dump(document | changes))
        if not self.fleet_file.exists():
            self.fleet_file.write_text(yaml.safe_dump(fleet()))

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        asked = list(arguments)
        if "--config" not in asked:
            asked[1:1] = ["--config", str(self.config)]
        return commands.run("steering", *asked, env=os.environ | environment)

    def keys(self, *arguments: str) -> Any:
        """What ``steering keys`` says of it."""
        done = commands.run("steering", "keys", *arguments, "--config", str(self.config), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def init(self) -> None:
        done = self.run("init", "--json")
        assert done.returncode == 0, done.stderr
        self.key = json.loads(done.stdout)["api_key"]

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    @contextmanager
    def running(self) -> Iterator[Service]:
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "steering", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )
        try:
            wait_until("it listens", self._listens)
            yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return self.ask("/healthz").status == 200
        except OSError:
            return False

    def connect(self) -> socket.socket:
        sock = socket.create_connection((HOST, self.port), timeout=PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connection(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """Not open yet; ``tls`` instead of the service's own."""
        context = tls or self.tls
        if context is None:
            return http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)
        return http.client.HTTPSConnection(HOST, self.port, timeout=PATIENCE_S, context=context)

    def reload(self) -> None:
        """SIGHUP; returns when it has been heeded."""
        assert self.process is not None
        before = len(self.logged("reloaded"))
        self.process.send_signal(signal.SIGHUP)
        wait_until("it has reloaded", lambda: len(self.logged("reloaded")) > before)

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str | None = None,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = self.connection()
        sent = dict(headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask(path, authorization=f"Bearer {self.key}")

    def steer(self, **question: Any) -> Answer:
        raw = json.dumps({"client_ip": VIEWER, "title": "tt1"} | question).encode()
        return self.ask("/v1/steer", raw, authorization=f"Bearer {self.key}")

    def message(self, name: str = "isp-a1", **changes: Any) -> Heartbeat:
        """The next heartbeat of an appliance that carries out the newest plan and misses nothing."""
        self.sequence += 1
        newest = self.get("/v1/fleet").json["plan"]
        made = Heartbeat(
            appliance=name,
            boot=self.boot,
            sequence=self.sequence,
            software="0.1.0",
            draining=False,
            connections=3,
            tx_bps=10**6,
            requests=7,
            disks=(),
            plan=None if newest is None else PlanProgress(newest, 16, 16),
        )
        return msgspec.structs.replace(made, **changes)

    def send(
        self, body: bytes, *, by: str = "isp-a1", at: float | None = None, token: str | None = None
    ) -> Answer:
        signed = token or IDENTITIES[by].token(AUDIENCE, time.time() if at is None else at, body)
        return self.ask(PATH, body, authorization=f"Bearer {signed}")

    def beat(self, *names: str, **changes: Any) -> None:
        """A heartbeat of each of these appliances; of all when none is named."""
        for name in names or BOXES:
            answer = self.send(encode(self.message(name, **changes)), by=name)
            assert answer.status == 200, answer.body

    def wait_ready(self) -> None:
        wait_until("it is ready", lambda: self.ask("/readyz").status == 200)


class Relay:
    """TCP between steering and S3 that can be cut (``close``) or hold its tongue (``mute``)."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.muted = threading.Event()
        self.asked = threading.Event()
        self._target = target
        self._changing = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    def open(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        with self._changing:
            listener, self._listener = self._listener, None
            opened, self._open = self._open, []
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for sock in opened:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self._target))
            except OSError:
                near.close()
                continue
            with self._changing:
                if self._listener is not listener:  # closed between the two
                    near.close()
                    far.close()
                    return
                self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self.asked.set()
                if not self.muted.is_set():
                    other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)
