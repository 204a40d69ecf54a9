"""RelBench's task rel-hm/user-churn on a made file of H&M's layout: its population, its outcome."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from churn_orchestration.business import PACKAGE
from churn_orchestration.storage.door import door
from churn_orchestration_tests.support.in_process import IN_PROCESS, commanded

pytestmark = IN_PROCESS
LAST = pd.Timestamp("2020-09-22")
TIMESTAMP, WEEK = pd.Timestamp("2020-09-14"), pd.Timedelta(days=7)


def made(folder: Path) -> pd.DataFrame:
    """The purchases of 600 customers in 240 days, each at a rate of their own, written as
    ``transactions_train.csv``.
    """
    rng = np.random.default_rng(8)
    often = rng.gamma(0.7, 0.15, 600)
    bought = rng.random((240, 600)) < np.minimum(often, 0.9)
    ago, who = np.nonzero(bought)
    rows = pd.DataFrame({
        "t_dat": (LAST - pd.to_timedelta(ago, unit="D")).strftime("%Y-%m-%d"),
        "customer_id": [f"{customer:064x}" for customer in who],
        "article_id": [f"0{number:09d}" for number in rng.integers(1, 400, len(who))],
        "price": rng.gamma(2, 0.015, len(who)).round(9),
        "sales_channel_id": rng.integers(1, 3, len(who)),
    })  # fmt: skip
    folder.mkdir(parents=True)
    rows.sort_values("t_dat").to_csv(folder / "transactions_train.csv", index=False)
    return rows.assign(t_dat=pd.to_datetime(rows["t_dat"]))


def test_population_outcome_and_auc_are_those_of_the_benchmark(
    tmp_path: Path, churn_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_REAL_DATA", str(tmp_path))
    rows = made(tmp_path / "hm")
    business = ["--business", str(PACKAGE.parent / "examples" / "hm")]
    assert json.loads(commanded(*business, "run", "--json").stdout)["rows"][
        "bronze.transactions"
    ] == len(rows)
    graded = json.loads(
        commanded(*business, "backtest", "--as-of", str(TIMESTAMP.date()), "--json").stdout
    )

    def buyers(first: pd.Timestamp, last: pd.Timestamp) -> set[str]:
        return set(rows.loc[(rows["t_dat"] > first) & (rows["t_dat"] <= last), "customer_id"])

    population = buyers(TIMESTAMP - WEEK, TIMESTAMP)
    stay = buyers(TIMESTAMP, TIMESTAMP + WEEK)
    with door(churn_data / "hm") as db:
        scored = db.execute(
            "select customer_id, churn_probability from predictions.churn_7d where as_of = ?",
            [TIMESTAMP.date()],
        ).df()
    assert set(scored["customer_id"]) == population
    assert graded["base_rate"] == pytest.approx(len(population - stay) / len(population))
    label = ~scored["customer_id"].isin(stay)
    auc = roc_auc_score(label, scored["churn_probability"])
    assert graded["report"]["model"]["auc"]["value"] == pytest.approx(auc)
    assert auc > 0.6
