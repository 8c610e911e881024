"""``python -m tests.bench.cluster [name…] [--instances N]``: tables, and bench-results/cluster-<name>.json."""

import argparse
from collections.abc import Callable

from tests.bench import machine
from tests.bench.cluster import creating, growing
from tests.bench.report import Report

BENCHMARKS: dict[str, Callable[[int], Report]] = {"creating": creating.measure, "growing": growing.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--instances", type=int, default=1000, help="how many to begin with; default: 1000")
    given = parser.parse_args()
    if unknown := set(given.names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    facts = machine.facts()
    print(machine.sentence(facts), flush=True)
    for name in given.names or BENCHMARKS:
        report = BENCHMARKS[name](given.instances)
        print(f"\n{report.markdown()}", flush=True)
        report.write(f"cluster-{name}", {**facts, "instances": given.instances})


if __name__ == "__main__":
    main()
