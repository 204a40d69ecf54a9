"""One more day of a small shop beside the start-up that it cannot do without, in processor time.

    python -m benchmarks.one_day [--customers 500] [--days 5]

Prints what each day took, and the median as a multiple of what it takes to import Dagster, its
storage, pandas and matplotlib: on a busy machine both grow alike.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.shops import business
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.simulator import World, simulate

NEEDED = "import dagster, sqlalchemy, alembic, duckdb, pandas, matplotlib.figure"
HISTORY_DAYS = 200


def seconds(*command: str) -> float:
    """Processor time of a command and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Land a shop, then time a day after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--days", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = World.read("calm", customers=given.customers, days=HISTORY_DAYS + given.days)
        simulate(world, folder / "world", processes=1)
        os.environ["CHURN_SHOP"], os.environ["CHURN_DATA"] = (
            f"{folder}/world/landing",
            f"{folder}/data",
        )
        start = world.first_day + DAY * (HISTORY_DAYS - 1)
        shop = business(folder, start)
        run = [
            sys.executable,
            "-m",
            "churn_orchestration.cli",
            "--business",
            str(shop.folder),
            "run",
            "--to",
        ]
        seconds(*run, str(start))
        needed = statistics.median(seconds(sys.executable, "-c", NEEDED) for _ in range(given.days))
        took = [seconds(*run, str(start + DAY * n)) for n in range(1, given.days + 1)]
    print("days, s:", *(f"{each:.1f}" for each in took))
    print(
        f"start-up alone: {needed:.1f} s; a day is {statistics.median(took) / needed:.1f} times "
        "that"
    )


if __name__ == "__main__":
    main()
