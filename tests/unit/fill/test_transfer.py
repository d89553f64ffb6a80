"""Transfer under a virtual clock, from an origin that does what each case says."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import pytest
import xxhash
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, digest
from daemon.s3 import S3Error
from fill.agent.backoff import Patience, Retry
from fill.agent.transfer import BadOrigin, Transfer

TRIES = 4
SIZE = 10 * SLICE_BYTES + 7
DATA = random.Random(1).randbytes(SIZE)


def _item() -> CatalogObject:
    digests = b"".join(digest(DATA[at : at + SLICE_BYTES]) for at in range(0, SIZE, SLICE_BYTES))
    return CatalogObject(
        "tt1/video.mp4", SIZE, "video/mp4", f'"{xxhash.xxh3_128_hexdigest(digests)}"', 0, digests
    )


ITEM = _item()


class Origin:
    """As boto3's client: answers ranges of ``DATA``; ``faults`` has what to do to each request in turn."""

    def __init__(self, *faults: Callable[[bytes], bytes] | Exception | None) -> None:
        self._faults = list(faults)
        self.asked: list[tuple[int, int]] = []

    def get_object(self, *, Bucket: str, Key: str, Range: str) -> dict[str, Any]:  # noqa: N803
        assert (Bucket, Key) == ("bucket", "media/tt1/video.mp4")
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-"))
        self.asked.append((first // SLICE_BYTES, last // SLICE_BYTES))
        fault = self._faults.pop(0) if self._faults else None
        if isinstance(fault, Exception):
            raise fault
        body = DATA[first : last + 1]
        return {
            "ResponseMetadata": {"HTTPStatusCode": 206},
            "ContentRange": f"bytes {first}-{last}/{SIZE}",
            "Body": io.BytesIO(fault(body) if fault else body),
        }


class Taken:
    """What was handed on, and how long was slept."""

    def __init__(self, origin: Origin, missing: list[int] | None = None) -> None:
        self.slices: dict[int, bytes] = {}
        self.slept: list[float] = []
        patience = Patience(Retry(TRIES, 1.0, 8.0), self.slept.append, lambda: 1.0)
        transfer = Transfer(origin, "bucket", patience)  # type: ignore[arg-type]
        transfer.fetch(ITEM, range(11) if missing is None else missing, self.take)

    def take(self, index: int, data: bytes) -> bool:
        assert index not in self.slices, "no slice is handed on twice"
        self.slices[index] = data
        return True

    @property
    def whole(self) -> bool:
        return b"".join(data for _, data in sorted(self.slices.items())) == DATA


def _busy(seconds: str | None = None) -> ClientError:
    headers = {} if seconds is None else {"retry-after": seconds}
    about: Any = {"HTTPStatusCode": 503, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": about}, "GetObject")


def _code(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetObject")


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
    assert origin.asked == [(0, 7), (3, 7), (8, 10)]
    assert taken.slept == [1.0]


def test_a_slice_that_is_wrong_once_is_asked_for_alone_and_the_rest_of_its_answer_is_kept() -> None:
    origin = Origin(_flip(2, 5))
    taken = Taken(origin)
    assert taken.whole
    assert origin.asked == [(0, 7), (2, 2), (5, 5), (8, 10)]
    assert taken.slept == []


def test_a_slice_that_is_wrong_twice_is_named_with_both_digests() -> None:
    origin = Origin(_flip(2), _flip(0))
    with pytest.raises(BadOrigin) as raised:
        Taken(origin)
    wrong = bytearray(DATA[2 * SLICE_BYTES : 3 * SLICE_BYTES])
    wrong[0] ^= 1
    assert str(raised.value) == (
        f"tt1/video.mp4: slice 2: its xxh3-128 is {digest(wrong).hex()}, and "
        f"{ITEM.slice_digest(2).hex()} was published: not the bytes that were published"
    )
    assert len(origin.asked) == 2


def test_trouble_is_waited_out_with_a_doubling_ceiling_and_as_long_as_s3_asks() -> None:
    unreachable = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    taken = Taken(Origin(_busy(), _busy("20"), unreachable))
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


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket", "AccessDenied", "MethodNotAllowed"])
def test_trouble_that_does_not_pass_is_not_asked_again(code: str) -> None:
    origin = Origin(_code(code))
    with pytest.raises(S3Error, match=code):
        Taken(origin)
    assert len(origin.asked) == 1


def test_a_range_past_the_end_means_a_truncated_object() -> None:
    with pytest.raises(BadOrigin, match=f"shorter than the {SIZE} bytes published"):
        Taken(Origin(*[_code("InvalidRange")] * 2))


def test_it_ends_early_when_the_object_is_complete_already() -> None:
    origin = Origin()
    transfer = Transfer(origin, "bucket", Patience(Retry(), [].append, lambda: 0.0))  # type: ignore[arg-type]
    seen: list[int] = []

    def take(index: int, data: bytes) -> bool:
        seen.append(index)
        return index < 2

    transfer.fetch(ITEM, range(11), take)
    assert seen == [0, 1, 2]
    assert origin.asked == [(0, 7)]


faults = st.one_of(
    st.none(),
    st.floats(0, 8).map(_cut_at),
    st.sets(st.integers(0, 2), min_size=1).map(lambda wrong: _flip(*wrong)),
    st.just(_busy("1")),
)


@given(st.lists(faults, max_size=12), st.sets(st.integers(0, 10)))
def test_whatever_happens_it_ends_with_right_slices_only(faults: list[Any], missing: set[int]) -> None:
    origin = Origin(*[_bounded(fault) for fault in faults])
    try:
        taken = Taken(origin, sorted(missing))
    except (BadOrigin, S3Error):
        return
    assert set(taken.slices) == missing
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
