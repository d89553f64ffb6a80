"""Why an answer missed."""

from __future__ import annotations

import pytest

from oca import ipc
from oca.store.served import Cause, Served


def missed(served: Served, key: str, *, planned: bool = False) -> Cause:
    served.missed(ipc.Touch(key, "192.0.0.0/16", 0, 2, 0, 10, ()), planned=planned)
    (cause,) = (cause for cause, count in served.misses.items() if count.requests)
    assert (served.misses[cause].requests, served.misses[cause].bytes) == (2, 10)
    return cause


@pytest.mark.parametrize("cause", [Cause.EVICTED, Cause.DISK_FAULT, Cause.EXPIRED])
def test_what_was_here_missed_because_of_what_became_of_it(cause: Cause) -> None:
    served = Served()
    served.gone(["tt1/v.mp4"], cause)
    served.begun("tt1/v.mp4", planned=True)
    assert missed(served, "tt1/v.mp4", planned=True) is cause


def test_what_was_never_here_is_in_the_plan_or_not() -> None:
    served = Served()
    served.begun("tt1/v.mp4", planned=True)
    assert missed(served, "tt1/v.mp4") is Cause.NOT_FILLED
    assert missed(Served(), "tt2/v.mp4") is Cause.NOT_PLANNED


def test_a_cause_is_of_one_absence_only() -> None:
    served = Served()
    served.gone(["tt1/v.mp4"], Cause.EVICTED)
    served.begun("tt1/v.mp4", planned=False)
    served.begun("tt1/v.mp4", planned=False)
    assert missed(served, "tt1/v.mp4") is Cause.NOT_PLANNED
