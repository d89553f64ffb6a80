"""Messages come out as they went in, however the stream cuts them; a bad peer is found at its header."""

from __future__ import annotations

import itertools
import struct
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import framing
from contracts.framing import HEADER_BYTES, MAX_FRAME_BYTES, BadFrame, Unframer, pack, payload_length

MESSAGES = [b"", b"a", b"", b"\0" * 5, bytes(range(256)), struct.pack(">I", MAX_FRAME_BYTES)]
STREAM = b"".join(pack(message) for message in MESSAGES)


def fed(*pieces: bytes) -> list[bytes]:
    unframer = Unframer()
    return [payload for piece in pieces for payload in unframer.feed(piece)]


def test_messages_that_arrive_at_once_come_out_one_by_one() -> None:
    assert fed(STREAM) == MESSAGES


def test_messages_that_arrive_byte_by_byte_come_out_whole() -> None:
    assert fed(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == MESSAGES


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_that_is_split_at_any_byte_gives_the_same_messages(at: int) -> None:
    assert fed(STREAM[:at], STREAM[at:]) == MESSAGES


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 500)))
def test_any_messages_split_anywhere_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pack(message) for message in messages)
    at = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    assert fed(*(stream[a:b] for a, b in itertools.pairwise(at))) == messages


def test_nothing_comes_out_before_a_message_is_whole() -> None:
    assert fed(pack(b"abc")[:-1]) == []
    assert fed(b"\0\0\0") == []
    assert fed() == []


def test_a_length_beyond_the_bound_is_refused_before_a_byte_of_it_is_read() -> None:
    for length in (MAX_FRAME_BYTES + 1, 0xFFFFFFFF):
        header = struct.pack(">I", length)
        with pytest.raises(BadFrame, match=f"{length} bytes, and at most {MAX_FRAME_BYTES}"):
            payload_length(header)
        with pytest.raises(BadFrame):
            fed(header)
    assert payload_length(struct.pack(">I", MAX_FRAME_BYTES)) == MAX_FRAME_BYTES


def test_what_another_protocol_says_is_refused() -> None:
    with pytest.raises(BadFrame):
        fed(b"GET / HTTP/1.1\r\n\r\n")


def test_a_stream_stays_bad_once_it_was_bad() -> None:
    unframer = Unframer()
    for piece in (b"\xff" * HEADER_BYTES, pack(b"x")):
        with pytest.raises(BadFrame):
            list(unframer.feed(piece))


def test_messages_before_a_bad_header_are_given_back_first() -> None:
    unframer = Unframer().feed(pack(b"x") + b"\xff" * HEADER_BYTES)
    assert next(unframer) == b"x"
    with pytest.raises(BadFrame):
        next(unframer)


def test_a_message_beyond_the_bound_is_not_sent() -> None:
    with patch.object(framing, "MAX_FRAME_BYTES", 10):
        assert pack(b"x" * 10)[HEADER_BYTES:] == b"x" * 10
        with pytest.raises(BadFrame, match="11 bytes"):
            pack(b"x" * 11)
