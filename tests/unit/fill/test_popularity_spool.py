"""Parts on the spool: bounded, whole or not at all, and nothing in it but flat rows."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.popularity.spool import BadPart, Part, Room, SpoolFull, batches, unpack, whole_rows

ROW = b'{"a":1,"b":"x"}\n'


class Stored:
    """Parts from a dictionary; a missing one is gone."""

    def __init__(self, **bodies: bytes) -> None:
        self._bodies = bodies

    def pieces(self, part: Part) -> Iterator[bytes]:
        if part.name not in self._bodies:
            raise BadPart("was listed and is gone")
        body = self._bodies[part.name]
        yield from (body[at : at + 100] for at in range(0, len(body), 100))


def parts(*names: str) -> list[Part]:
    return [Part(name, name, 0) for name in names]


def unpacked(stored: bytes, limit_bytes: int = 1 << 30) -> tuple[bytes, int, int]:
    out = io.BytesIO()
    lines, malformed = unpack(
        (stored[at : at + 7] for at in range(0, len(stored), 7)), out, Room(limit_bytes)
    )
    return out.getvalue(), lines, malformed


def test_a_part_is_unpacked_and_its_lines_are_counted() -> None:
    assert unpacked(gzip.compress(ROW * 5)) == (ROW * 5, 5, 0)


def test_a_part_of_several_gzip_members_is_read_to_its_end() -> None:
    assert unpacked(gzip.compress(ROW * 2) + gzip.compress(ROW * 3)) == (ROW * 5, 5, 0)


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    assert unpacked(gzip.compress(ROW + ROW[:-1])) == (ROW, 2, 1)


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"", "cut off"),
        (b"no gzip", "is no gzip"),
        (gzip.compress(ROW * 100)[:-9], "cut off"),
        (gzip.compress(ROW)[:-8] + bytes(8), "damaged"),
        (gzip.compress(b'{"a":"' + b"x" * (9 << 20) + b'"}\n'), "a line of more than"),
    ],
)
def test_a_damaged_part_says_what_is_wrong_with_it(stored: bytes, why: str) -> None:
    with pytest.raises(BadPart, match=why):
        unpacked(stored)


def test_a_small_part_that_unpacks_to_much_fills_the_room_and_not_the_disk() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    stored = b"".join(bomb.compress(ROW * 65536) for _ in range(64)) + bomb.flush()
    out = io.BytesIO()
    with pytest.raises(SpoolFull):
        unpack([stored], out, Room(10 << 20))
    assert len(out.getvalue()) <= 10 << 20


LINES = [
    *(b"", b"{}", b'{"a":1}', b"{", b"}", b"{}{}", b'{"a":{}}', b'{"a":[]}', b" {}", b"{} ", b"{}\r", b"no"),
    *(b'{"a":"\xc3\xa4"}', b'{"a":"\x00"}', b"}{"),
]


@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=8))
def test_a_block_is_judged_as_its_lines_are_one_by_one(lines: list[bytes]) -> None:
    """The fast way over a block of sound lines lets nothing through that the slow one would not."""
    kept, found, malformed = whole_rows(b"".join(line + b"\n" for line in lines))
    sound = [
        line
        for line in lines
        if line.startswith(b"{") and line.endswith(b"}") and line.isascii()
        and line.count(b"{") == line.count(b"}") == 1 and b"[" not in line
    ]  # fmt: skip
    assert found == len(lines)
    # A control character inside a row is for the engines' parsers to refuse: both do.
    assert kept.replace(b'{"a":"\x00"}\n', b"") == b"".join(
        line + b"\n" for line in sound if b"\x00" not in line
    )
    assert malformed == found - kept.count(b"\n")


def test_every_part_is_in_one_batch_or_is_left_out_with_its_reason(tmp_path: Path) -> None:
    chance = random.Random(1)
    bodies = {f"p{number}": gzip.compress(ROW * chance.randrange(1, 200)) for number in range(40)}
    bodies |= {"bad": b"no gzip", "large": gzip.compress(ROW * 1000)}
    taken, left_out, rows = [], {}, 0
    for batch in batches(Stored(**bodies), parts(*bodies, "gone"), tmp_path, 5000, 4):
        taken += [part.name for part in batch.taken]
        left_out |= {part.name: why for part, why in batch.left_out}
        content = b"".join(path.read_bytes() for path in batch.files)
        assert len(content) == batch.unpacked_bytes <= 5000
        assert content == ROW * batch.lines
        rows += batch.lines
    assert sorted(taken) == sorted(f"p{number}" for number in range(40))
    assert left_out == {
        "bad": left_out["bad"],
        "gone": "was listed and is gone",
        "large": "unpacks to more than 5000 bytes",
    }
    assert "is no gzip" in left_out["bad"]
    assert rows == sum(gzip.decompress(bodies[name]).count(b"\n") for name in taken)
    assert list(tmp_path.iterdir()) == []


def test_what_a_store_says_beside_bad_parts_ends_the_batch(tmp_path: Path) -> None:
    class Away(Stored):
        def pieces(self, part: Part) -> Iterator[bytes]:
            raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        list(batches(Away(), parts("p1", "p2"), tmp_path, 5000, 2))
