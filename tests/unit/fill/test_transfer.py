"""Transfer under a virtual clock, from an origin that does what each case says."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, digest
from daemon.s3 import S3Error, Trouble
from fill.agent.backoff import Patience, Retry
from fill.agent.rangeclient import Answer, NoAnswer
from fill.agent.source import BadSource, Kind
from fill.agent.transfer import OriginOnly, Stopped, Transfer
from tests.waiting import PATIENCE_S

TRIES = 4
SIZE = 10 * SLICE_BYTES + 7
DATA = random.Random(1).randbytes(SIZE)


def _item() -> CatalogObject:
    digests = b"".join(digest(DATA[at : at + SLICE_BYTES]) for at in range(0, SIZE, SLICE_BYTES))
    return CatalogObject(
        "tt1/video.mp4", SIZE, "video/mp4", f'"{xxhash.xxh3_128_hexdigest(digests)}"', 0, digests
    )


ITEM = _item()


class _Body(Answer):
    """An answer without a connection under it."""

    def __init__(self, body: bytes) -> None:
        self._left = memoryview(body)

    def into(self, view: memoryview) -> int:
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class Origin:
    """Answers ranges of ``DATA``; ``faults`` has what to do to each request in turn."""

    name = "origin"
    kind = Kind.ORIGIN

    def __init__(self, *faults: Callable[[bytes], bytes] | Exception | None) -> None:
        self._faults = list(faults)
        self.asked: list[tuple[int, int]] = []

    @contextmanager
    def open(self, item: CatalogObject, start: int, end: int) -> Iterator[Answer]:
        self.asked.append((start // SLICE_BYTES, (end - 1) // SLICE_BYTES))
        fault = self._faults.pop(0) if self._faults else None
        if isinstance(fault, Exception):
            raise fault
        body = DATA[start:end]
        try:
            yield _Body(fault(body) if fault else body)
        except NoAnswer as error:
            raise S3Error(str(error), Trouble.UNREACHABLE) from None


class _NoCap:
    piece_bytes = 300_000

    def spend(self, count: int) -> None:
        pass


def _transfer(slept: list[float], parallel: int = 1, stopped: threading.Event | None = None) -> Transfer:
    patience = Patience(Retry(TRIES, 1.0, 8.0), slept.append, lambda: 1.0)
    return Transfer(_POOL, parallel, patience, _NoCap(), stopped or threading.Event())


_POOL = ThreadPoolExecutor(4)


class Taken:
    """What was written and told, and how long was slept."""

    def __init__(self, origin: Origin, missing: list[int] | None = None, parallel: int = 1) -> None:
        self.slices: dict[int, bytes] = {}
        self.told_of: set[int] = set()
        self.slept: list[float] = []
        transfer = _transfer(self.slept, parallel)
        transfer.fetch(ITEM, range(11) if missing is None else missing, OriginOnly(origin), self)

    def write(self, index: int, view: memoryview) -> None:
        assert index not in self.slices, "no slice is written twice"
        self.slices[index] = bytes(view)

    def told(self, first: int, count: int) -> bool:
        said = set(range(first, first + count))
        assert said <= self.slices.keys(), "what is told of is written"
        assert not said & self.told_of, "and told of once"
        self.told_of |= said
        return True

    @property
    def whole(self) -> bool:
        return b"".join(data for _, data in sorted(self.slices.items())) == DATA


def _busy(seconds: float | None = None) -> S3Error:
    return S3Error("busy", Trouble.BUSY, seconds)


def _cut_at(slices: float) -> Callable[[bytes], bytes]:
    return lambda body: body[: int(slices * SLICE_BYTES)]


def _flip(*slices: int) -> Callable[[bytes], bytes]:
    def flip(body: bytes) -> bytes:
        changed = bytearray(body)
        for index in slices:
            changed[index * SLICE_BYTES] ^= 1
        return bytes(changed)

    return flip


def test_requests_are_of_eight_slices() -> None:
    origin = Origin()
    assert Taken(origin).whole
    assert origin.asked == [(0, 7), (8, 10)]


def test_only_what_is_missing_is_asked_for() -> None:
    origin = Origin()
    assert sorted(Taken(origin, [1, 2, 5, 10]).slices) == [1, 2, 5, 10]
    assert origin.asked == [(1, 2), (5, 5), (10, 10)]


def test_a_request_that_breaks_off_goes_on_with_the_slice_it_broke_in() -> None:
    origin = Origin(_cut_at(3.5))
    taken = Taken(origin)
    assert taken.whole
    assert origin.asked == [(0, 7), (3, 10)]
    assert taken.slept == [1.0]


def test_a_slice_that_is_wrong_once_is_asked_for_alone_and_the_rest_of_its_answer_is_kept() -> None:
    origin = Origin(_flip(2, 5))
    taken = Taken(origin)
    assert taken.whole
    assert origin.asked == [(0, 7), (2, 2), (5, 5), (8, 10)]
    assert taken.slept == []


def test_a_slice_that_is_wrong_twice_is_named_with_both_digests() -> None:
    origin = Origin(_flip(2), _flip(0))
    with pytest.raises(BadSource) as raised:
        Taken(origin)
    wrong = bytearray(DATA[2 * SLICE_BYTES : 3 * SLICE_BYTES])
    wrong[0] ^= 1
    assert str(raised.value) == (
        f"tt1/video.mp4: slice 2: its xxh3-128 is {digest(wrong).hex()}, and "
        f"{ITEM.slice_digest(2).hex()} was published: not the bytes that were published"
    )
    assert len(origin.asked) == 2


def test_trouble_is_waited_out_with_a_doubling_ceiling_and_as_long_as_s3_asks() -> None:
    unreachable = S3Error("nobody", Trouble.UNREACHABLE)
    taken = Taken(Origin(_busy(), _busy(20), unreachable))
    assert taken.whole
    assert taken.slept == [1.0, 2.0 + 20.0, 4.0]


def test_tries_are_counted_from_the_last_slice_that_came() -> None:
    """Each of these requests brings one slice and breaks: that is slow, and no reason to give up."""
    taken = Taken(Origin(*[_cut_at(1.5)] * 6))
    assert taken.whole
    assert taken.slept == [1.0] * 6


@pytest.mark.parametrize("fault", [_busy(), _cut_at(0.5)])
def test_trouble_that_stays_ends_after_the_last_try(fault: Callable[[bytes], bytes] | Exception) -> None:
    origin = Origin(*[fault] * 20)
    with pytest.raises(S3Error) as raised:
        Taken(origin)
    assert raised.value.passing
    assert len(origin.asked) == TRIES


@pytest.mark.parametrize("trouble", [Trouble.NO_OBJECT, Trouble.NO_BUCKET, Trouble.REFUSED, Trouble.ODD])
def test_trouble_that_does_not_pass_is_not_asked_again(trouble: Trouble) -> None:
    origin = Origin(S3Error("no", trouble))
    with pytest.raises(S3Error) as raised:
        Taken(origin)
    assert raised.value.trouble is trouble
    assert len(origin.asked) == 1


def test_an_answer_that_is_wrong_as_a_whole_is_asked_for_once_more() -> None:
    assert Taken(Origin(BadSource("short"))).whole
    origin = Origin(BadSource("short"), BadSource("short"))
    with pytest.raises(BadSource):
        Taken(origin)
    assert len(origin.asked) == 2


def test_it_ends_early_when_the_object_is_complete_already() -> None:
    origin = Origin()

    class Complete:
        def write(self, index: int, view: memoryview) -> None:
            pass

        def told(self, first: int, count: int) -> bool:
            return first + count < 3

    _transfer([]).fetch(ITEM, range(11), OriginOnly(origin), Complete())
    assert origin.asked == [(0, 7)]


def test_whoever_fetches_is_stopped_between_two_slices() -> None:
    stopped = threading.Event()
    written: list[int] = []

    class Stopping:
        def write(self, index: int, view: memoryview) -> None:
            written.append(index)

        def told(self, first: int, count: int) -> bool:
            stopped.set()
            return True

    with pytest.raises(Stopped):
        _transfer([], stopped=stopped).fetch(ITEM, range(11), OriginOnly(Origin()), Stopping())
    assert len(written) <= 8, "no second request was made"


def test_what_is_there_is_told_of_while_the_rest_is_waited_for() -> None:
    told, waited = threading.Event(), list[bool]()

    class Waits(_Body):
        def into(self, view: memoryview) -> int:
            if len(self._left) == 6 * SLICE_BYTES and not waited:
                waited.append(told.wait(PATIENCE_S))
            return super().into(view)

    class Origin:
        name = "origin"
        kind = Kind.ORIGIN

        @contextmanager
        def open(self, item: CatalogObject, start: int, end: int) -> Iterator[Answer]:
            yield Waits(DATA[start:end])

    class Sink:
        def write(self, index: int, view: memoryview) -> None:
            pass

        def told(self, first: int, count: int) -> bool:
            told.set()
            return True

    _transfer([]).fetch(ITEM, range(11), OriginOnly(Origin()), Sink())
    assert waited == [True]


def test_several_requests_at_once_ask_for_each_slice_once() -> None:
    origin = Origin()
    assert Taken(origin, parallel=4).whole
    assert sorted(origin.asked) == [(0, 7), (8, 10)]


faults = st.one_of(
    st.none(),
    st.floats(0, 8).map(_cut_at),
    st.sets(st.integers(0, 2), min_size=1).map(lambda wrong: _flip(*wrong)),
    st.just(_busy(1)),
)


@given(st.lists(faults, max_size=12), st.sets(st.integers(0, 10)), st.integers(1, 4))
def test_whatever_happens_it_ends_with_right_slices_only(
    faults: list[Any], missing: set[int], parallel: int
) -> None:
    origin = Origin(*[_bounded(fault) for fault in faults])
    try:
        taken = Taken(origin, sorted(missing), parallel)
    except (BadSource, S3Error):
        return
    assert set(taken.slices) == taken.told_of == missing
    for index, data in taken.slices.items():
        assert data == DATA[index * SLICE_BYTES : (index + 1) * SLICE_BYTES]


def _bounded(fault: Any) -> Any:
    """A fault that flips slices which a short answer does not have flips none."""
    if not callable(fault):
        return fault

    def apply(body: bytes) -> bytes:
        try:
            changed: bytes = fault(body)
        except IndexError:
            return body
        return changed

    return apply
