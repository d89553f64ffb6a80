"""One answer on its way out, over a wire that takes as much as it likes, from a file that comes slice by slice."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import CatalogObject
from contracts.objectkey import DIGEST_BYTES, SLICE_BYTES, slice_count, slices_covering
from oca.edge.delivery import Delivery, DiskFault, Progress
from oca.edge.files import OpenFile

SIZE = 3 * SLICE_BYTES + 1000
DATA = random.Random(3).randbytes(SIZE)
SLICES = slice_count(SIZE)


class Wire:
    """Takes what ``room`` says, call by call, then as much as it is given; raises where told to."""

    def __init__(self, room: Iterator[int]) -> None:
        self.taken = bytearray()
        self.fault: OSError | None = None
        self._room = room

    def _take(self, count: int) -> int:
        if self.fault is not None:
            raise self.fault
        allowed = next(self._room, count)
        if allowed == 0:
            raise BlockingIOError
        return min(allowed, count)

    def send(self, data: bytes | memoryview, flags: int) -> int:
        count = self._take(len(data))
        self.taken += data[:count]
        return count

    def sendfile(self, fd: int, start: int, count: int) -> int:
        count = self._take(count)
        got = os.pread(fd, count, start)
        self.taken += got
        return len(got)


def opened(verified: bytes | None = None, size: int = SIZE) -> OpenFile:
    digests = bytes(slice_count(SIZE) * DIGEST_BYTES)
    item = CatalogObject("tt1/a.mp4", SIZE, "video/mp4", '"e"', 1, digests)
    with tempfile.TemporaryFile() as file:
        file.write(DATA[:size])
        file.flush()
        return OpenFile(
            os.dup(file.fileno()), item, "/disk", None if verified is None else bytearray(verified)
        )


def begun(wire: Wire, file: OpenFile | None, parts: list[bytes | tuple[int, int]]) -> Delivery:
    delivery = Delivery(wire)  # type: ignore[arg-type]
    delivery.begin(206, b"HEAD", parts, 1, file)
    return delivery


def expected(parts: list[bytes | tuple[int, int]]) -> bytes:
    return b"HEAD" + b"".join(part if isinstance(part, bytes) else DATA[slice(*part)] for part in parts)


span = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda pair: (pair[0], min(SIZE, sum(pair)))
)
part = st.one_of(st.binary(min_size=1, max_size=50), span)
# Few sizes and few examples: each moves megabytes.
rooms = st.lists(st.sampled_from([0, 1, 3, 1000, 70_000, SLICE_BYTES]), max_size=40)


@given(st.lists(part, max_size=4), rooms)
def test_what_goes_out_is_the_answer_however_the_wire_takes_it(
    parts: list[bytes | tuple[int, int]], room: list[int]
) -> None:
    wire = Wire(iter(room))
    delivery = begun(wire, opened(), parts)
    for _ in range(1000):
        progress = delivery.pump(0.0)
        assert progress in {Progress.DONE, Progress.FULL, Progress.YIELDED}
        if progress is Progress.DONE:
            break
    assert bytes(wire.taken) == expected(parts)


@given(span, st.permutations(range(SLICES)), rooms)
def test_no_byte_goes_out_before_its_slice_is_there(
    asked: tuple[int, int], order: list[int], room: list[int]
) -> None:
    file, wire = opened(bytes(1)), Wire(iter(room))
    delivery = begun(wire, file, [asked])
    arriving = iter(order)
    for _ in range(1000):
        progress = delivery.pump(0.0)
        out = len(wire.taken) - 4
        assert all(file.has(index) for index in slices_covering(asked[0], asked[0] + out))
        if progress is Progress.DONE:
            break
        if progress is Progress.ABSENT:
            wanted = delivery.wanted()
            assert wanted
            assert not file.has(wanted[0])
            index = next(arriving)
            assert file.bitmap is not None
            file.bitmap[0] |= 1 << index
    assert bytes(wire.taken) == expected([asked])


def test_nothing_at_all_goes_out_while_the_first_slice_is_missing() -> None:
    """So that the answer can still become an error."""
    wire = Wire(iter(()))
    delivery = begun(wire, opened(bytes([0b0010])), [(0, 2 * SLICE_BYTES)])
    assert delivery.pump(0.0) is Progress.ABSENT
    assert delivery.wanted() == range(2)
    assert not wire.taken
    assert not delivery.started


def test_an_answer_that_others_waited_for_too_begins_with_a_little() -> None:
    """So that thousands who waited for one slice all see their answer begin before the first has its megabyte."""
    wire = Wire(iter(()))
    delivery = begun(wire, opened(bytes([0b1111])), [(0, SLICE_BYTES)])
    assert delivery.pump(0.0) is Progress.YIELDED
    assert 4 < len(wire.taken) <= 16 << 10
    assert delivery.pump(0.0) is Progress.YIELDED
    assert len(wire.taken) > 16 << 10


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        (0, 63, range(8)),
        (3, 63, range(3, 8)),
        (4, 63, range(4, 16)),
        (8, 63, range(8, 16)),
        (13, 63, range(13, 24)),
        (5, 6, range(5, 7)),
        (60, 63, range(60, 64)),
    ],
)
def test_what_is_wanted_ends_where_every_players_wish_ends(first: int, last: int, wanted: range) -> None:
    """Players a slice apart must not each ask for one slice more: that would be a request upstream for each."""
    file = opened(bytes(8))
    delivery = begun(Wire(iter(())), file, [(first * SLICE_BYTES, (last + 1) * SLICE_BYTES)])
    assert delivery.wanted() == wanted


def test_a_span_that_is_not_in_memory_is_asked_for_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oca.edge.files.is_warm", lambda fd, start, end: False)
    wire = Wire(iter(()))
    delivery = begun(wire, opened(), [(100, SIZE)])
    windows = []
    turns = 0
    while (progress := delivery.pump(0.0)) is not Progress.DONE:
        turns += 1
        if progress is Progress.COLD:
            windows.append(delivery.window())
            delivery.warmed(windows[-1][1])
    # After the disk it is sent in small turns, so that what is in memory overtakes it.
    assert turns > SIZE // (256 << 10)
    assert bytes(wire.taken) == expected([(100, SIZE)])
    assert windows[0][0] == 100
    assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]]
    assert windows[-1][1] == SIZE


def test_a_file_that_is_shorter_than_it_says_is_the_disk_s_fault() -> None:
    delivery = begun(Wire(iter(())), opened(size=1000), [(0, 5000)])
    with pytest.raises(DiskFault) as fault:
        delivery.pump(0.0)
    assert fault.value.errno == errno.EIO


@pytest.mark.parametrize(
    ("number", "disk"),
    [(errno.EIO, True), (errno.ESTALE, True), (errno.ECONNRESET, False), (errno.EPIPE, False), (errno.ETIMEDOUT, False)],
)  # fmt: skip
def test_a_dying_disk_is_not_taken_for_a_client_that_left(number: int, disk: bool) -> None:
    wire = Wire(iter((4,)))
    delivery = begun(wire, opened(), [(0, 5000)])
    wire._room = iter((4, 0))
    assert delivery.pump(0.0) is Progress.FULL
    wire.fault = OSError(number, os.strerror(number))
    with pytest.raises(DiskFault if disk else OSError) as fault:
        delivery.pump(0.0)
    assert fault.value.errno == number


def test_a_fast_client_of_a_large_file_gives_way_to_others() -> None:
    wire = Wire(iter([10_000] * 1000))
    delivery = begun(wire, opened(), [(0, SIZE)])
    assert delivery.pump(0.0) is Progress.YIELDED
    assert 0 < len(wire.taken) < SIZE


@given(st.one_of(span, st.sampled_from([(0, 65536), (5, 70_000), (0, 300_000)])), rooms)
def test_at_once_is_all_or_the_beginning_of_what_goes_on(asked: tuple[int, int], room: list[int]) -> None:
    wire, file = Wire(iter(room)), opened()
    delivery = Delivery(wire)  # type: ignore[arg-type]
    done = delivery.at_once(206, b"HEAD", asked, file, 0.0)
    assert done is (bytes(wire.taken) == expected([asked]))
    assert (delivery.status, delivery.body_bytes, delivery.file) == (206, asked[1] - asked[0], file)
    for _ in range(1000):
        if done or delivery.pump(0.0) is Progress.DONE:
            break
    assert bytes(wire.taken) == expected([asked])


def test_at_once_leaves_a_failing_disk_to_be_found_by_the_next_step() -> None:
    wire = Wire(iter(()))
    delivery = Delivery(wire)  # type: ignore[arg-type]
    assert not delivery.at_once(206, b"HEAD", (0, 5000), opened(size=1000), 0.0)
    with pytest.raises(DiskFault):
        delivery.pump(0.0)


def test_it_is_used_again_for_the_next_answer() -> None:
    wire = Wire(iter(()))
    delivery = begun(wire, opened(), [(0, 10)])
    assert delivery.pump(0.0) is Progress.DONE
    assert delivery.started
    delivery.begin(404, b"NEXT", [b"body"], 4, None)
    assert not delivery.started
    assert delivery.pump(0.0) is Progress.DONE
    assert bytes(wire.taken) == expected([(0, 10)]) + b"NEXTbody"
