"""The file that the storekeeper reserved for one object, while we write it."""

from __future__ import annotations

import os
from types import TracebackType

from contracts.catalog import CatalogObject
from contracts.objectkey import slice_span
from fill.agent.storekeeper import Storekeeper


class CannotWrite(Exception):
    """The file is gone or takes no bytes; the message names the key, ``number`` is the errno."""

    def __init__(self, key: str, error: OSError) -> None:
        super().__init__(f"{key}: cannot be written to its disk: {error.strerror or error}")
        self.number = error.errno or 0


class Reservation:
    """Opens ``path`` for writing; raises `CannotWrite` from every call, and as `Storekeeper` does."""

    def __init__(self, storekeeper: Storekeeper, item: CatalogObject, path: str) -> None:
        self._storekeeper = storekeeper
        self._item = item
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise CannotWrite(item.key, error) from None

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def put(self, index: int, data: bytes) -> bool:
        """Writes a verified slice and tells the storekeeper; False when the object is complete already.

        When it returns, a kill of this process costs nothing of the slice.
        """
        view = memoryview(data)
        at = slice_span(index, self._item.size)[0]
        try:
            while view:
                written = os.pwrite(self._fd, view, at)
                view, at = view[written:], at + written
        except OSError as error:
            raise CannotWrite(self._item.key, error) from None
        return self._storekeeper.wrote(self._item, index)
