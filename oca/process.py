"""The start of a child of the supervisor: ``python -m oca.process {edge N | store}``.

The configuration comes over standard input, as the supervisor read it: a child that is restarted
after somebody broke the file starts all the same. Sockets come as inherited descriptors.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Final

import msgspec
import uvloop

from daemon.config import ConfigError
from daemon.lifecycle import die_with_parent
from daemon.log import setup
from oca.config import Config

_SWITCH_S: Final = 0.0002


def main() -> int:
    role = sys.argv[1]
    number, parent, ready, *listening = map(int, sys.argv[2:])
    die_with_parent(parent)
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    setup(f"oca-{role}" + (str(number) if role == "edge" else ""), config.log_level)
    sockets = [socket.socket(fileno=fd) for fd in listening]
    for fd in (ready, *listening):
        os.set_inheritable(fd, False)
    try:
        # Imported here: an edge worker never loads botocore, the storekeeper no HTTP parser.
        if role == "edge":
            # A thread that comes back from a cold disk may keep the interpreter for so long, and 5 ms (the
            # default) is forty times what a hot answer takes.
            sys.setswitchinterval(_SWITCH_S)
            from oca.edge import listener

            uvloop.run(listener.run(number, config, sockets, ready))
        else:
            from oca.store import storekeeper

            uvloop.run(storekeeper.run(config, sockets[0], ready))
    except ConfigError as error:
        print(f"oca: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
