"""Parts of the delivery log, unpacked onto this disk until the spool is full: what the engine then reads.

Whoever takes an appliance's key can write rubbish into the log. So a part is unpacked in bounded pieces, and
left out whole when it is no gzip or unpacks to too much. What reaches the engine are lines of ASCII with one flat
JSON object each: then two JSON parsers have nothing to differ about.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

_PIECE_BYTES: Final = 4 << 20
_MAX_LINE_BYTES: Final = 1 << 20
_GZIP: Final = 31
_row = re.compile(rb"\{[ -Z\\^-z|~]*\}").fullmatch
"""One flat object in printable ASCII: no further brace, no bracket."""


@dataclass(frozen=True, slots=True)
class Part:
    """One object of the log; ``name`` is what it is called below its day: ``10/isp-a1-1f0c9a3e``."""

    key: str
    name: str
    size: int


class Parts(Protocol):
    """Where parts come from."""

    def pieces(self, part: Part) -> Iterator[bytes]:
        """The part as it is stored. Raises `BadPart` when it is gone, and `S3Error` when S3 is."""


class BadPart(Exception):
    """A part of which no row may be believed; says why."""


class SpoolFull(Exception):
    """The part does not fit beside the others: it is for the next batch."""


@dataclass(slots=True)
class Batch:
    """What one spool full of lines holds."""

    files: list[Path] = field(default_factory=list)
    taken: list[Part] = field(default_factory=list)
    left_out: list[tuple[Part, str]] = field(default_factory=list)
    put_off: list[Part] = field(default_factory=list)
    lines: int = 0
    malformed: int = 0
    """Lines that were no flat JSON object, and are not in the files."""
    stored_bytes: int = 0
    unpacked_bytes: int = 0


class Room:
    """How much the spool may still take, counted by all threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._lock = threading.Lock()
        self.full = False

    def take(self, count: int) -> None:
        """Raises `SpoolFull`, and then nothing is taken."""
        with self._lock:
            if count > self._left_bytes:
                self.full = True
                raise SpoolFull
            self._left_bytes -= count

    def give_back(self, count: int) -> None:
        with self._lock:
            self._left_bytes += count


def batches(
    parts: Parts, wanted: Iterable[Part], folder: Path, limit_bytes: int, threads: int
) -> Iterator[Batch]:
    """Unpacks ``wanted`` below ``folder``, a spool at a time; a batch's files go when the next is asked for.

    A part that alone is larger than ``limit_bytes`` is left out. Raises `S3Error`, OSError.
    """
    waiting = deque(wanted)
    alone = False
    while waiting:
        batch = _fill(parts, waiting, folder, limit_bytes, 1 if alone else threads)
        if alone and not batch.taken and batch.put_off:
            batch.left_out.append((batch.put_off.pop(0), f"unpacks to more than {limit_bytes} bytes"))
        # Threads of one batch may have filled the spool with halves: then the next part is tried by itself.
        alone = not batch.taken and not batch.left_out
        waiting.extendleft(reversed(batch.put_off))
        if not alone:
            yield batch
        for file in batch.files:
            file.unlink()


def _fill(parts: Parts, waiting: deque[Part], folder: Path, limit_bytes: int, threads: int) -> Batch:
    room, whole, lock = Room(limit_bytes), Batch(), threading.Lock()

    def work(number: int) -> None:
        with (folder / f"{number}.ndjson").open("wb") as out:
            while not room.full:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                unforeseen = True
                try:
                    _take(parts, part, out, room, whole, lock)
                    unforeseen = False
                finally:
                    # Nobody goes on fetching when S3 is away, or the disk is full.
                    room.full |= unforeseen

    numbers = range(threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="spool") as pool:
        failed = [done.exception() for done in [pool.submit(work, number) for number in numbers]]
    for error in failed:
        if error is not None:
            raise error
    whole.files = [folder / f"{number}.ndjson" for number in numbers]
    return whole


def _take(parts: Parts, part: Part, out: BinaryIO, room: Room, whole: Batch, lock: threading.Lock) -> None:
    """One part's lines behind those that ``out`` has; or none of them, and why."""
    start = out.tell()
    try:
        lines, malformed = unpack(parts.pieces(part), out, room)
    except (BadPart, SpoolFull) as error:
        room.give_back(out.tell() - start)
        out.seek(start)
        out.truncate()
        with lock:
            if isinstance(error, BadPart):
                whole.left_out.append((part, str(error)))
            else:
                whole.put_off.append(part)
        return
    with lock:
        whole.taken.append(part)
        whole.lines += lines
        whole.malformed += malformed
        whole.stored_bytes += part.size
        whole.unpacked_bytes += out.tell() - start


def unpack(stored: Iterable[bytes], out: BinaryIO, room: Room) -> tuple[int, int]:
    """Writes the rows of one part to ``out``; returns how many lines it had, and how many were no rows.

    Raises `BadPart`, `SpoolFull`; then ``out`` has some of them.
    """
    lines = malformed = 0
    torn = b""
    for piece in _inflated(stored):
        end = piece.rfind(b"\n") + 1
        if not end:
            torn += piece
        else:
            rows, found, bad = whole_rows(torn + piece[:end])
            room.take(len(rows))
            out.write(rows)
            torn = piece[end:]
            lines += found
            malformed += bad
        if len(torn) > _MAX_LINE_BYTES:
            raise BadPart(f"has a line of more than {_MAX_LINE_BYTES} bytes")
    # A last line without an end was cut off, even if what is left of it parses.
    return lines + bool(torn), malformed + bool(torn)


def _inflated(stored: Iterable[bytes]) -> Iterator[bytes]:
    """The content of one or several gzip members, in pieces of at most `_PIECE_BYTES`."""
    member = zlib.decompressobj(_GZIP)
    began = False
    try:
        for block in stored:
            rest = block
            while rest:
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
                began = True
                piece = member.decompress(rest, _PIECE_BYTES)
                if piece:
                    yield piece
                rest = member.unused_data if member.eof else member.unconsumed_tail
            # What the decompressor still holds back comes out without further input.
            while began and not member.eof and (piece := member.decompress(b"", _PIECE_BYTES)):
                yield piece
    except zlib.error as error:
        raise BadPart(f"is no gzip, or damaged ({error})") from None
    if not member.eof:
        raise BadPart("is cut off")


def whole_rows(block: bytes) -> tuple[bytes, int, int]:
    """(the rows of ``block``, its lines, those left out); ``block`` ends with a newline.

    Counting is forty times as fast as looking at each line, and as certain: where every newline has a brace on
    both sides, and there are no others, each line is one flat object.
    """
    lines = block.count(b"\n")
    if (
        block.startswith(b"{")
        and block.endswith(b"}\n")
        and block.count(b"}\n{") == lines - 1
        and block.count(b"{") == lines
        and block.count(b"}") == lines
        and b"[" not in block
        and block.isascii()
    ):
        return block, lines, 0
    kept = [line for line in block.split(b"\n")[:-1] if _row(line) is not None]
    return b"".join(line + b"\n" for line in kept), lines, lines - len(kept)
