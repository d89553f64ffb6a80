"""How often each object was asked for of late, in a few bytes an object, whether it is here or not. Pure.

A count-min sketch: each key has a counter in each of three rows, shared with other keys by chance, and the
smallest of the three is the estimate, which is therefore never too low (before ageing). Of the three only
those are raised that are below the new estimate (conservative update), which keeps rare keys from
borrowing the counts of frequent ones.

`age` halves everything. Who owns the sketch calls it once per half-life, by a clock or by a count of touches;
after ten calls what was asked for a thousand times is as cold as what was asked for once.

Source: G. Cormode, S. Muthukrishnan: An improved data stream summary: the count-min sketch and its
applications, 2005; G. Einziger, R. Friedman, B. Manes: TinyLFU, a highly efficient cache admission policy, 2017.
"""

from __future__ import annotations

from array import array
from typing import Final

from xxhash import xxh3_64_intdigest

MOST: Final = 0xFFFF
"""Where a counter stops. An estimate of this means: at least so many."""
_ROWS: Final = 3
_ROW_BITS: Final = 21
"""A third of the 64 bits of one hash, so 2 M counters in a row: as many as a plan may have objects."""


class Heat:
    """Sized for ``objects`` distinct keys between two ageings: 6 to 12 bytes for each of them.

    Measured with so many keys of one request each: a tenth is taken for two requests, and hardly one for
    three. With five times as many keys they look like two or three, with ten times like four: what was asked
    for twenty times still stands out.
    """

    def __init__(self, objects: int) -> None:
        self._bits = min(_ROW_BITS, max(6, (objects - 1).bit_length()))
        self._mask = (1 << self._bits) - 1
        self._counters = array("H", bytes(2 * _ROWS << self._bits))

    @property
    def memory_bytes(self) -> int:
        return len(self._counters) * self._counters.itemsize

    def touch(self, key: str, requests: int) -> None:
        """Counts ``requests`` (0 or more) of ``key``."""
        # Twice what `_places` and min() say, and half of their time: this is called for all that is served.
        counters, mask, width = self._counters, self._mask, self._mask + 1
        hashed = xxh3_64_intdigest(key.encode())
        one = hashed & mask
        two = (hashed >> _ROW_BITS & mask) + width
        three = (hashed >> 2 * _ROW_BITS & mask) + 2 * width
        first, second, third = counters[one], counters[two], counters[three]
        low = first if first < second else second  # noqa: FURB136
        if third < low:
            low = third
        low += requests
        if low > MOST:
            low = MOST
        if first < low:
            counters[one] = low
        if second < low:
            counters[two] = low
        if third < low:
            counters[three] = low

    def estimate(self, key: str) -> int:
        """Requests of ``key``, each counting half after one `age`, a quarter after two, and so on."""
        counters = self._counters
        return min(counters[place] for place in self._places(key))

    def age(self) -> None:
        """Halves every counter, rounding down. Takes 20 ms with a million objects."""
        # As one large number, which is shifted in C; the mask drops the bit that each gets from its neighbour.
        size = self.memory_bytes
        halves = int.from_bytes(self._counters.tobytes(), "little") >> 1
        halves &= int.from_bytes((MOST >> 1).to_bytes(2, "little") * len(self._counters), "little")
        self._counters = array("H", halves.to_bytes(size, "little"))

    def _places(self, key: str) -> tuple[int, int, int]:
        hashed, mask, width = xxh3_64_intdigest(key.encode()), self._mask, self._mask + 1
        second, third = hashed >> _ROW_BITS & mask, hashed >> 2 * _ROW_BITS & mask
        return hashed & mask, second + width, third + 2 * width
