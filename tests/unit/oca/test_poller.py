"""Who is called, and in which order, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from oca.edge.poller import Poller


def run(play: Callable[[Poller], Awaitable[None]]) -> None:
    async def main() -> None:
        poller = Poller(asyncio.get_running_loop())
        try:
            await play(poller)
        finally:
            poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


async def _called(happened: list[str], count: int) -> None:
    async with asyncio.timeout(20):
        while len(happened) < count:
            await asyncio.sleep(0)


def fill(sock: socket.socket) -> None:
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def test_it_is_called_for_what_comes_until_it_is_told_to_stop(pair: Pair) -> None:
    ours, theirs = pair
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        poller.watch_reading(ours.fileno(), lambda: happened.append(ours.recv(10).decode()))
        theirs.send(b"a")
        await _called(happened, 1)
        poller.ignore_reading(ours.fileno())
        theirs.send(b"b")
        for _ in range(20):
            await asyncio.sleep(0)
        assert happened == ["a"]
        poller.watch_reading(ours.fileno(), lambda: happened.append(ours.recv(10).decode()))
        await _called(happened, 2)

    run(play)
    assert happened == ["a", "b"]


def test_the_end_of_the_other_side_is_told_as_something_to_read(pair: Pair) -> None:
    ours, theirs = pair
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        def read() -> None:
            happened.append(f"read {ours.recv(10)!r}")
            poller.forget(ours.fileno())

        poller.watch_reading(ours.fileno(), read)
        theirs.close()
        await _called(happened, 1)

    run(play)
    assert happened == ["read b''"]


def test_room_is_told_once_and_only_when_there_is_some(pair: Pair) -> None:
    ours, theirs = pair
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        fill(ours)
        poller.watch_room(ours.fileno(), lambda: happened.append("room"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert happened == []
        theirs.setblocking(False)
        fill_read(theirs)
        await _called(happened, 1)
        for _ in range(20):
            await asyncio.sleep(0)

    run(play)
    assert happened == ["room"]


def fill_read(sock: socket.socket) -> None:
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


def test_a_client_that_is_gone_is_told_to_who_waits_for_room_alone(pair: Pair) -> None:
    ours, theirs = pair
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        fill(ours)
        poller.watch_room(ours.fileno(), lambda: happened.append("room"))
        theirs.close()
        await _called(happened, 1)

    run(play)
    assert happened == ["room"]


def test_requests_come_before_what_was_deferred_and_one_of_it_at_a_time() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        def request(number: int) -> None:
            pairs[number][0].recv(10)
            happened.append(f"request {number}")

        def turn(name: str) -> None:
            happened.append(name)
            if name == "first":
                pairs[2][1].send(b"x")  # comes while the second waits

        for number, (ours, _) in enumerate(pairs):
            poller.watch_reading(ours.fileno(), lambda number=number: request(number))  # type: ignore[misc]
        poller.defer(lambda: turn("first"))
        poller.defer(lambda: turn("second"))
        pairs[0][1].send(b"x")
        pairs[1][1].send(b"x")
        await _called(happened, 5)

    run(play)
    for both in pairs:
        for sock in both:
            sock.close()
    assert set(happened[:2]) == {"request 0", "request 1"}
    assert happened[2:] == ["first", "request 2", "second"]


def test_who_was_closed_by_another_of_the_same_batch_is_not_called() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        def request(number: int) -> None:
            happened.append("request")
            for ours, _ in pairs:
                poller.forget(ours.fileno())

        for number, (ours, theirs) in enumerate(pairs):
            poller.watch_reading(ours.fileno(), lambda number=number: request(number))  # type: ignore[misc]
            theirs.send(b"x")
        for _ in range(50):
            await asyncio.sleep(0)

    run(play)
    for both in pairs:
        for sock in both:
            sock.close()
    assert happened == ["request"]


def test_what_is_deferred_in_great_number_is_all_done_and_the_loop_has_its_turns() -> None:
    happened: list[str] = []

    async def play(poller: Poller) -> None:
        for _ in range(100):
            poller.defer(lambda: happened.append("turn"))
        asyncio.get_running_loop().call_soon(lambda: happened.append("loop"))
        await _called(happened, 101)

    run(play)
    assert happened.index("loop") < 50
