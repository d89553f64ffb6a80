"""A reader: what is in some folders of a disk, on standard output, as frames (`contracts.framing`).

``python -m oca.store.reader DISK PARENT FOLDER...``, started by `oca.store.scan` while a disk is counted.
A frame is a list of `Found`; one `Refused` is the last. Ends with its parent.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from contracts.framing import pack
from daemon.lifecycle import die_with_parent
from oca.store.scan import Found, Refused, read_folder

_THREADS: Final = 4
_encode = msgspec.msgpack.Encoder().encode


def main() -> int:
    disk, parent, *folders = sys.argv[1:]
    die_with_parent(int(parent))
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for folder in folders:
        waiting.put(folder)
    telling = threading.Lock()
    threads = [
        # Daemons: one that waits for a disk that hangs must not hold up the end of the process.
        threading.Thread(target=_read, args=(Path(disk), waiting, telling), daemon=True)
        for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _read(disk: Path, waiting: queue.SimpleQueue[str], telling: threading.Lock) -> None:
    try:
        while True:
            first = f"{disk}/objects/{waiting.get_nowait()}"
            for second in os.listdir(first):
                _tell(read_folder(f"{first}/{second}", disk), telling)
    except queue.Empty:
        pass
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
    except OSError as error:
        _tell(Refused(error.errno, error.strerror, error.filename), telling)


def _tell(what: list[Found] | Refused, telling: threading.Lock) -> None:
    frame = pack(_encode(what))
    with telling:
        while frame:
            frame = frame[os.write(1, frame) :]


if __name__ == "__main__":
    sys.exit(main())
