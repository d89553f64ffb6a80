"""What was read from S3 last, in a file of the state_dir: a restart answers from it at once.

To read the entries of 18,000 titles and the plans of 1,000 sites from S3 takes minutes, and S3 may be away. What is in
the file was believed when it was read, from this very bucket with this very key; anybody else's is left alone.
It is written and read a little at a time, so that nobody who is answered meanwhile waits for it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec
import xxhash

from contracts.catalog import TitleRef
from contracts.inforce import InForce, Subject
from daemon.durable import replacing
from steering.config import Config
from steering.content import Content
from steering.holdings import Title

T = TypeVar("T")

FILE_NAME: Final = "content.kept"
VERSION: Final = 2
_MAGIC: Final = b"nearcast content\n"
_SOME: Final = 200
"""Records that are written as one: up to a megabyte, made in less than a millisecond."""
_MAX_BYTES: Final = 64 << 20
"""Of one piece."""


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    source: str
    catalog: str | None
    plan: str | None
    plan_issued_at: int = 0
    catalog_issued_at: int = 0


_Titles = list[tuple[str, Title, str]]
_Planned = list[tuple[str, str, bytes]]
_Numbers = list[tuple[str, int]]
_Refused = list[tuple[str, str]]
_Behind = list[tuple[TitleRef]]


def source_of(*parts: str | bytes | None) -> str:
    """A name of where content comes from, and of whoever's signature it is believed by."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def source_for(config: Config) -> str:
    """As `source_of` what a steering of this configuration reads; raises OSError."""
    trusted = [
        None if path is None else Path(path).read_bytes() for path in (config.plan_key, config.catalog_key)
    ]
    return source_of(config.origin.endpoint_url, config.origin.bucket, *trusted)


def obeyed(path: Path, source: str, subject: Subject) -> InForce | None:
    """The word that was obeyed last, by the beginning of the file; None as `load`, or when it is unsigned."""
    try:
        with path.open("rb") as plain:
            if plain.read(len(_MAGIC)) != _MAGIC:
                return None
            head = _take(_Digested(plain), _Head)
    except (OSError, EOFError, msgspec.MsgspecError):
        return None
    if (head.version, head.source) != (VERSION, source):
        return None
    return Content(
        head.catalog, head.plan, plan_issued_at=head.plan_issued_at, catalog_issued_at=head.catalog_issued_at
    ).obeyed(subject)


def save(path: Path, content: Content, source: str) -> None:
    """Replaces what is kept. Blocking: for a thread. Raises OSError."""
    head = _Head(
        version=VERSION,
        source=source,
        catalog=content.catalog,
        plan=content.plan,
        plan_issued_at=content.plan_issued_at,
        catalog_issued_at=content.catalog_issued_at,
    )
    kinds: Sequence[Iterable[tuple[object, ...]]] = (
        ((name, title, content.entries[name]) for name, title in content.titles.items()),
        ((version, box, held) for (version, box), held in content.planned.items()),
        content.numbers.items(),
        content.refused.items(),
        ((ref,) for ref in content.behind),
    )
    with replacing(path, mode=0o640) as plain:
        plain.write(_MAGIC)
        file = _Digested(plain)
        _put(file, head)
        for records in kinds:
            for some in _slices(records):
                _put(file, some)
            _put(file, [])
        plain.write(file.digest.digest())


def load(path: Path, source: str) -> Content | None:
    """What was kept of ``source``; None when there is nothing, and when it cannot be read or is another's."""
    try:
        with path.open("rb") as plain:
            if plain.read(len(_MAGIC)) != _MAGIC:
                return None
            file = _Digested(plain)
            head = _take(file, _Head)
            if (head.version, head.source) != (VERSION, source):
                return None
            titles = list(_taken(file, _Titles))
            content = Content(
                head.catalog,
                head.plan,
                {name: title for name, title, _ in titles},
                {name: entry for name, _, entry in titles},
                {(version, box): held for version, box, held in _taken(file, _Planned)},
                numbers=dict(_taken(file, _Numbers)),
                refused=dict(_taken(file, _Refused)),
                plan_issued_at=head.plan_issued_at,
                catalog_issued_at=head.catalog_issued_at,
                behind=tuple(ref for (ref,) in _taken(file, _Behind)),
            )
            return content if plain.read() == file.digest.digest() else None
    except (OSError, EOFError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _Digested:
    """A file, and the digest of what was read from it or written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = xxhash.xxh3_128()

    def write(self, raw: bytes) -> None:
        self.digest.update(raw)
        self._file.write(raw)

    def read(self, count: int) -> bytes:
        raw = self._file.read(count)
        self.digest.update(raw)
        return raw


def _put(file: _Digested, value: object) -> None:
    raw = msgspec.msgpack.encode(value)
    file.write(len(raw).to_bytes(4, "big"))
    file.write(raw)


def _take(file: _Digested, kind: type[T]) -> T:
    """Raises EOFError, `msgspec.MsgspecError`, UnicodeDecodeError."""
    length = int.from_bytes(file.read(4), "big")
    raw = file.read(min(length, _MAX_BYTES))
    if not length or len(raw) != length:
        raise EOFError
    return msgspec.msgpack.decode(raw, type=kind)


def _taken(file: _Digested, kind: type[list[T]]) -> Iterator[T]:
    """The records of one kind."""
    while some := _take(file, kind):
        yield from some


def _slices(records: Iterable[T]) -> Iterator[list[T]]:
    left = iter(records)
    while some := list(itertools.islice(left, _SOME)):
        yield some
