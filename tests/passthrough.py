"""A file system that passes everything on to a folder, in a process that can be stopped: then it hangs.

Speaks the kernel's FUSE protocol itself (7.31), over /dev/fuse: the part of it that a disk of ours needs. While
the process is stopped, whoever touches the mount waits in the kernel, as for a drive that does not answer.
Run as ``python -m tests.passthrough FOLDER MOUNTPOINT``; says "mounted" on standard output.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_VALID_S = 1


@contextmanager
def passthrough(folder: Path, mountpoint: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``folder`` seen at ``mountpoint``; stop the process with SIGSTOP and it hangs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.passthrough", str(folder), str(mountpoint)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        subprocess.run(["umount", "-l", str(mountpoint)], check=False)
        if process.stdout is not None:
            process.stdout.close()


class Passthrough:
    def __init__(self, folder: str) -> None:
        self._paths = {1: folder}
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: self._getattr,
            4: self._setattr,
            9: self._mkdir,
            10: lambda node, body: self._gone(os.unlink, node, body),
            11: lambda node, body: self._gone(os.rmdir, node, body),
            12: lambda node, body: self._rename(node, body, 8),
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: self._release,
            20: self._fsync,
            26: self._init,
            27: lambda node, body: struct.pack("<QII", 0, 0, 0),
            28: self._readdir,
            29: lambda node, body: b"",
            30: self._fsyncdir,
            35: self._create,
            43: self._fallocate,
            45: lambda node, body: self._rename(node, body, 16),
            46: self._lseek,
        }

    def serve(self, device: int) -> None:
        while True:
            try:
                request = os.read(device, (1 << 20) + 4096)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.ENOENT}:
                    continue
                return  # unmounted
            _, opcode, unique, node, *_ = _IN.unpack_from(request)
            if opcode in {2, 36, 42}:  # forget, interrupt: no answer is expected
                continue
            failed, body = 0, b""
            answer = self._answers.get(opcode)
            try:
                if answer is None:
                    raise OSError(errno.ENOSYS, "")
                body = answer(node, request[_IN.size :])
            except OSError as error:
                failed, body = error.errno or errno.EIO, b""
            try:
                os.write(device, _OUT.pack(_OUT.size + len(body), -failed, unique) + body)
            except OSError:
                continue  # who asked was killed

    def _child(self, node: int, name: bytes) -> str:
        return f"{self._paths[node]}/{name.rstrip(bytes(1)).decode()}"

    def _entry(self, path: str) -> bytes:
        found = os.lstat(path)
        self._paths[found.st_ino] = path
        return struct.pack("<4Q2I", found.st_ino, 0, 0, _VALID_S, 0, 0) + _attributes(found)

    def _init(self, node: int, body: bytes) -> bytes:
        readahead = struct.unpack_from("<4I", body)[2]
        return struct.pack("<4I2H2I2H8I", 7, 31, readahead, 0, 12, 9, 1 << 20, 1, 256, 0, *(0,) * 8)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._child(node, body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", _VALID_S, 0, 0) + _attributes(os.lstat(self._paths[node]))

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & 8:
            os.truncate(self._paths[node], size)
        return self._getattr(node, body)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        path = self._child(node, body[8:])
        os.mkdir(path, struct.unpack_from("<I", body)[0])
        return self._entry(path)

    def _gone(self, remove: Callable[[str], None], node: int, body: bytes) -> bytes:
        remove(self._child(node, body))
        return b""

    def _rename(self, node: int, body: bytes, names_at: int) -> bytes:
        old, new = body[names_at:].split(b"\0")[:2]
        to = self._child(struct.unpack_from("<Q", body)[0], new)
        os.rename(self._child(node, old), to)
        self._paths[os.lstat(to).st_ino] = to
        return b""

    def _open(self, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & (os.O_ACCMODE | os.O_TRUNC)
        return struct.pack("<QII", os.open(self._paths[node], flags), 0, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._child(node, body[16:])
        fd = os.open(path, (flags & (os.O_EXCL | os.O_TRUNC)) | os.O_RDWR | os.O_CREAT, mode)
        return self._entry(path) + struct.pack("<QII", fd, 0, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        fd, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(fd, size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        fd, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(fd, body[40 : 40 + size], offset), 0)

    def _release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _fsync(self, node: int, body: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    def _fsyncdir(self, node: int, body: bytes) -> bytes:
        fd = os.open(self._paths[node], os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        return b""

    def _fallocate(self, node: int, body: bytes) -> bytes:
        fd, offset, length = struct.unpack_from("<QQQ", body)
        os.posix_fallocate(fd, offset, length)
        return b""

    def _lseek(self, node: int, body: bytes) -> bytes:
        fd, offset, whence = struct.unpack_from("<QQI", body)
        return struct.pack("<Q", os.lseek(fd, offset, whence))

    def _statfs(self, node: int, body: bytes) -> bytes:
        room = os.statvfs(self._paths[1])
        counts = (room.f_blocks, room.f_bfree, room.f_bavail, room.f_files, room.f_ffree)
        return struct.pack("<5Q10I", *counts, room.f_bsize, room.f_namemax, room.f_frsize, *(0,) * 7)

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        entries = b""
        for number, name in enumerate(sorted(os.listdir(self._paths[node]))[offset:], start=offset + 1):
            raw = name.encode()
            entry = struct.pack("<QQII", 1, number, len(raw), 0) + raw
            entry += bytes(-len(entry) % 8)
            if len(entries) + len(entry) > size:
                break
            entries += entry
        return entries


def _attributes(found: os.stat_result) -> bytes:
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    return _ATTR.pack(
        found.st_ino, found.st_size, found.st_blocks, *times, 0, 0, 0, found.st_mode, found.st_nlink,
        found.st_uid, found.st_gid, 0, 4096, 0,
    )  # fmt: skip


def main() -> None:
    folder, mountpoint = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode={stat.S_IFDIR | 0o755:o},user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"passthrough", mountpoint.encode(), b"fuse", 0, options.encode()):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    # Not before the kernel may be answered: whoever looks at the mount now waits for us.
    print("mounted", flush=True)
    Passthrough(folder).serve(device)


if __name__ == "__main__":
    main()
