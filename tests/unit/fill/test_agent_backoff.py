"""Waiting: drawn from a doubling ceiling, longer when asked, and never for ever."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.s3 import S3Error, Trouble, retry_after_s
from fill.agent.backoff import LONGEST_ASKED_S, Patience, Retry

retries = st.tuples(st.integers(1, 20), st.floats(0, 60), st.floats(0, 540)).map(
    lambda drawn: Retry(drawn[0], drawn[1], drawn[1] + drawn[2])
)


@given(retries, st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(-1e9, 1e9))
def test_a_wait_is_never_negative_and_never_longer_than_both_bounds(
    retry: Retry, failures: int, chance: float, asked_s: float | None
) -> None:
    assert 0 <= retry.wait_s(failures, chance, asked_s) <= retry.longest_s + LONGEST_ASKED_S


@pytest.mark.parametrize(
    ("failures", "chance", "asked_s", "wait_s"),
    [
        (1, 1.0, None, 0.5),
        (2, 1.0, None, 1.0),
        (4, 0.5, None, 2.0),
        (10, 1.0, None, 30.0),
        (3, 0.0, None, 0.0),
        (1, 0.5, 7.0, 7.25),
        (1, 0.0, 3600.0, LONGEST_ASKED_S),
    ],
)
def test_the_ceiling_doubles_and_what_s3_asks_for_comes_on_top(
    failures: int, chance: float, asked_s: float | None, wait_s: float
) -> None:
    assert Retry(first_s=0.5, longest_s=30.0).wait_s(failures, chance, asked_s) == wait_s


def test_a_first_ceiling_above_the_longest_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be above longest_s"):
        Retry(first_s=2, longest_s=1)


def _failing(errors: list[S3Error]) -> tuple[list[float], str | S3Error]:
    """The waits and the end of a read that fails with each of ``errors`` and then succeeds."""
    slept: list[float] = []
    left = iter(errors)

    def ask() -> str:
        error = next(left, None)
        if error is not None:
            raise error
        return "read"

    try:
        return slept, Patience(Retry(3, 1.0, 4.0), slept.append, lambda: 0.5).read(ask)
    except S3Error as error:
        return slept, error


def test_passing_trouble_is_waited_out() -> None:
    errors = [S3Error("busy", Trouble.BUSY, 10.0), S3Error("gone", Trouble.UNREACHABLE)]
    assert _failing(errors) == ([10.5, 1.0], "read")


def test_the_last_try_is_the_last() -> None:
    errors = [S3Error(str(number), Trouble.BUSY) for number in range(4)]
    assert _failing(errors) == ([0.5, 1.0], errors[2])


@pytest.mark.parametrize("trouble", [one for one in Trouble if not S3Error("", one).passing])
def test_what_does_not_pass_is_not_asked_again(trouble: Trouble) -> None:
    error = S3Error("no", trouble)
    assert _failing([error]) == ([], error)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "9" * 400}, 999_999_999.0),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            30.0,
        ),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:00:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            0.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "\u0661"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(headers: Mapping[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s
