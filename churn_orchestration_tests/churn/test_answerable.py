import datetime as dt
from contextlib import closing
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import AttributeTable, EventSource, FeatureSet
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.question.answerable import Outcomes, hopeless, recommended
from churn_orchestration.churn.question.labels import ALL, EVENT, INACTIVITY, Question, labelled
from churn_orchestration_tests.support.daily_parts import make_parts

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 12, 31)
AS_OFS = (dt.date(2024, 4, 1), dt.date(2024, 6, 1), dt.date(2024, 9, 1))
ORDERS = EventSource("orders", "silver.orders", "customer_id", "order")
FEATURES = FeatureSet("customer_id", (ORDERS,), (30,), ())
QUESTION = Question("q", INACTIVITY, FEATURES, ORDERS, Horizon(60), 90)


def snapshot(churned: int, stayed: int, **features: object) -> pd.DataFrame:
    rows = churned + stayed
    columns = {
        "customer_id": range(rows),
        "as_of": AS_OFS[0],
        "label": [True] * churned + [False] * stayed,
    }
    return pd.DataFrame(columns | {"orders_count": range(rows)} | features)


def reasons(frame: pd.DataFrame) -> list[str]:
    names = [name for name in frame if name not in ("customer_id", "as_of", "label")]
    return hopeless(frame, "customer_id", names, tests=3)


def test_enough_of_both_and_a_feature_that_differs_is_not_hopeless() -> None:
    assert reasons(snapshot(100, 300)) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            snapshot(0, 300),
            "all have the same outcome: there are 0 customers that churned and 300 that stayed",
        ),
        (snapshot(300, 0), "all have the same outcome"),
        (
            snapshot(19, 300),
            "want at least 20 customers .* found 19 customers that churned and 300",
        ),
        (snapshot(100, 300, orders_count=7), "all 1 features are constant"),
        (snapshot(100, 300, orders_count=None), "all 1 features are constant"),
    ],
)
def test_a_hopeless_question_says_what_was_found(frame: pd.DataFrame, message: str) -> None:
    [reason] = reasons(frame)
    assert pd.Series([reason]).str.contains(message).item()


def test_a_base_rate_at_chance_level_with_constant_features_is_hopeless_twice() -> None:
    days = [snapshot(8, 6660, orders_count=1).assign(as_of=day) for day in AS_OFS]
    days = [day.assign(customer_id=day["customer_id"] + n * 10_000) for n, day in enumerate(days)]
    message = hopeless(pd.concat(days), "customer_id", ["orders_count"], tests=1)
    assert len(message) == 2
    assert message[0].startswith(
        "a base rate of 0.12% is at chance level: with 8 of 6,668 rows to grade on"
    )
    assert message[1].startswith("all 1 features are constant")


def opened(orders: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    """A database with the orders of (customer_id, day[, known_on]) and their daily parts."""
    db = duckdb.connect()
    db.execute("create schema silver; create schema bronze")
    rows = orders.assign(order_id=range(len(orders)))
    if "known_on" not in rows:
        rows["known_on"] = rows["day"]
    db.register("_rows", rows)
    db.execute(
        "create table silver.orders as select order_id, customer_id, day::date as day, "
        "known_on::date as known_on, known_on::date as _partition from _rows"
    )
    make_parts(db, FEATURES)
    return db


@pytest.fixture(scope="module")
def shop() -> tuple[duckdb.DuckDBPyConnection, pd.DataFrame]:
    """Random days of order, as the daily parts of a source, and the same as a plain table."""
    rng = np.random.default_rng(5)
    orders = pd.DataFrame(
        {"customer_id": rng.integers(0, 120, 700), "day": rng.integers(0, 366, 700)}
    )
    orders = orders.drop_duplicates()
    orders["day"] = pd.Timestamp(FIRST) + pd.to_timedelta(orders["day"], "D")
    return opened(orders), orders


def by_hand(orders: pd.DataFrame, as_of: dt.date, window: int) -> pd.DataFrame:
    """Who was active in the window before, and after how many days it was active again; one by
    one.
    """
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
        result = db.execute(Outcomes(question, AS_OFS, LAST).by_as_of(90)).df()
        lag, days = question.horizon.gap_days, question.horizon.horizon_days
        for as_of, row in zip(AS_OFS, result.itertuples(), strict=True):
            wait = by_hand(orders, as_of, 90)["wait"]
            active = db.execute(
                f"select count(distinct customer_id) from {ORDERS.days_table} where customer_id in "
                f"(select customer_id from {ORDERS.days_table} where day between date '{as_of}' - "
                f"89 and date '{as_of}') and day between date '{as_of}' + {lag + 1} "
                f"and date '{as_of}' + {lag + days}"
            ).fetchone()
            assert active
            assert (row.entities, row.churned) == (len(wait), len(wait) - active[0])


def test_how_the_label_moves_with_the_horizon_is_as_counted_one_by_one(
    shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame],
) -> None:
    db, orders = shop
    result = db.execute(
        Outcomes(QUESTION, AS_OFS, LAST).by_horizon(90, (Horizon(30), Horizon(60)))
    ).df()
    waits = {as_of: by_hand(orders, as_of, 90)["wait"] for as_of in AS_OFS}
    for row, days in zip(result.itertuples(), (30, 60), strict=True):
        wait = pd.concat(waits.values())
        assert row.base_rate == pytest.approx((wait > days).mean())
        assert row.flips == pytest.approx(((wait > days) != (wait > days * 1.5)).mean())
        seen = pd.concat([w for day, w in waits.items() if day + dt.timedelta(days + 90) <= LAST])
        assert row.came_back == pytest.approx((seen[seen > days] <= days + 90).mean())


