"""What each process loads from outside the standard library, as a text file for each program.

``python -m tests.architecture.loads`` writes docs/loads/ anew; the test compares. A library that turns up
in a process where it has no business, such as boto3 in an edge worker, is then seen in review.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs/loads"

_OPEN_S3: Final = "import daemon.s3; daemon.s3.open_client(daemon.s3.S3Config('bucket'))"

PROCESSES: Final = {
    # program: {process: what it runs before it serves}
    "oca": {
        "any command": "import oca.cli",
        "oca serve: the supervisor": "import oca.cli, oca.supervisor",
        "oca serve: an edge worker": "import oca.process, oca.edge.listener",
        "oca serve: the storekeeper": "import oca.process, oca.store.storekeeper",
        "oca doctor, once it opens S3": f"import oca.cli, oca.doctor; {_OPEN_S3}",
    },
    "fill": {
        "any command": "import fill.cli",
        "fill run, plan and status, once they open S3": f"import fill.cli; {_OPEN_S3}",
        "fill popularity, once it opens S3": f"import fill.cli, fill.popularity.report; {_OPEN_S3}",
        "fill publish, once it opens S3": f"import fill.cli, fill.publish.publish; {_OPEN_S3}",
    },
    "steering": {
        "any command": "import steering.cli",
        "steering serve": "import steering.cli, steering.serve",
        "steering serve, once it opens S3": f"import steering.cli, steering.serve; {_OPEN_S3}",
    },
}

_PROBE: Final = """
import json, sys
before = set(sys.modules)
exec(sys.argv[1])
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
from importlib.metadata import packages_distributions
known = packages_distributions()
print(json.dumps(sorted({owner.lower().replace("_", "-") for name in loaded for owner in known.get(name, [])})))
"""


def listing(program: str) -> str:
    """The whole text of ``docs/loads/{program}.txt``, as it should be now."""
    lines = [
        f"# Distributions that each process of {program} has loaded before it does its work.",
        "# Written by `python -m tests.architecture.loads`; a test compares.",
    ]
    for process, code in PROCESSES[program].items():
        done = subprocess.run([sys.executable, "-c", _PROBE, code], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{process}: {done.stderr}")
        lines += ["", process, *(f"    {name}" for name in json.loads(done.stdout))]
    return "\n".join(lines) + "\n"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for program in PROCESSES:
        (FOLDER / f"{program}.txt").write_text(listing(program))


if __name__ == "__main__":
    main()
