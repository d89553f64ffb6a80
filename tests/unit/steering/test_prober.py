"""A probe tells a server that answers from every other thing that can be at an address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from steering import prober
from steering.prober import answers
from tests.waiting import until


async def nobody(host: str, port: int) -> str:
    raise OSError(f"{host} has no address")


async def local(host: str, port: int) -> str:
    return "127.0.0.1"


def probe(serve: Callable[[asyncio.StreamWriter], None] | None, host: str = "127.0.0.1") -> bool:
    async def run() -> bool:
        ended = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert serve is not None
            try:
                await reader.readuntil(b"\r\n\r\n")
                serve(writer)
                await reader.read()
            except ConnectionError:
                pass  # a probe that has seen enough hangs up
            finally:
                writer.close()
                ended.set()

        if serve is None:
            with socket.create_server(("127.0.0.1", 0)) as sock:
                port = sock.getsockname()[1]
            return await answers(f"http://{host}:{port}", local)
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            return await answers(f"http://{host}:{server.sockets[0].getsockname()[1]}", local)
        finally:
            await ended.wait()
            server.close()

    return asyncio.run(run())


def test_any_http_answer_is_one() -> None:
    assert probe(lambda writer: writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
    assert probe(lambda writer: writer.write(b"HTTP/1.0 200 OK\r\n\r\n"), host="box.example")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-else\r\n", b"HTT"])
def test_something_else_is_none(said: bytes) -> None:
    def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    assert not probe(serve)


def test_a_port_that_refuses_is_none() -> None:
    assert not probe(None)


def test_a_server_that_hangs_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "TIMEOUT_S", 0.05)
    assert not probe(lambda writer: None)


def test_a_name_without_an_address_is_none() -> None:
    assert not asyncio.run(answers("http://box.example:8080", nobody))


def test_a_silent_resolver_gathers_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is given up after a second goes on in its thread for as long as the resolver likes."""
    silent = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        silent.wait()
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def look_up() -> None:
        with contextlib.suppress(OSError):
            prober.look_up("box.example", 80)

    threads = [threading.Thread(target=look_up) for _ in range(prober.CONCURRENT)]
    try:
        for thread in threads:
            thread.start()
        until(lambda: prober._looking._value == 0)  # type: ignore[attr-defined]
        with pytest.raises(prober.Busy):
            prober.look_up("box.example", 80)
    finally:
        silent.set()
        for thread in threads:
            thread.join()
    with pytest.raises(OSError, match="no such name"):
        prober.look_up("box.example", 80)
