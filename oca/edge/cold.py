"""Whether a span of a file is in memory, and bringing it there in a thread when it is not.

`os.sendfile` of a cold page waits for the disk, and with it every other connection of the worker.
A probe costs 1.8 us (preadv with RWF_NOWAIT, preadv2(2)); a disk costs 10 ms. FUSE and tmpfs do not know
RWF_NOWAIT: there cachestat(2) is asked, and where the kernel is older than 6.5 and has neither, a thread reads.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

WINDOW_BYTES: Final = 2 << 20
"""A span is probed at both ends of windows of this size: read-ahead fills what lies between."""

_STRETCH_BYTES: Final = 128 << 10
"""What Linux reads ahead at a time by default: who waits for one page of it has nearly all."""
_probe = bytearray(1)
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def is_warm(fd: int, start: int, end: int) -> bool:
    """Whether both ends of the span are in memory, as far as can be told without waiting. Raises OSError."""
    try:
        os.preadv(fd, [_probe], start, os.RWF_NOWAIT)
        os.preadv(fd, [_probe], end - 1, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return _is_cached(fd, start, end)
        raise
    return True


class _Range(ctypes.Structure):
    _fields_ = (("off", ctypes.c_uint64), ("len", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recent"))


_CACHESTAT: Final = 451
"""The number of the system call, on every architecture."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _is_cached(fd: int, start: int, end: int) -> bool:
    """Whether every page of the span is in memory; False where the kernel cannot tell."""
    first = start // _PAGE_BYTES * _PAGE_BYTES
    span, found = _Range(first, end - first), _Stat()
    if _syscall(_CACHESTAT, fd, ctypes.byref(span), ctypes.byref(found), 0):
        return False
    pages: int = found.cache
    return pages * _PAGE_BYTES >= end - first


def bring_in(fd: int, start: int, end: int) -> None:
    """Has the span in memory when it returns; for a thread. Raises OSError (EIO: the disk is failing).

    The kernel is told to read all of it, and one byte of each stretch is waited for: copying the rest out
    would cost the core more than sending it does.
    """
    os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_WILLNEED)
    touch = [bytearray(1)]
    for at in (*range(start, end - 1, _STRETCH_BYTES), end - 1):
        if not os.preadv(fd, touch, at):
            return  # shorter than it says: sending it will tell
