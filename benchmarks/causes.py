"""Whether the reasons name the cause of those who leave a simulated help desk: `python -m
benchmarks.causes`.

The desk is simulated, taken through the whole graph of `examples/helpdesk`, and looked back on: a
model is trained at the end of AS_OF, and its reasons are compared with why companies left in the
horizon after it.
"""

import argparse
import datetime as dt
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.results import churn
from churn_orchestration.simulator import World, simulate
from churn_orchestration.storage.door import door

AS_OF, HORIZON = dt.date(2025, 10, 15), dt.timedelta(days=90)
CAUSE = "dissatisfied"
SAYS = ("breached", "escalated", "hours", "csat", "nps")
"""The words of a reason that names how the company was served."""
SHOWS = float(np.log(2))
"""A dissatisfaction that data can show: by what happened up to AS_OF, it doubles the risk."""


def names_the_cause(reason: str) -> bool:
    """Whether a reason is about how the desk has served the company.

    >>> names_the_cause("50% of resolutions in the last 30 days: breached")
    True
    >>> names_the_cause("more tickets in the last 60 days than in the 60 before")
    False
    """
    return any(word in reason for word in SAYS)


def dissatisfaction(world: World, events: pd.DataFrame) -> pd.Series:
    """What dissatisfaction adds to the log of the risk of each company at the end of AS_OF."""
    age = (pd.Timestamp(AS_OF) - pd.to_datetime(events["created_at"]).dt.normalize()).dt.days
    known = age >= 0
    felt = np.where(events["bad"], -world.experience.hurt, world.experience.help)
    felt *= 0.5 ** (age / world.experience.half_life_days)
    satisfaction = pd.Series(felt[known]).groupby(events.loc[known, "company_id"].to_numpy()).sum()
    return -world.leaving.dissatisfaction * satisfaction


def scored(world: World, folder: Path) -> pd.DataFrame:
    """Everybody who was scored, with what raises the forecast, and why and when they left."""
    simulate(world, folder / "world")
    os.environ["CHURN_HELPDESK"], os.environ["CHURN_DATA"] = (
        str(folder / "world/landing"),
        str(folder / "data"),
    )
    churn("--business", "examples/helpdesk", "run")
    churn("--business", "examples/helpdesk", "backtest", "--as-of", str(AS_OF))
    truth = folder / "world" / "truth"
    with door(folder / "data" / "helpdesk") as db:
        rows = db.execute(
            "select company_id, risk_factors, cause, left_on from predictions.cancels_90d join "
            f"'{truth}/people.parquet' using (company_id) where as_of = '{AS_OF}' order by 1"
        ).df()
    events = pd.read_parquet(truth / "events.parquet")
    felt = rows["company_id"].map(dissatisfaction(world, events)).fillna(0)
    return rows.assign(felt=felt, left_on=pd.to_datetime(rows["left_on"]))


def line(who: str, rows: pd.DataFrame) -> str:
    """How often the first reason, or one of the first three, names the cause, of some companies."""
    first = rows["risk_factors"].map(lambda reasons: any(map(names_the_cause, reasons[:1])))
    three = rows["risk_factors"].map(lambda reasons: any(map(names_the_cause, reasons)))
    cells = [f"{who}", f"{len(rows):,}"]
    for named in (first, three):
        ends = binomtest(int(named.sum()), len(named)).proportion_ci(method="wilson")
        cells.append(f"{named.mean():.0%} [{ends.low:.0%}, {ends.high:.0%}]")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=2000)
    given = parser.parse_args()
    world = World.read("helpdesk", customers=given.customers)
    with tempfile.TemporaryDirectory() as folder:
        rows = scored(world, Path(folder))
    day = pd.Timestamp(AS_OF)
    left = rows[(rows["left_on"] > day) & (rows["left_on"] <= day + HORIZON)]
    by_cause = left[left["cause"] == CAUSE]
    stay = rows[rows["left_on"].isna() | (rows["left_on"] > day + HORIZON)]
    print("| companies | how many | first reason | one of three |\n|---|---|---|---|")
    print(line("left dissatisfied, as data can show", by_cause[by_cause["felt"] >= SHOWS]))
    print(line("left dissatisfied, all", by_cause))
    print(line("left by chance", left[left["cause"] != CAUSE]))
    print(line("stayed, not dissatisfied", stay[stay["felt"] <= 0]))


if __name__ == "__main__":
    main()
