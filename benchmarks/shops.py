"""Shops of `examples/shop` to watch: each a seed of a scenario, in a folder and a process of its
own.
"""

import argparse
import datetime as dt
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.results import ROOT, churn
from churn_orchestration.business import Business
from churn_orchestration.simulator import World, simulate

Found = TypeVar("Found")


def arguments(
    about: str | None, scenarios: str, seeds: int, customers: int
) -> argparse.ArgumentParser:
    """The command line of a benchmark over shops, with what is not said."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenarios", default=scenarios)
    parser.add_argument("--seeds", type=int, default=seeds, help="shops of each scenario")
    parser.add_argument("--customers", type=int, default=customers)
    parser.add_argument("--processes", type=int, default=2, help="shops at a time")
    return parser


def tried(
    find: Callable[[str, int, Business], Found], last: dt.date, given: argparse.Namespace
) -> Iterator[Found]:
    """What is found of each shop, landed up to a day; ``find`` is given its scenario, its seed and
    itself.
    """
    one = partial(_tried, find, last, given.customers)
    seeds, scenarios = range(1, given.seeds + 1), given.scenarios.split(",")
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, spawned, max_tasks_per_child=1) as pool:
        yield from pool.map(
            one, scenarios * len(seeds), [seed for seed in seeds for _ in scenarios]
        )


def _tried(
    find: Callable[[str, int, Business], Found],
    last: dt.date,
    customers: int,
    scenario: str,
    seed: int,
) -> Found:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        days = (last - World.read(scenario).first_day).days + 1
        world = World.read(scenario, customers=customers, seed=seed, days=days)
        simulate(world, folder / "world", processes=1)
        os.environ["CHURN_SHOP"], os.environ["CHURN_DATA"] = (
            f"{folder}/world/landing",
            f"{folder}/data",
        )
        shop = business(folder, last)
        churn("--business", str(shop.folder), "run", "--to", str(last))
        return find(scenario, seed, shop)


def business(folder: Path, last: dt.date) -> Business:
    """The YAML and SQL of the example, with short windows; all of its days arrive at once."""
    made = folder / "business"
    shutil.copytree(ROOT / "examples" / "shop", made)
    for name, old, new in (
        ("business.yaml", "start_date: 2024-12-16", f"start_date: {last}"),
        ("business.yaml", "end_date: 2024-12-30\n", ""),
        ("gold/defs.yaml", "windows: [30, 90, 180, 365]", "windows: [7, 30, 90]"),
        ("churn_90d/defs.yaml", "value: spend_90d", "value: orders_amount_sum_90d"),
        ("churn_90d/defs.yaml", "as_ofs: 13", "as_ofs: 6"),
    ):
        path = made / name
        if old not in path.read_text():
            sys.exit(f"{path}: no {old}")
        path.write_text(path.read_text().replace(old, new))
    return Business(made)
