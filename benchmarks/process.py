"""What it costs to fit purchase processes to many customers and to score them, and what binning
changes, next to `lifetimes` on a sample.

Run: python -m benchmarks.process --customers 1000000. Each way in a process of its own, one thread;
the customers are simulated as BG/NBD says, at whole days, and lie in Parquet. First:
pip install -c constraints.txt -e '.[bench]'.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from churn_orchestration.churn.process.columns import spend_columns
from churn_orchestration.churn.process.fitting import Process, fit_each
from churn_orchestration.churn.process.histories import Histories
from churn_orchestration.churn.value.forecast import SpendForecast, fit_forecast

SEED, YEARS, HORIZON = 20_111_209, 3, 90
R, ALPHA, A, B = 0.6, 25.0, 0.7, 3.0
SAMPLE = 10_000
"""Customers that `lifetimes` is given; more of them take it proportionally longer."""


def customers(number: int) -> pd.DataFrame:
    """x, t_x, T of customers of up to so many years, whole days; two purchases of a day are one."""
    rng = np.random.default_rng(SEED)
    age = rng.integers(1, 365 * YEARS, number).astype(float)
    rate, stops = rng.gamma(R, 1 / ALPHA, number), rng.beta(A, B, number)
    x, t_x, now = np.zeros(number), np.zeros(number), np.zeros(number)
    alive = np.arange(number)
    while len(alive):
        now[alive] += rng.exponential(1 / rate[alive])
        alive = alive[now[alive] < age[alive] + 1]
        day = np.floor(now[alive])
        again = alive[day > t_x[alive]]
        x[again] += 1
        t_x[again] = np.floor(now[again])
        alive = alive[rng.random(len(alive)) >= stops[alive]]
    return pd.DataFrame({"x": x, "t_x": t_x, "T": age})


def ours(table: pd.DataFrame) -> dict[str, Process]:
    """The three processes, fitted, and every customer scored by each."""
    histories = Histories.of_table(table)
    processes = {n: p for n, p in fit_each(histories).items() if isinstance(p, Process)}
    for process in processes.values():
        assert np.isfinite(process.silence_log_odds(histories, HORIZON)).all()
    return processes


def exact(table: pd.DataFrame) -> dict[str, Process]:
    """The three processes, fitted to every distinct history by itself."""
    fitted = fit_each(Histories.of_table(table), exact=True)
    return {n: p for n, p in fitted.items() if isinstance(p, Process)}


def spend(table: pd.DataFrame) -> dict[str, Process]:
    """What every customer will spend: the best process and the gamma-gamma model, fitted, and the
    forecast of each; the drawing of what they spent is timed with it.
    """
    rng, days = np.random.default_rng(SEED), table["x"].to_numpy() + 1
    mean = rng.gamma(6 * days, 1 / rng.gamma(4, 1 / 15, len(days))) / days
    rows = (days, table["T"] - table["t_x"], table["T"], mean * days)
    features = pd.DataFrame(dict(zip(spend_columns("p", "a"), rows, strict=True)))
    model = fit_forecast(features, "p", "a", HORIZON)
    assert isinstance(model, SpendForecast)
    forecast = model.of(features)
    assert np.isfinite(forecast.to_numpy()).all()
    found = f"p {model.spend.p:.2f}, q {model.spend.q:.2f}, gamma {model.spend.gamma:.2f}"
    print(f"spend: {found}; {forecast['expected_spend'].mean():.2f} a customer")
    return {model.process.model: model.process}


def lifetimes(table: pd.DataFrame) -> dict[str, Process]:
    """The same three by lifetimes, of the first SAMPLE customers, in weeks as it needs them."""
    from lifetimes import BetaGeoFitter, ModifiedBetaGeoFitter, ParetoNBDFitter

    some = table.iloc[:SAMPLE]
    x, t_x, age = some["x"], some["t_x"] / 7, some["T"] / 7
    for kind in (BetaGeoFitter, ModifiedBetaGeoFitter, ParetoNBDFitter):
        model = kind()
        model.fit(x, t_x, age)
        model.conditional_probability_alive(x, t_x, age)
    return {}


def binning(table: pd.DataFrame) -> dict[str, Process]:
    """How far processes of binned histories are from those of all: of parameters and forecasts."""
    histories = Histories.of_table(table)
    binned, every = fit_each(histories), exact(table)
    for name, right in every.items():
        near = binned[name]
        assert isinstance(near, Process)
        by = {k: f"{near.parameters[k] / v - 1:+.2%}" for k, v in right.parameters.items()}
        apart = near.silence(histories, HORIZON) - right.silence(histories, HORIZON)
        print(
            f"binned {name}: parameters {by}, log likelihood per customer "
            f"{(near.log_likelihood - right.log_likelihood) / len(table):+.2e}, forecasts differ "
            f"by {np.abs(apart).mean():.1e} on the mean, {np.abs(apart).max():.1e} at most"
        )
    return every


WAYS: dict[str, Callable[[pd.DataFrame], dict[str, Process]]] = {
    "ours": ours,
    "exact": exact,
    "spend": spend,
    "lifetimes": lifetimes,
    "binning": binning,
}


def main() -> None:
    """Time each way on the same file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--ways", default="ours,spend,lifetimes,binning")
    parser.add_argument("--within", type=Path, help="one way, in this process, on a file")
    given = parser.parse_args()
    if given.within:
        table = pd.read_parquet(given.within)
        began, cpu = time.perf_counter(), time.process_time()
        for name, process in WAYS[given.ways](table).items():
            found = {key: round(value, 3) for key, value in process.parameters.items()}
            print(f"{name}: {found}, log likelihood {process.log_likelihood:,.1f}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        wall = time.perf_counter() - began
        print(f"{wall} {time.process_time() - cpu} {peak}")
        return
    print(f"simulated: r {R}, alpha {ALPHA}, a {A}, b {B}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "customers.parquet"
        table = customers(given.customers)
        table.to_parquet(file)
        print(f"{len(table):,} customers, {len(table.drop_duplicates()):,} distinct histories")
        cost = {}
        for way in given.ways.split(","):
            command = [sys.executable, "-m", "benchmarks.process", "--ways", way]
            done = subprocess.run(
                [*command, "--within", file], capture_output=True, text=True, check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            *lines, last = done.stdout.splitlines()
            wall, cpu, peak = map(float, last.split())
            print(*lines, sep="\n")
            print(f"{way}: {wall:.1f} s, {cpu:.1f} s of processor, peak {peak:.2f} GB", flush=True)
            cost[way] = cpu / (min(SAMPLE, len(table)) if way == "lifetimes" else len(table))
        if {"ours", "lifetimes"} <= set(cost):
            print(f"lifetimes takes {cost['lifetimes'] / cost['ours']:.0f} x the processor time")


if __name__ == "__main__":
    main()
