"""The data port over TLS, with OpenSSL's client: the same answers, and nothing but TLS 1.3."""

from __future__ import annotations

import json
import random
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests import certificates, commands
from tests.appliance import Appliance, running
from tests.component.oca.test_serving import Answer
from tests.ports import free_port
from tests.waiting import PATIENCE_S

KEY = "tt0010/720p/video.mp4"
SIZE = 5 * (1 << 20) + 321


@dataclass
class Secure:
    appliance: Appliance
    port: int
    certificate: Path
    data: bytes

    @contextmanager
    def connect(self, **options: object) -> Iterator[tuple[ssl.SSLSocket, BinaryIO]]:
        context = ssl.create_default_context(cafile=str(self.certificate))
        for name, value in options.items():
            setattr(context, name, value)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
            sock.makefile("rb") as file,
        ):
            yield sock, file


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    root = tmp_path_factory.mktemp("tls")
    certificate, key = certificates.make(root)
    port = free_port()
    tls = {"certificate_file": str(certificate), "key_file": str(key), "listen": f"127.0.0.1:{port}"}
    data = random.Random(10).randbytes(SIZE)
    with running(root, tls=tls) as appliance:
        appliance.put(KEY, data)
        yield Secure(appliance, port, certificate, data)


def request(fields: str = "") -> bytes:
    return f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()


def test_the_whole_object_again_and_again_on_one_connection(secure: Secure) -> None:
    with secure.connect() as (sock, file):
        assert sock.version() == "TLSv1.3"
        for _ in range(4):
            sock.sendall(request())
            answer = Answer(file)
            assert (answer.status, answer.body) == (200, secure.data)


@pytest.mark.parametrize("span", [(0, 0), (0, 65535), (1 << 20, (3 << 20) + 17), (SIZE - 1, SIZE - 1)])
def test_ranges(secure: Secure, span: tuple[int, int]) -> None:
    with secure.connect() as (sock, file):
        for _ in range(3):
            sock.sendall(request(f"Range: bytes={span[0]}-{span[1]}\r\n"))
            answer = Answer(file)
            assert (answer.status, answer.body) == (206, secure.data[span[0] : span[1] + 1])


def test_pipelined_requests_are_answered_in_order(secure: Secure) -> None:
    with secure.connect() as (sock, file):
        sock.sendall(b"".join(request(f"Range: bytes={at}-{at + 9}\r\n") for at in range(0, 100, 10)))
        for at in range(0, 100, 10):
            assert Answer(file).body == secure.data[at : at + 10]


def test_a_slow_client_gets_all_of_it(secure: Secure) -> None:
    with secure.connect() as (sock, _):
        sock.sendall(request("Connection: close\r\n"))
        got = bytearray()
        # Small reads: the server has to wait for room again and again.
        while data := sock.recv(20_000):
            got += data
        assert got.endswith(secure.data)


def test_the_end_of_the_connection_is_announced(secure: Secure) -> None:
    """Without close_notify a client could not tell an end from a cut."""
    with secure.connect() as (sock, file):
        sock.suppress_ragged_eofs = False
        sock.sendall(request("Range: bytes=0-9\r\nConnection: close\r\n"))
        assert Answer(file).headers["connection"] == "close"
        assert file.read() == b""


def test_older_versions_are_refused(secure: Secure) -> None:
    with (
        pytest.raises(ssl.SSLError),
        secure.connect(maximum_version=ssl.TLSVersion.TLSv1_2),
    ):
        pass


def test_clients_that_vanish_or_speak_something_else_harm_nobody(secure: Secure) -> None:
    for said in (b"", b"\x16\x03", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(1000)):
        for linger in (False, True):
            sock = socket.create_connection(("127.0.0.1", secure.port), timeout=PATIENCE_S)
            sock.sendall(said)
            if linger:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
    with secure.connect() as (sock, file):
        sock.sendall(request("Range: bytes=5-9\r\n"))
        assert Answer(file).body == secure.data[5:10]
    log = (secure.appliance.root / "log").read_text()
    assert "Traceback" not in log
    assert '"level": "error"' not in log


def test_a_client_that_leaves_in_the_middle_harms_nobody(secure: Secure) -> None:
    for _ in range(10):
        with secure.connect() as (sock, _):
            sock.sendall(request())
            sock.recv(1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with secure.connect() as (sock, file):
        sock.sendall(request())
        assert Answer(file).body == secure.data
    assert "Traceback" not in (secure.appliance.root / "log").read_text()


def test_what_encrypts_is_said_at_the_start(secure: Secure) -> None:
    offered = "tls" in Path("/proc/sys/net/ipv4/tcp_available_ulp").read_text().split()
    said = [json.loads(line) for line in (secure.appliance.root / "log").read_text().splitlines()]
    (line,) = [line for line in said if line["event"] == "tls"]
    assert line["kernel_tls"] == ("on" if offered else "not offered by this kernel (modprobe tls)")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tls": {"certificate_file": "one.crt", "key_file": "two.key"}}, "(?i)two.key.*mismatch"),
        ({"tls": {"certificate_file": "absent.crt", "key_file": "two.key"}}, "absent.crt.*No such file"),
        ({"congestion_control": "nonsense"}, "congestion_control: nonsense.*the kernel has"),
        ({"access_log": "/proc/version/x"}, "access_log|/proc/version/x"),
    ],
)
def test_what_the_workers_cannot_use_is_one_line_and_exit_2(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    certificates.make(tmp_path, "one")
    certificates.make(tmp_path, "two")
    if "tls" in changes:
        files = {name: str(tmp_path / file) for name, file in changes["tls"].items()}
        changes = {"tls": {**files, "listen": f"127.0.0.1:{free_port()}"}}
    with running(tmp_path, start=False, **changes):
        done = commands.run("oca", "serve", "--config", tmp_path / "oca.yaml")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert re.search(says, said[0]), said
    assert "Traceback" not in done.stderr
