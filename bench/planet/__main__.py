"""`make bench-planet`: a planet's plan and its cost, and a month of one site beside other rules.

python -m bench.planet                     both, in full
python -m bench.planet --only month        one of: planet, month
python -m bench.planet --titles 2000 ...   smaller, to look at
python -m bench.planet --only month --trace FILE.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.planet.month import run_month
from bench.planet.scale import run_planet
from bench.planet.world import Scale


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.planet", description=__doc__.split("\n")[0])
    whole = Scale()
    parser.add_argument("--only", choices=("planet", "month"))
    parser.add_argument("--titles", type=int, default=whole.titles)
    parser.add_argument("--sites", type=int, default=whole.sites)
    parser.add_argument("--appliances", type=int, default=whole.appliances)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, help="a month of requests as CSV: see bench/planet/README.md")
    parser.add_argument("--storage", type=float, default=0.2, help="of the catalog's bytes, at the site")
    parser.add_argument("--site", type=int, default=20, help="appliances of the month's site")
    arguments = parser.parse_args()
    if arguments.only != "month" and arguments.trace is None:
        scale = Scale(arguments.titles, sites=arguments.sites, appliances=arguments.appliances)
        run_planet(scale, arguments.processes, arguments.seed)
    if arguments.only != "planet":
        run_month(arguments.site, arguments.storage, arguments.seed, arguments.trace)


if __name__ == "__main__":
    main()
