import datetime as dt
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.answerable import Outcomes, hopeless, recommended
from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.labels import INACTIVITY, Question

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 12, 31)
AS_OFS = (dt.date(2024, 4, 1), dt.date(2024, 6, 1), dt.date(2024, 9, 1))
ORDERS = EventSource("orders", "silver.orders", "customer_id", "order")
FEATURES = FeatureSet("customer_id", (ORDERS,))
QUESTION = Question("q", INACTIVITY, FEATURES, ORDERS, Horizon(60), 90)


def snapshot(churned: int, stayed: int, **features: object) -> pd.DataFrame:
    rows = churned + stayed
    columns = {"customer_id": range(rows), "as_of": AS_OFS[0], "label": [True] * churned + [False] * stayed}
    return pd.DataFrame(columns | {"orders_count": range(rows)} | features)


def reasons(frame: pd.DataFrame) -> list[str]:
    names = [name for name in frame if name not in ("customer_id", "as_of", "label")]
    return hopeless(frame, "customer_id", names, tests=3)


def test_enough_of_both_and_a_feature_that_differs_is_not_hopeless() -> None:
    assert reasons(snapshot(100, 300)) == []


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (snapshot(0, 300), "all have the same outcome: found 0 customers that churned and 300 that stayed"),
        (snapshot(300, 0), "all have the same outcome"),
        (snapshot(19, 300), "want at least 20 customers .* found 19 customers that churned and 300"),
        (snapshot(100, 300, orders_count=7), "all 1 features are constant"),
        (snapshot(100, 300, orders_count=None), "all 1 features are constant"),
    ],
)
def test_a_hopeless_question_says_what_was_found(frame: pd.DataFrame, told: str) -> None:
    [reason] = reasons(frame)
    assert pd.Series([reason]).str.contains(told).item()


def test_a_base_rate_at_chance_level_with_constant_features_is_hopeless_twice() -> None:
    days = [snapshot(8, 6660, orders_count=1).assign(as_of=day) for day in AS_OFS]
    days = [day.assign(customer_id=day["customer_id"] + n * 10_000) for n, day in enumerate(days)]
    told = hopeless(pd.concat(days), "customer_id", ["orders_count"], tests=1)
    assert len(told) == 2
    assert told[0].startswith("a base rate of 0.12% is at chance level: with 8 of 6,668 rows to grade on")
    assert told[1].startswith("all 1 features are constant")


@pytest.fixture(scope="module")
def shop() -> tuple[duckdb.DuckDBPyConnection, pd.DataFrame]:
    """Random days of order, as the daily parts of a source, and the same as a plain table."""
    rng = np.random.default_rng(5)
    orders = pd.DataFrame({"customer_id": rng.integers(0, 120, 700), "day": rng.integers(0, 366, 700)})
    orders = orders.drop_duplicates()
    orders["day"] = pd.Timestamp(FIRST) + pd.to_timedelta(orders["day"], "D")
    db = duckdb.connect()
    db.execute("create schema silver")
    db.register("orders", orders)
    db.execute(
        f"create table {ORDERS.days_table} as select customer_id, day::date as day, day::date as known_on, "
        "date '9999-12-31' as superseded_on, 1 as events from orders"
    )
    return db, orders


def by_hand(orders: pd.DataFrame, as_of: dt.date, window: int) -> pd.DataFrame:
    """Who was active in the window before, and after how many days it was active again; one by one."""
    rows, now = [], pd.Timestamp(as_of)
    for customer, days in orders.groupby("customer_id")["day"]:
        before, after = days[days <= now], days[days > now]
        if len(before) and (now - before.max()).days < window:
            rows.append((customer, (after.min() - now).days if len(after) else np.inf))
    return pd.DataFrame(rows, columns=["customer_id", "wait"])


def test_who_is_asked_and_who_churned_are_those_counted_one_by_one(
    shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame],
) -> None:
    db, orders = shop
    for question in (QUESTION, replace(QUESTION, horizon=Horizon(30, gap_days=10))):
        found = db.execute(Outcomes(question, AS_OFS, LAST).by_as_of(90)).df()
        lag, days = question.horizon.gap_days, question.horizon.horizon_days
        for as_of, row in zip(AS_OFS, found.itertuples(), strict=True):
            wait = by_hand(orders, as_of, 90)["wait"]
            active = db.execute(
                f"select count(distinct customer_id) from {ORDERS.days_table} where customer_id in "
                f"(select customer_id from {ORDERS.days_table} where day between date '{as_of}' - 89 and "
                f"date '{as_of}') and day between date '{as_of}' + {lag + 1} "
                f"and date '{as_of}' + {lag + days}"
            ).fetchone()
            assert active
            assert (row.entities, row.churned) == (len(wait), len(wait) - active[0])


def test_how_the_label_moves_with_the_horizon_is_as_counted_one_by_one(
    shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame],
) -> None:
    db, orders = shop
    found = db.execute(Outcomes(QUESTION, AS_OFS, LAST).by_horizon(90, (30, 60))).df()
    waits = {as_of: by_hand(orders, as_of, 90)["wait"] for as_of in AS_OFS}
    for row, days in zip(found.itertuples(), (30, 60), strict=True):
        wait = pd.concat(waits.values())
        assert row.base_rate == pytest.approx((wait > days).mean())
        assert row.flips == pytest.approx(((wait > days) != (wait > days * 1.5)).mean())
        seen = pd.concat([w for day, w in waits.items() if day + dt.timedelta(2 * days) <= LAST])
        assert row.came_back == pytest.approx((seen[seen > days] <= 2 * days).mean())


def test_the_population_grows_with_the_window(shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame]) -> None:
    db, orders = shop
    found = db.execute(Outcomes(QUESTION, AS_OFS, LAST).by_window((30, 90, "all"))).df()
    assert found["entities"].tolist() == [len(by_hand(orders, AS_OFS[-1], w)) for w in (30, 90, 999)]


def test_the_shortest_horizon_after_which_few_come_back_is_advised() -> None:
    tried = pd.DataFrame({
        "horizon_days": [30, 60, 90], "base_rate": [0.9, 0.5, 0.4], "came_back": [0.4, 0.15, 0.05]
    })  # fmt: skip
    assert recommended(tried) == 60
    assert recommended(tried.assign(came_back=0.5)) is None
