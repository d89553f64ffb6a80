"""The file that the storekeeper reserved for one object, while we write it.

Whole slices are written past the page cache (O_DIRECT): what is filled at night pushes nothing out of memory
that players are asking for, and costs 0.06 CPU seconds a gigabyte where the page cache costs 0.7 and more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from types import TracebackType
from typing import Final

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, slice_span
from fill.agent.storekeeper import Storekeeper

_NO_DIRECT: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
"""What a file system says that has no such thing: FUSE, some network ones, tmpfs of older kernels."""


class CannotWrite(Exception):
    """The file is gone or takes no bytes; the message names the key, ``number`` is the errno."""

    def __init__(self, key: str, error: OSError) -> None:
        super().__init__(f"{key}: cannot be written to its disk: {error.strerror or error}")
        self.number = error.errno or 0


class Reservation:
    """Opens ``path`` for writing; raises `CannotWrite` from every call, and as `Storekeeper` does.

    ``on_told`` hears of the bytes of slices once the storekeeper has counted them.
    """

    def __init__(
        self, storekeeper: Storekeeper, item: CatalogObject, path: str, on_told: Callable[[int], None]
    ) -> None:
        self._storekeeper = storekeeper
        self._item = item
        self._on_told = on_told
        self._direct = -1
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                self._direct = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECT)
            except OSError as error:
                if error.errno not in _NO_DIRECT:
                    os.close(self._fd)
                    raise
            self._inode = os.fstat(self._fd).st_ino
        except OSError as error:
            raise CannotWrite(item.key, error) from None

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if self._direct >= 0:
            os.close(self._direct)

    def write(self, index: int, view: memoryview) -> None:
        """Puts a verified slice into the file; ``view`` begins at a page. Safe in any thread.

        When it returns, a kill of this process costs nothing of the slice.
        """
        at = slice_span(index, self._item.size)[0]
        try:
            # The last slice may end anywhere, and the description stands behind it: no whole blocks.
            if self._direct >= 0 and len(view) == SLICE_BYTES:
                try:
                    written = os.pwrite(self._direct, view, at)
                except OSError as error:
                    if error.errno not in _NO_DIRECT:
                        raise
                    written = 0
                view, at = view[written:], at + written
            while view:
                written = os.pwrite(self._fd, view, at)
                view, at = view[written:], at + written
        except OSError as error:
            raise CannotWrite(self._item.key, error) from None

    def told(self, first: int, count: int) -> bool:
        """Tells the storekeeper of ``count`` slices from ``first`` on; False when the object is complete already."""
        going_on = self._storekeeper.wrote(self._item, first, count, self._inode)
        start, end = slice_span(first, self._item.size)[0], slice_span(first + count - 1, self._item.size)[1]
        self._on_told(end - start)
        return going_on
