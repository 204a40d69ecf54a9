"""Features among peers: relative to the cohort, and in quintiles of an earlier day."""

import dataclasses
import datetime as dt
import math
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.catalogue import catalogue, worded
from churn_orchestration.churn.features.declared import (
    Cohort,
    EventSource,
    FeatureSet,
    Measure,
    Rfm,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples

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


AMOUNT = FeatureSet(
    "customer_id", (ORDERS,), (30,), (),
    cohort=Cohort("orders", ("orders_amount_mean_30d",), ("ratio", "difference", "z")),
)  # fmt: skip
KINDS = ("vs_cohort", "minus_cohort", "cohort_z")


def compared(orders: list[tuple[str, dt.date, int]]) -> dict[str, list[float | None]]:
    """By customer the ratio, the difference and z of the mean amount."""
    return {
        who: [
            None if math.isnan(row[f"orders_amount_mean_30d_{kind}"])
            else row[f"orders_amount_mean_30d_{kind}"]
            for kind in KINDS
        ]
        for who, row in features(AMOUNT, orders).items()
    }  # fmt: skip


def test_a_difference_and_a_z_are_from_the_mean_of_the_cohort() -> None:
    june, may = dt.date(2024, 6, 1), dt.date(2024, 5, 31)
    result = compared(
        [("ann", june, 10), ("bob", june, 20), ("cem", june, 60), ("dot", may, 7), ("eve", may, 7)]
    )
    deviation = math.sqrt((20**2 + 10**2 + 30**2) / 2)  # of 10, 20 and 60; their mean is 30
    assert result["ann"] == [1 / 3, -20, pytest.approx(-20 / deviation, rel=1e-14)]
    assert result["cem"] == [2, 30, pytest.approx(30 / deviation, rel=1e-14)]
    assert result["dot"] == result["eve"] == [1, 0, None]  # the same for the whole cohort


def test_who_is_alone_or_has_no_value_has_no_z() -> None:
    june, april = dt.date(2024, 6, 1), dt.date(2024, 4, 1)
    result = compared([("ann", june, 10), ("bob", april, 10), ("cem", april, 10)])
    assert result == {
        "ann": [1, 0, None],
        "bob": [None, None, None],
        "cem": [None, None, None],
    }


def test_means_that_have_no_end_in_decimals_differ_by_nothing_where_they_are_the_same() -> None:
    june = dt.date(2024, 6, 1)
    thirds = [(who, june, n) for who in ("ann", "bob", "cem") for n in (0, 0, 1)]
    assert {who: row[1:] for who, row in compared(thirds).items()} == {
        "ann": [0, None], "bob": [0, None], "cem": [0, None],
    }  # fmt: skip


_AMOUNTS = st.one_of(st.integers(-3, 3), st.integers(-(10**9), 10**9))
_LIVES = st.lists(
    st.tuples(
        st.sampled_from([f"c{n}" for n in range(7)]),
        st.sampled_from([dt.date(2024, 6, 1), dt.date(2024, 5, 31), dt.date(2024, 4, 2)]),
        _AMOUNTS,
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=examples(30), deadline=None, derandomize=True)
@given(_LIVES)
def test_every_comparison_equals_the_slow_oracle(orders: list[tuple[str, dt.date, int]]) -> None:
    result = compared(orders)
    mates: dict[dt.date, dict[str, Fraction | None]] = {}
    for who in {who for who, *_ in orders}:
        days = [day for name, day, _ in orders if name == who]
        recent = [a for name, day, a in orders if name == who and (AS_OF - day).days < 30]
        mean = round(Fraction(sum(recent), len(recent)), 6) if recent else None
        mates.setdefault(min(days).replace(day=1), {})[who] = mean
    for cohort in mates.values():
        values = [value for value in cohort.values() if value is not None]
        mean = sum(values, Fraction(0)) / len(values) if values else Fraction(0)
        spread = sum((value - mean) ** 2 for value in values)
        for who, value in cohort.items():
            _, difference, z = result[who]
            if value is None:
                assert (difference, z) == (None, None)
                continue
            assert difference == pytest.approx(float(value - mean), rel=1e-12, abs=2e-6)
            assert (z is None) == (spread == 0), (who, cohort)
            if z is not None:
                wanted = float(value - mean) / math.sqrt(spread / (len(values) - 1))
                assert z == pytest.approx(wanted, rel=1e-5, abs=1e-8)


def test_the_catalogue_says_how_a_feature_is_compared_and_the_ratio_is_the_usual_one() -> None:
    kinds = {f.name.removeprefix("orders_amount_mean_30d_"): f for f in catalogue(AMOUNT)}
    z, difference = kinds["cohort_z"], kinds["minus_cohort"]
    assert z.unit == "standard deviations"
    assert z.null_means == "no orders_amount_mean_30d, or the same for the whole cohort"
    assert difference.null_means == "no orders_amount_mean_30d"
    assert worded(-1.26, z.phrase, z.null_phrase) == (
        "orders amount mean 30d -1.3 standard deviations from those who began in the same month"
    )
    usual = dataclasses.replace(AMOUNT, cohort=Cohort("orders", ("orders_amount_mean_30d",)))
    assert [f for f in catalogue(AMOUNT) if f.name in {u.name for u in catalogue(usual)}] == (
        catalogue(usual)
    )


def test_the_order_of_rows_and_the_threads_change_no_bit_of_a_comparison() -> None:
    orders = [
        (f"c{n % 400}", dt.date(2024, 6, 1 + n % 3), (n * 7919) % 10_007) for n in range(2000)
    ]
    first = compared(orders)
    assert compared(orders[::-1]) == first
    assert compared(sorted(orders, key=lambda order: order[2])) == first


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
