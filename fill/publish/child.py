"""Becomes the command of its arguments, in a process that the kernel kills when its parent ends.

    python -m fill.publish.child PARENT_PID COMMAND ARGUMENT...

A program of its own, because code between fork and exec in a process with threads may hang.
"""

from __future__ import annotations

import os
import sys

from daemon.lifecycle import die_with_parent


def main(argv: list[str]) -> None:
    parent, *command = argv
    # Survives the exec (prctl(2): only a set-user-ID program clears it), and so does the pid.
    die_with_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606 - this is its whole purpose


if __name__ == "__main__":
    main(sys.argv[1:])