def test_months_are_as_long_as_each_of_them_is(
    shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame],
) -> None:
    db, orders = shop
    month_ends = {
        (1, 31): (29, 60),
        (3, 31): (30, 61),
        (6, 30): (31, 62),
    }  # 2024: days of 1 and of 2 months
    lengths = {dt.date(2024, *day): days for day, days in month_ends.items()}
    outcomes = Outcomes(replace(QUESTION, horizon=Horizon(horizon_months=1)), tuple(lengths), LAST)
    waits = {as_of: by_hand(orders, as_of, 90)["wait"] for as_of in lengths}
    result = db.execute(outcomes.by_as_of(90)).df()
    assert result["churned"].tolist() == [
        (waits[as_of] > days).sum() for as_of, (days, _) in lengths.items()
    ]
    tried = db.execute(outcomes.by_horizon(90, [Horizon(horizon_months=n) for n in (1, 2)])).df()
    assert tried["horizon_months"].tolist() == [1, 2]
    for n, row in enumerate(tried.itertuples()):
        gone = [waits[as_of] > days[n] for as_of, days in lengths.items()]
        assert row.base_rate == pytest.approx(pd.concat(gone).mean())
    [newest] = db.execute(outcomes.by_window([90])).df().itertuples()
    assert newest.base_rate == pytest.approx((waits[dt.date(2024, 6, 30)] > 31).mean())


def test_the_population_grows_with_the_window(
    shop: tuple[duckdb.DuckDBPyConnection, pd.DataFrame],
) -> None:
    db, orders = shop
    result = db.execute(Outcomes(QUESTION, AS_OFS, LAST).by_window((30, 90, "all"))).df()
    assert result["entities"].tolist() == [
        len(by_hand(orders, AS_OFS[-1], w)) for w in (30, 90, 999)
    ]


@pytest.mark.parametrize("kind", [INACTIVITY, EVENT])
def test_who_is_counted_is_who_training_asks_also_late_rows_and_those_who_were_never_active(
    kind: str,
) -> None:
    rng = np.random.default_rng(7)
    days = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "day": rng.integers(0, 366, 400)})
    days["day"] = pd.Timestamp(FIRST) + pd.to_timedelta(days["day"], "D")
    days["known_on"] = days["day"] + pd.to_timedelta(rng.integers(0, 40, 400), "D")
    db = opened(days)
    ended, users = days.sample(80, random_state=1), pd.DataFrame({"customer_id": range(120)})
    for name, rows in (("ends", ended), ("users", users.assign(day=FIRST, known_on=FIRST))):
        db.register("_more", rows)
        db.execute(
            f"create table bronze.{name} as select customer_id, day::date as day, "
            "known_on::date as known_on, known_on::date as _partition from _more"
        )
    features = replace(
        FEATURES, attributes=(AttributeTable("users", "bronze.users", "customer_id"),)
    )
    ends = (
        EventSource("end", "bronze.ends", "customer_id", "cancellation") if kind == EVENT else None
    )
    question = Question("q", kind, features, ORDERS, Horizon(60, gap_days=5), ALL, ends)
    result = db.execute(Outcomes(question, AS_OFS, LAST).by_as_of(ALL)).df()
    for as_of, row in zip(AS_OFS, result.itertuples(), strict=True):
        trained = labelled(question, f"({features_at(features, as_of)})", as_of, LAST)
        [(settings, churned)] = db.execute(
            f"select count(*), count(*) filter (label) from ({trained})"
        ).fetchall()
        assert (row.entities, row.churned) == (settings, churned)
        assert 0 < churned < settings
    if kind == EVENT:
        assert result["entities"].max() > 60, "those who were never active are asked too"


def test_after_30_days_those_who_come_once_a_year_and_never_leave_are_no_leavers() -> None:
    days = pd.date_range("2022-01-01", "2024-12-31", freq="D")
    yearly = [(who, day) for who in range(0, 365, 5) for day in days[who::365]]
    outcomes = Outcomes(QUESTION, AS_OFS, LAST)
    with closing(opened(pd.DataFrame(yearly, columns=["customer_id", "day"]))) as db:
        tried = db.execute(outcomes.by_horizon("all", tuple(map(Horizon, (30, 60, 90))))).df()
    assert (tried["came_back"] > 0.2).all()
    assert recommended(tried) is None


def test_the_shortest_horizon_after_which_few_come_back_is_advised() -> None:
    tried = pd.DataFrame({
        "horizon_days": [30, 60, 90], "base_rate": [0.9, 0.5, 0.4], "came_back": [0.4, 0.15, 0.05]
    })  # fmt: skip
    assert recommended(tried) == 60
    assert recommended(tried.assign(came_back=0.5)) is None
    months = tried.rename(columns={"horizon_days": "horizon_months"}).assign(
        horizon_months=[1, 2, 3]
    )
    assert recommended(months, "months") == 2
