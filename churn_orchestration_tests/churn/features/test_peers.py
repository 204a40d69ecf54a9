"""Features among peers: relative to the cohort, and in quintiles of an earlier day."""

import datetime as dt

import duckdb

from churn_orchestration.churn.features.declared import (
    Cohort,
    EventSource,
    FeatureSet,
    Measure,
    Rfm,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts

AS_OF = dt.date(2024, 6, 15)
ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", (), (Measure("amount", "amount_usd"),)
)
COHORT = FeatureSet(
    "customer_id", (ORDERS,), (30,), (), cohort=Cohort("orders", ("orders_count_30d",))
)
RFM = FeatureSet("customer_id", (ORDERS,), (30,), (), rfm=Rfm("orders", "amount", 30))


def features(declared: FeatureSet, orders: list[tuple[str, dt.date, int]]) -> dict[str, dict]:
    """The feature rows by customer; an order is customer, day and amount."""
    with duckdb.connect() as db:
        db.execute("""create schema silver; create table silver.orders (customer_id varchar,
            day date,
            known_on date, _partition date, amount_usd decimal(18, 4))""")
        db.executemany(
            "insert into silver.orders values (?, ?, ?, ?, ?)",
            [[w, d, d, d, a] for w, d, a in orders],
        )
        make_parts(db, declared)
        frame = db.execute(features_at(declared, AS_OF)).df()
    return frame.set_index("customer_id").to_dict("index")


def test_a_cohort_are_those_who_began_in_the_same_month() -> None:
    june, may = dt.date(2024, 6, 1), dt.date(2024, 5, 31)
    result = features(COHORT, [("ann", june, 1), *[("bob", june, 1)] * 3, ("cem", may, 1)])
    assert {who: row["orders_count_30d_vs_cohort"] for who, row in result.items()} == {
        "ann": 0.5, "bob": 1.5, "cem": 1.0,
    }  # fmt: skip


def test_quintiles_are_those_of_the_end_of_the_month_before() -> None:
    then = [
        (f"c{n}", dt.date(2024, 5, 10 + n), n) for n in range(10)
    ]  # amounts 0 to 9 by the end of May
    result = features(RFM, [*then, ("new", AS_OF, 1000), ("low", AS_OF, -5)])
    assert result["new"]["orders_monetary_quintile"] == 5  # above all of May
    assert result["low"]["orders_monetary_quintile"] == 1
    assert (
        result["new"]["orders_recency_quintile"] == 5
    )  # more recent than anybody at the end of May
    assert result["c9"]["orders_rfm_score"] == sum(
        result["c9"][f"orders_{word}_quintile"] for word in ("recency", "frequency", "monetary")
    )


def test_what_comes_after_the_fit_moves_no_edge() -> None:
    then = [(f"c{n}", dt.date(2024, 5, 10 + n), n) for n in range(10)]
    more = [(f"c{n}", dt.date(2024, 6, 10), 10_000) for n in range(9)]
    before, after = features(RFM, then), features(RFM, [*then, *more])
    assert before["c9"]["orders_monetary_quintile"] == after["c9"]["orders_monetary_quintile"]
