"""What a player says of itself with a request: CMCD, as a query parameter or as header fields.

It is for logs and metrics alone. Nothing here can fail towards the player: what is too long, or does
not read as CMCD, is as if it had not been sent, and is counted.

Source: CTA-5004 (version 1) and CTA-5004-A; of version 2 we read the keys that version 1 has, also
where they became inner lists, and pass over the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

MAX_BYTES: Final = 2048
"""After percent-decoding. All keys of version 1 at their longest take 900; real ones 100 to 300."""
MAX_KEYS: Final = 48
_MAX_ENCODED_BYTES: Final = 3 * MAX_BYTES

_PARAMETER: Final = b"CMCD="
_FIELDS: Final = (b"cmcd-object", b"cmcd-request", b"cmcd-session", b"cmcd-status")
_FIELD_BEGINS: Final = b"\r\nCMCD-"
_LF: Final = 10
_MAX_HEAD_BYTES: Final = 4096
_MAX_DIGITS: Final = 12
_MAX_TEXT: Final = 64
"""Of sid and cid: CTA-5004 section 3.2 allows no more."""

# A comma (one is put before the text), a key, then nothing (true), a string, an inner list
# (version 2), or anything up to the next comma. Nothing is read twice, so no text makes this slow.
_pairs = re.compile(
    r", *([a-zA-Z][a-zA-Z0-9-]*+)"
    r'(?:=("(?:[^"\\]++|\\.)*+"|\((?:[^()"]++|"(?:[^"\\]++|\\.)*+")*+\)|[^,]*+))?+ *(?=,|\Z)'
).findall
_field = re.compile(rb"\r\nCMCD-(?:Object|Request|Session|Status): ([\x20-\x7e]*)(?=\r\n)").match
_first_integer = re.compile(r"\(\s*([0-9]+)").match
_decimal = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z").match
_token = re.compile(r"[a-z]{1,4}\Z").match
_escaped = re.compile(r"\\(.)").sub


class Cmcd(msgspec.Struct, frozen=True, kw_only=True):
    """One request's CMCD. None: the player did not say."""

    session: str | None = None
    """sid: one for each playback, drawn by the player."""
    content: str | None = None
    """cid"""
    bitrate_bps: int | None = None
    """br: of the encode that is asked for."""
    top_bitrate_bps: int | None = None
    """tb: of the best encode that the player may choose."""
    buffer_s: float | None = None
    """bl: video that the player still has."""
    deadline_s: float | None = None
    """dl: until its buffer would run out."""
    duration_s: float | None = None
    """d: of the object that is asked for."""
    throughput_bps: int | None = None
    """mtp: as the player measured it."""
    highest_rate_bps: int | None = None
    """rtp: faster than this is of no use to the player."""
    rate: float | None = None
    """pr: playback rate; 1 is normal, 0 is a pause."""
    object_type: str | None = None
    """ot: m manifest, a audio, v video, av both, i init segment, c captions, tt timed text, k key, o other"""
    live: bool | None = None
    """st: whether the title is live."""
    next_object: str | None = None
    """nor: a path relative to this one, that the player will ask for next. Not yet believed."""
    next_range: str | None = None
    """nrr"""
    starved: bool = False
    """bs: the buffer ran empty since the last request."""
    startup: bool = False
    """su: needed urgently: the start, a seek, or an empty buffer."""


def separate(target: bytes, headers: Mapping[bytes, str]) -> tuple[bytes, str | None]:
    """The target without CMCD, and the CMCD; None when there is none, "" when it is too long to be read.

    A player that sends it in the query asks for another target each time. What is remembered by target
    must be remembered by what is left.
    """
    text = None
    at = target.find(_PARAMETER)
    if at > 0 and target[at - 1] in b"?&":
        end = target.find(b"&", at)
        if end < 0:
            end = len(target)
        text = _decoded(target[at + len(_PARAMETER) : end])
        # The separator before goes with it, or the one after where a first parameter goes.
        target = target[:at] + target[end + 1 :] if end < len(target) else target[: at - 1]
    for name in _FIELDS:
        if name in headers:
            text = headers[name] if text is None else f"{text},{headers[name]}"
    return target, text if text is None or len(text) <= MAX_BYTES else ""


