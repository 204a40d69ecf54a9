"""What the product adds to a bare LightGBM on a large snapshot: time and memory, as ratios in the
same run.

Run: python -m benchmarks.training --rows 1000000 --features 80
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from churn_orchestration.churn import learners
from churn_orchestration.churn.capacity import Capacity, scarce_entities
from churn_orchestration.churn.recipe import fit

SEED, ROUNDS = 20_111_209, 3


def frame(rows: int, features: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A snapshot: numbers of which a tenth are missing, a label that a few of them move, entity
    ids.
    """
    rng = np.random.default_rng(SEED)
    table = rng.standard_normal((rows, features))
    odds = table[:, :5].sum(axis=1) - 1
    label = rng.random(rows) < 1 / (1 + np.exp(-odds))
    for start in range(0, rows, 100_000):
        block = table[start : start + 100_000]
        block[rng.random(block.shape) < 0.1] = np.nan
    names = [f"feature_{number}" for number in range(features)]
    return pd.DataFrame(table, columns=names, copy=False), label, np.arange(rows) // 6


def bare(table: pd.DataFrame, label: np.ndarray, entity: np.ndarray) -> None:
    """The library's own call, with the product's settings."""
    capacity = Capacity.of(len(table), scarce_entities(label, entity))
    [(_, member)] = learners.LEARNERS["lightgbm"](capacity).members
    member.fit(table, label)


def ours(table: pd.DataFrame, label: np.ndarray, entity: np.ndarray) -> None:
    """The product's."""
    fit("lightgbm", table, pd.Series(label), pd.Series(entity))


WAYS: dict[str, Callable[[pd.DataFrame, np.ndarray, np.ndarray], None]] = {
    "bare": bare,
    "ours": ours,
}


def main() -> None:
    """Time both ways, each in a process of its own, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=80)
    parser.add_argument("--way", choices=WAYS, help="one of them, in this process")
    given = parser.parse_args()
    size = ["--rows", str(given.rows), "--features", str(given.features)]
    if given.way:
        made = frame(given.rows, given.features)
        began = time.perf_counter()
        WAYS[given.way](*made)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(seconds, peak)
        return
    result: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.training", "--way", way, *size]
            said = subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.split()
            result[way].append((float(said[0]), float(said[1])))
            print(way, *said, flush=True)
    seconds, peaks = (
        {way: np.median(np.array(result[way])[:, at]) for way in WAYS} for at in (0, 1)
    )
    of_frame = given.rows * given.features * 8
    print(
        f"{given.rows:,} rows x {given.features} features: {seconds['ours'] / seconds['bare']:.2f} "
        f"of the time of the bare call (median of {ROUNDS}), peak {peaks['ours'] / of_frame:.2f} x "
        f"the frame (bare call {peaks['bare'] / of_frame:.2f})"
    )


if __name__ == "__main__":
    main()
