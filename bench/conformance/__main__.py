"""``python -m bench.conformance``: http-cache-tests against ours, nginx, Varnish and Traffic Server; see README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.conformance.caches import CONTENDERS
from bench.conformance.suite import FOLDER, KINDS, Failure, Test, origin, run, tests
from daemon.cli import CommandError
from demo import npm
from demo.processes import Processes


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.conformance", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="caches, by the beginning of their names")
    parser.add_argument("--write", type=Path, metavar="FILE", help="each test and what each cache made of it")
    given = parser.parse_args(argv)
    contenders = [item for item in CONTENDERS if item.name.lower().startswith(given.only.lower())]
    if not contenders:
        parser.error(f"no cache begins with {given.only!r}")
    console = Console(width=120)
    results: dict[str, dict[str, Failure]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-conformance-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        try:
            with Processes(root) as processes:
                npm.install(FOLDER, processes)
            every = tests()
            for number, contender in enumerate(contenders):
                with origin() as origin_port:
                    try:
                        with contender.start(root / str(number), origin_port) as port:
                            results[contender.name] = run(port, every)
                    except FileNotFoundError as missing:
                        console.print(f"left out: {missing}")
        except CommandError as error:
            print(f"bench.conformance: {error}", file=sys.stderr)
            return 1
    console.print(_table(every, results))
    if given.write is not None:
        given.write.write_text(differences(every, results))
    return 0


def _table(every: Sequence[Test], results: Mapping[str, Mapping[str, Failure]]) -> Table:
    table = Table(title="http-cache-tests: passed", title_justify="left", box=None, pad_edge=False)
    table.add_column("cache")
    table.add_column("told")
    for kind in (*KINDS, "all"):
        table.add_column(kind, justify="right")
    told = {item.name: item.told for item in CONTENDERS}
    for name, found in results.items():
        row = [name, told[name]]
        for kind in KINDS:
            of_kind = [test for test in every if test.kind == kind]
            row.append(f"{sum(not found[test.id] for test in of_kind)} of {len(of_kind)}")
        table.add_row(*row, f"{sum(not failure for failure in found.values())} of {len(every)}")
    return table


def differences(every: Sequence[Test], results: Mapping[str, Mapping[str, Failure]]) -> str:
    """A Markdown table of the tests that not all have passed: + for passed, and why ours has not."""
    names = list(results)
    lines = [
        f"| kind | test | {' | '.join(names)} | what {names[0]} fails by |",
        "|---" * (len(names) + 3) + "|",
    ]
    for kind in KINDS:
        for test in every:
            found = [results[name][test.id] for name in names]
            if test.kind == kind and any(found):
                marks = " | ".join("-" if failure else "+" for failure in found)
                lines.append(f"| {kind} | `{test.id}` | {marks} | {found[0].replace('|', '/')} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
