"""The access log: a line per request that log analysers of nginx read, no token, and a disk that fails."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from daemon.config import ConfigError
from oca.edge.accesslog import _HELD_BYTES, AccessLog
from oca.edge.request import Request
from steering.keys import Paths, Signer, make
from tests.appliance import running
from tests.component.oca.test_serving import ask
from tests.waiting import until

KEY = "tt0041/720p/video.mp4"
# nginx's combined format, as its documentation of ngx_http_log_module gives it, then our two.
LINE = re.compile(
    r'(?P<address>\S+) - (?P<user>\S+) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] '
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" '
    r'"(?P<cache>[^"]*)" (?P<seconds>\d+\.\d{3})\Z'
)  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    found = []
    for line in path.read_text().splitlines():
        match = LINE.match(line)
        assert match is not None, line
        found.append(match.groupdict())
    return found


def test_each_request_is_a_line_without_its_token(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "steering")
    make(paths, new_api_key=False)
    token, _ = Signer.load(paths).sign("tt0041", "session-1", time.time(), 3600)
    log = tmp_path / "access.log"
    auth = {"required": True, "keys_file": str(paths.public)}
    with running(tmp_path, workers=2, auth=auth, access_log=str(log)) as appliance:
        appliance.put(KEY, b"x" * 100_000)
        for target in (
            f"/URISigningPackage={token}/{KEY}",
            f"/{KEY}?URISigningPackage={token}&a=b",
            f"/%55RISigningPackage=%65{token[1:]}/{KEY}",
        ):
            for _ in range(3):  # the third time it is known by heart
                fields = f'Range: bytes=0-9\r\nReferer: http://192.0.2.1{target}\r\nUser-Agent: te"st\\\r\n'
                assert ask(appliance, fields, target=target).status == 206
        assert ask(appliance, f"Cookie: URISigningPackage={token}\r\n", "HEAD", f"/{KEY}").status == 200
        assert ask(appliance, target=f"/{KEY}").status == 403
        with appliance.connect() as sock:
            sock.sendall(b"nonsense\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    text = log.read_text()
    assert token not in text
    assert not any(part in text for part in token.split("."))
    lines = read(log)
    assert len(lines) == 12
    ranges = [line for line in lines if line["status"] == "206"]
    assert {line["request"] for line in ranges} == {
        f"GET /(token)/{KEY} HTTP/1.1",
        f"GET /{KEY}?(token)&a=b HTTP/1.1",
    }
    assert {(line["bytes"], line["cache"], line["address"]) for line in ranges} == {
        ("10", "test-1; hit", "127.0.0.1")
    }
    assert {line["agent"] for line in ranges} == {r"te\x22st\x5C"}
    (head,) = (line for line in lines if line["status"] == "200")
    assert (head["request"], head["bytes"]) == (f"HEAD /{KEY} HTTP/1.1", "0")
    (refused,) = (line for line in lines if line["status"] == "403")
    assert refused["cache"] == "-"
    (bad,) = (line for line in lines if line["status"] == "400")
    assert bad["request"] == "-"


def test_sighup_goes_on_in_a_new_file(tmp_path: Path) -> None:
    """As logrotate has it: rename, signal, go on."""
    log = tmp_path / "access.log"
    with running(tmp_path, access_log=str(log)) as appliance:
        appliance.put(KEY, b"x" * 1000)
        ask(appliance, target=f"/{KEY}?old")
        until(lambda: log.stat().st_size > 0)
        log.rename(tmp_path / "access.log.1")
        appliance.process.send_signal(signal.SIGHUP)
        until(log.exists)
        until(lambda: ask(appliance, target=f"/{KEY}?new").status == 200 and bool(log.read_text()))
    assert {line["request"] for line in read(log)} == {f"GET /{KEY}?new HTTP/1.1"}
    assert "?old" in (tmp_path / "access.log.1").read_text()


# The log by itself


def write(log: AccessLog, count: int, agent: str = "agent") -> None:
    request = Request(b"GET", b"/a/b", {b"user-agent": agent})
    for _ in range(count):
        log.write("192.0.2.7", request, 200, 10, 0.0124, "hit")


def test_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), "isp-a1")
    log.tick(1_795_255_200)
    write(log, 1)
    log.close()
    assert path.read_text() == (
        '192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] "GET /a/b HTTP/1.1" 200 10 "-" "agent" "isp-a1; hit" 0.012\n'
    )


def test_nothing_from_outside_ends_a_field_or_a_line(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), "isp-a1")
    log.tick(0)
    write(log, 1, 'a"b\\c\r\n\x1b[2J\x7f\xe9')
    log.close()
    (line,) = read(tmp_path / "log")
    assert line["agent"] == r"a\x22b\x5Cc\x0D\x0A\x1B[2J\x7F\xE9"


def test_a_full_disk_costs_lines_and_counts_them(tmp_path: Path) -> None:
    """And what comes after it does not stand in a torn line."""
    path = tmp_path / "log"
    room = 0

    def limited(fd: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[:room])
        room -= written
        return written

    log = AccessLog(str(path), "isp-a1", limited)
    log.tick(0)
    write(log, 1)
    one = len(
        '192.0.2.7 - - [01/Jan/1970:00:00:00 +0000] "GET /a/b HTTP/1.1" 200 10 "-" "agent" "isp-a1; hit" 0.012\n'
    )
    room = one + 10
    write(log, 3)
    log.tick(1)
    until(lambda: log.take_lost() == 3)
    room = 10_000
    write(log, 2)
    log.close()
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert [bool(LINE.match(line)) for line in lines] == [True, False, True, True]
    assert log.take_lost() == 0


def test_a_disk_that_hangs_costs_lines_and_no_time(tmp_path: Path) -> None:
    hangs = threading.Event()

    def slow(fd: int, data: memoryview) -> int:
        assert hangs.wait(30)
        return os.write(fd, data)

    log = AccessLog(str(tmp_path / "log"), "isp-a1", slow)
    log.tick(0)
    write(log, 30_000)  # returns, though nothing can be written
    hangs.set()
    log.close()
    kept = len(read(tmp_path / "log"))
    assert kept + log.take_lost() == 30_000
    assert 0 < kept * 100 < _HELD_BYTES * 1.5


def test_reopening_a_log_that_cannot_be_opened_goes_on_in_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "log"), "isp-a1")
    log.tick(0)
    folder.rename(tmp_path / "moved")
    log.reopen()
    write(log, 1)
    log.close()
    assert len(read(tmp_path / "moved/log")) == 1


def test_reopening_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), "isp-a1")
    log.tick(0)
    write(log, 1)
    log.flush()
    until(lambda: path.stat().st_size > 0)
    path.rename(tmp_path / "log.1")
    log.reopen()
    write(log, 2)
    log.close()
    assert (len(read(tmp_path / "log.1")), len(read(path))) == (1, 2)


def test_a_log_that_cannot_be_written_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"access_log: .*/none/log: No such file or directory"):
        AccessLog(str(tmp_path / "none/log"), "isp-a1")
