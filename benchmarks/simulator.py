"""The simulator measured, all its processes: `python -m benchmarks.simulator --events 10000000`."""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from churn_orchestration.simulator import World, simulate

ORDERS_OF_A_CUSTOMER = 11.0
"""Of the calm shop in two years."""


def main() -> None:
    """Write the files of as many orders as asked for, and print a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    world = World.read("calm", customers=round(given.events / ORDERS_OF_A_CUSTOMER))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()

        def log(line: str) -> None:
            sys.stderr.write(f"  {time.perf_counter() - begun:6.1f} s  {line}\n")

        rows = simulate(world, Path(folder), given.processes, log)
        took = time.perf_counter() - begun
    own, others = (
        resource.getrusage(who).ru_maxrss / 2**20
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"{rows['orders']:,} orders, {sum(rows.values()):,} rows in all: {took:.1f} s, ", end="")
    print(
        f"at most {own + given.processes * others:.1f} GB ({own:.1f} + {given.processes} x "
        f"{others:.1f})"
    )


if __name__ == "__main__":
    main()
