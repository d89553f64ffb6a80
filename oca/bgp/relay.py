"""Run by exabgp: passes its JSON lines on to `oca bgp`, and ends when either side does.

Imports nothing of ours and little else, so that it is small: ``python -I -S relay.py SOCKET``.
"""

import os
import select
import socket
import sys


def main(path: str) -> None:
    """Copies standard input, which exabgp leaves non-blocking, to the socket at ``path``."""
    with socket.socket(socket.AF_UNIX) as out:
        out.connect(path)
        while True:
            readable, _, _ = select.select([0, out.fileno()], [], [])
            if out.fileno() in readable:
                return  # it says nothing to us but its end
            try:
                data = os.read(0, 1 << 18)
            except BlockingIOError:
                continue
            if not data:
                return
            out.sendall(data)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, KeyboardInterrupt):
        sys.exit(1)
