"""``python -m tests.bench [name…] [--quick]``: prints tables in Markdown, writes bench-results/<name>.json."""

import argparse
from collections.abc import Callable

from tests.bench import catalogue, machine, memory, start, storage
from tests.bench.report import Report

BENCHMARKS: dict[str, Callable[[bool], Report]] = {
    "start": start.measure,
    "storage": storage.measure,
    "memory": memory.measure,
    "catalogue": catalogue.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few and short: whether it works, no figures")
    given = parser.parse_args()
    if unknown := set(given.names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    facts = machine.facts()
    print(machine.sentence(facts), flush=True)
    for name in given.names or BENCHMARKS:
        report = BENCHMARKS[name](given.quick)
        print(f"\n{report.markdown()}", flush=True)
        report.write(name, {**facts, "quick": given.quick})


if __name__ == "__main__":
    main()
