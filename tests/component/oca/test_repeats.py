"""The short way and the long way give one answer: each request is made three times on one connection."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.appliance import Appliance, running

KEY = "tt0009/720p/video.mp4"
SIZE = 2 * (1 << 20) + 77


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running(
        tmp_path_factory.mktemp("oca"), cors_origins=["https://a.example", "https://b.example"]
    ) as made:
        made.put(KEY, random.Random(9).randbytes(SIZE))
        made.put("tt0009/empty.vtt", b"")
        yield made


def raw_answer(appliance: Appliance, request: bytes, times: int) -> list[bytes]:
    """The answers, byte for byte but for their Date."""
    answers = []
    with appliance.connect() as sock, sock.makefile("rb") as file:
        for _ in range(times):
            sock.sendall(request)
            head = []
            while (line := file.readline()) not in (b"\r\n", b""):
                head.append(line)
            length = next(
                int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length")
            )
            body = b"" if request.startswith(b"HEAD") or b" 304 " in head[0] else file.read(length)
            kept = sorted(line for line in head if not line.startswith(b"Date:"))
            answers.append(head[0] + b"".join(kept) + body)
    return answers


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Range: bytes=0-0\r\n",
        b"Range: bytes=65536-131071\r\n",
        b"Range: bytes=0-99999999\r\n",
        f"Range: bytes={SIZE - 1}-{SIZE - 1}\r\n".encode(),
        f"Range: bytes={SIZE}-{SIZE + 5}\r\n".encode(),
        b"Range: bytes=9-5\r\n",
        b"Range: bytes=0-99999999999999999999999\r\n",
        b"Range: bytes=5-\r\n",
        b"Range: bytes=0-9,100-109\r\n",
        b"Range: bytes=0-9\r\nOrigin: https://a.example\r\n",
        b"Range: bytes=0-9\r\nOrigin: https://c.example\r\n",
        b"Range: bytes=0-9\r\nIf-Range: \"other\"\r\n",
        b"Range:bytes=0-9\r\n",
        b"range: bytes=0-9\r\n",
    ],
)  # fmt: skip
def test_the_same_request_gets_the_same_answer_every_time(appliance: Appliance, fields: bytes) -> None:
    request = f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n".encode() + fields + b"\r\n"
    first, *others = raw_answer(appliance, request, 4)
    assert others == [first] * 3


def test_viewers_with_other_origins_do_not_get_one_another_s_fields(appliance: Appliance) -> None:
    request = b"GET /%b HTTP/1.1\r\nHost: a\r\nOrigin: https://%b.example\r\nRange: bytes=0-9\r\n\r\n"
    for name in (b"a", b"b", b"a", b"b"):
        for answer in raw_answer(appliance, request % (KEY.encode(), name), 2):
            assert b"Access-Control-Allow-Origin: https://%b.example\r\n" % name in answer


@pytest.mark.parametrize("fields", [b"", b"Range: bytes=0-9\r\n"])
def test_an_object_with_nothing_in_it(appliance: Appliance, fields: bytes) -> None:
    request = b"GET /tt0009/empty.vtt HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
    answers = raw_answer(appliance, request, 3)
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].startswith(b"HTTP/1.1 416" if fields else b"HTTP/1.1 200")
