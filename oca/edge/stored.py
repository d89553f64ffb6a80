"""Requests for what is stored here and nothing else: how another appliance fills from this one.

``Cache-Control: only-if-cached`` (RFC 9111 section 5.2.1.7): nothing is fetched for such a request, and nothing
begun. What is not here is a 504. Of an object that is still coming it says which slices are here, so that
who fills along with us need not guess: ``Nearcast-Slices: 0-7, 9-12``, numbers of slices of 1 MiB, inclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from contracts.problem import Problem
from oca.edge.answer import Answer, error
from oca.edge.files import OpenFile
from oca.edge.ranges import Span

_MOST_RUNS: Final = 64


def only_if_cached(headers: Mapping[bytes, str]) -> bool:
    """Whether the request is for what is stored here alone."""
    said = headers.get(b"cache-control")
    return said is not None and any(part.strip(" \t").lower() == "only-if-cached" for part in said.split(","))


def stored_only(method: bytes, answer: Answer, spans: Iterable[Span], file: OpenFile) -> Answer:
    """``answer``, if all that it needs of an incomplete object is here; otherwise a 504 that says what is.

    HEAD asks whether all of the object is.
    """
    if answer.status >= 300:
        return answer
    if method == b"GET" and all(file.ready_until(start, end) == end for start, end in spans):
        return answer
    held = ", ".join(f"{run.start}-{run.stop - 1}" for run in runs_of(file))
    extra = b"Nearcast-Slices: %b\r\n" % held.encode() if held else b""
    return error(Problem.NOT_STORED, method, extra=extra)


def runs_of(file: OpenFile) -> list[range]:
    """The slices that are here, as runs of neighbours; the first `_MOST_RUNS`."""
    found: list[range] = []
    bitmap = file.bitmap or b""
    for index in range(len(bitmap) * 8):
        if bitmap[index >> 3] & (1 << (index & 7)):
            if found and found[-1].stop == index:
                found[-1] = range(found[-1].start, index + 1)
            elif len(found) == _MOST_RUNS:
                break
            else:
                found.append(range(index, index + 1))
    return found
