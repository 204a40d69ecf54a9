"""Spend on public data: the published gamma-gamma, and what is forecast of Online Retail and CDNOW
beside what was spent since.
"""

import datetime as dt
import os
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.process.columns import spend_columns
from churn_orchestration.churn.process.spend import fit_spend
from churn_orchestration.churn.sql import literal
from churn_orchestration.churn.value.forecast import fit_forecast
from churn_orchestration.churn.value.metrics import measure
from churn_orchestration_tests.support.cdnow import sample_ids

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        "CHURN_REAL_DATA" not in os.environ, reason="CHURN_REAL_DATA names no folder"
    ),
]
CDNOW = """
select customer_id::int as id, strptime(date::varchar, '%Y%m%d')::date as day,
  dollar_value::decimal(18, 2) as amount from read_csv({}, all_varchar = true)"""
ONLINE_RETAIL = """
select CustomerID as id, strptime(InvoiceDate, '%Y-%m-%d %H:%M:%S')::date as day,
  (Quantity::bigint * UnitPrice::decimal(18, 4)) as amount from read_csv({}, all_varchar = true)
where CustomerID is not null and not starts_with(InvoiceNo, 'C') and Quantity::bigint > 0
  and UnitPrice::decimal(18, 4) > 0"""


def days_of(select: str, files: str) -> duckdb.DuckDBPyConnection:
    """A database with ``days``: what each customer spent on each day."""
    db = duckdb.connect()
    place = Path(os.environ["CHURN_REAL_DATA"]) / files
    db.execute(
        "create table days as select id, day, sum(amount)::double as amount "
        f"from ({select.format(literal(place))}) group by all"
    )
    return db


def forecast_and_outcome(
    db: duckdb.DuckDBPyConnection, as_of: dt.date
) -> tuple[np.ndarray, np.ndarray]:
    """What is forecast of everybody who ever bought by a day, and what they spent in 90 days."""
    names = spend_columns("p", "a")
    on = literal(as_of)
    rows: pd.DataFrame = db.execute(
        f"""
        select id, count(*) as {names[0]}, {on} - max(day) as {names[1]},
          {on} - min(day) as {names[2]}, sum(amount) as {names[3]},
          (select coalesce(sum(amount), 0) from days as later
           where later.id = days.id and day > {on} and day <= {on} + 90) as spent
        from days where day <= {on} group by id order by id"""
    ).df()
    model = fit_forecast(rows, "p", "a", 90)
    return model.of(rows)["expected_spend"].to_numpy(), rows["spent"].to_numpy()


def test_the_published_gamma_gamma_of_cdnow_comes_out() -> None:
    with days_of(CDNOW, "cdnow/cdnow_master.csv") as db:
        rows = db.execute(
            "select count(*) as n, avg(amount) as mean from (select id, day, amount, "
            "row_number() over (partition by id order by day) as number from days "
            "where day <= date '1997-09-30' and id in (select unnest($1))) "
            "where number > 1 group by id having avg(amount) > 0 order by id",
            [sample_ids()],
        ).df()
    fitted = fit_spend(rows["n"].to_numpy(), rows["mean"].to_numpy())
    assert len(rows) == 946
    parameters = (round(fitted.p, 2), round(fitted.q, 2), round(fitted.gamma, 2))
    assert parameters == (6.25, 3.74, 15.44)  # Fader and Hardie 2013


def test_online_retail_is_forecast_better_than_the_bar_of_its_day() -> None:
    with days_of(ONLINE_RETAIL, "online_retail/*.csv.gz") as db:
        forecast, outcome = forecast_and_outcome(db, dt.date(2011, 9, 9))
    result = measure(outcome, forecast)
    assert len(outcome) == 3_370
    assert result["rmse"] <= 3_033
    assert result["top_decile_capture"] >= 0.550


def test_cdnow_is_forecast_and_its_total_is_near() -> None:
    with days_of(CDNOW, "cdnow/cdnow_master.csv") as db:
        forecast, outcome = forecast_and_outcome(db, dt.date(1998, 3, 31))
    result = measure(outcome, forecast)
    assert result["rmse"] == pytest.approx(30.9, abs=0.1)
    assert result["top_decile_capture"] == pytest.approx(0.615, abs=0.002)
    assert result["total_ratio"] == pytest.approx(1.10, abs=0.01)