def lift(head: bytes) -> tuple[bytes, str] | None:
    """A request's head as it came without its CMCD, and the CMCD; None where there is none to be lifted out.

    So a player that tells of itself is known by heart like any other (`oca.edge.repeat`). Sound for the
    same reasons: what is taken out is whole lines of a head that has not ended, or a piece of the target
    that holds no delimiter of it; and nothing that the parser would have refused there.
    """
    if len(head) > _MAX_HEAD_BYTES:
        return None
    line = head.find(b"\r")
    at = head.find(_PARAMETER, 0, line)
    if at > 0:
        end = head.find(b" ", at, line)
        target, text = separate(head[:end], {})
        taken = head[at:end]
        if text and taken.isascii() and b"#" not in taken and taken.decode("ascii").isprintable():
            return target + head[end:], text
        return None
    pieces, texts, at = [], [], 0
    while (found := head.find(_FIELD_BEGINS, at)) >= 0:
        field = _field(head, found)
        # Behind an empty line the head has ended, and something else begins.
        if field is None or head[found - 1] == _LF:
            return None
        pieces.append(head[at:found])
        texts.append(field[1])
        at = field.end()
    if not texts:
        return None
    return b"".join(pieces) + head[at:], b",".join(texts).decode("ascii")


def parse(text: str) -> Cmcd | None:
    """The CMCD in ``text``; None when it is not CMCD. A key that does not read as it should is left out."""
    found: dict[str, Any] = {}
    for key, value in _pairs("," + text)[:MAX_KEYS]:
        if key in _KEYS:
            name, read = _KEYS[key]
            meant = read(value)
            if meant is not None:
                found[name] = meant
    return Cmcd(**found) if found else None


def _decoded(encoded: bytes) -> str:
    if len(encoded) > _MAX_ENCODED_BYTES:
        return ""
    # What nearly every encoded byte is, at a fifth of the cost. None of the three is a digit, so what
    # is left of the percent signs means what it meant.
    encoded = encoded.replace(b"%2C", b",").replace(b"%3D", b"=").replace(b"%22", b'"')
    if b"%" in encoded:
        encoded = unquote_to_bytes(encoded)
    return encoded.decode("utf-8", "replace")


def _integer(value: str) -> int | None:
    if value[:1] == "(":  # version 2: the first of a list
        first = _first_integer(value)
        value = first[1] if first is not None else ""
    # isdecimal alone would let the digits of other scripts through.
    return int(value) if len(value) <= _MAX_DIGITS and value.isdecimal() and value.isascii() else None


def _kilobits(value: str) -> int | None:
    number = _integer(value)
    return None if number is None else number * 1000


def _milliseconds(value: str) -> float | None:
    number = _integer(value)
    return None if number is None else number / 1000


def _rate(value: str) -> float | None:
    return float(value) if _decimal(value) else None


def _string(limit: int) -> Callable[[str], str | None]:
    def read(value: str) -> str | None:
        if value[:1] == "(":  # version 2: the first of a list
            first = value.find('"')
            value = value[first : value.find('"', first + 1) + 1]
        if value[:1] == '"':
            value = value[1:-1]
            if "\\" in value:
                value = _escaped(r"\1", value)
        return value if 0 < len(value) <= limit and value.isprintable() else None

    return read


def _kind(value: str) -> str | None:
    return value if _token(value) else None


def _flag(value: str) -> bool | None:
    # "?1" is a boolean of RFC 8941, which version 2 writes.
    return value in {"", "true", "?1"}


def _live(value: str) -> bool | None:
    return {"l": True, "ll": True, "v": False}.get(value)


_KEYS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "sid": ("session", _string(_MAX_TEXT)),
    "cid": ("content", _string(_MAX_TEXT)),
    "br": ("bitrate_bps", _kilobits),
    "tb": ("top_bitrate_bps", _kilobits),
    "bl": ("buffer_s", _milliseconds),
    "dl": ("deadline_s", _milliseconds),
    "d": ("duration_s", _milliseconds),
    "mtp": ("throughput_bps", _kilobits),
    "rtp": ("highest_rate_bps", _kilobits),
    "pr": ("rate", _rate),
    "ot": ("object_type", _kind),
    "st": ("live", _live),
    "nor": ("next_object", _string(512)),
    "nrr": ("next_range", _string(64)),
    "bs": ("starved", _flag),
    "su": ("startup", _flag),
}
