"""Features of columns that are recorded from a day on, or until one."""

import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    FeatureRatio,
    FeatureSet,
    Flag,
    Measure,
    Ratio,
)
from churn_orchestration.churn.features.recorded import read_by
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples

BEGUN, ENDED = dt.date(2024, 5, 1), dt.date(2024, 6, 1)
AMOUNT = Measure("amount", "amount_usd", "usd", 2, slope=True, answered=True)
CHANNEL = Category(
    "channel", "channel", ("web", "store"), True, concentration=True, counts=True, mostly=True
)
PLAIN = FeatureSet(
    "customer_id",
    (
        EventSource(
            "orders", "silver.orders", "customer_id", "order",
            measures=(AMOUNT, Measure("items", "items", "", 0)),
            categories=(CHANNEL, Category("brand", "channel", repeated=True)),
            flags=(Flag("large", "amount_usd > 50"),),
            ratios=(Ratio("price", "amount", "items"),), thirds=True, recency_ratio=True,
        ),
    ),
    windows=(7, 30), trends=(7,), velocity=(5,), momentum=(30,),
    attributes=(
        AttributeTable("plan", "silver.plans", "customer_id", measures=(Measure("fee", "fee"),)),
    ),
    ratios=(FeatureRatio("amount_per_order", "orders_amount_sum", "orders_count"),),
)  # fmt: skip


def limited(declared: FeatureSet, **days: dt.date) -> FeatureSet:
    """The same with days of recording for the amount, the channel and the fee."""
    [source], [plan] = declared.sources, declared.attributes
    amount, items = source.measures
    source = replace(
        source,
        measures=(replace(amount, **days), items),
        categories=tuple(replace(category, **days) for category in source.categories),
    )
    plan = replace(plan, measures=(replace(plan.measures[0], **days),))
    return replace(declared, sources=(source,), attributes=(plan,))


def features(
    declared: FeatureSet, orders: list[tuple[Any, ...]], as_of: dt.date
) -> dict[str, dict[str, Any]]:
    """The feature rows by customer; an order is customer, day, amount, items, channel."""
    with duckdb.connect() as db:
        db.execute("""create schema silver;
            create table silver.orders (customer_id varchar, day date, known_on date,
              _partition date, amount_usd decimal(18, 2), items bigint, channel varchar);
            create table silver.plans as select 'ann' as customer_id, date '2024-01-01' as day,
              day as known_on, day as _partition, 9 as fee""")
        for who, day, *rest in orders:
            db.execute(
                "insert into silver.orders values (?, ?, ?, ?, ?, ?, ?)",
                [who, day, day, day, *rest],
            )
        make_parts(db, declared)
        result = db.execute(features_at(declared, as_of))
        names = [column[0] for column in result.description]
        return {row[0]: dict(zip(names[2:], row[2:], strict=True)) for row in result.fetchall()}


def is_limited(name: str) -> bool:
    """Whether a feature reads the amount, the channel or the fee."""
    return bool(re.match(r"orders_(amount|channel|brand|price)_|amount_per_order_|plan_fee", name))


def days_read(name: str) -> list[int | None]:
    """The days that it reads; None: the life so far."""
    if name == "plan_fee":
        return [1]
    if name.endswith("_all"):
        return [None]
    window = int(re.findall(r"(\d+)d$", name)[0])
    if "momentum" in name:
        return [window, None]
    times = next((n for word, n in TIMES.items() if word in name), 1)
    return [times * window]


TIMES = {"trend": 2, "velocity": 2, "acceleration": 3}

_ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cem"]),
        st.integers(0, 75).map(lambda days: dt.date(2024, 4, 1) + dt.timedelta(days=days)),
        st.one_of(st.none(), st.decimals(-50, 500, places=2)),
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(["web", "store", "app", None]),
    ),
    min_size=1,
    max_size=20,
)
_AS_OFS = st.integers(-3, 50).map(lambda days: BEGUN + dt.timedelta(days=days))


@settings(max_examples=examples(30), deadline=None, derandomize=True)
@given(_ORDERS, _AS_OFS)
def test_a_feature_has_its_value_where_all_it_reads_is_recorded_and_else_is_null(
    orders: list[tuple[Any, ...]], as_of: dt.date
) -> None:
    plain = features(PLAIN, orders, as_of)
    result = features(limited(PLAIN, available_from=BEGUN, retired_on=ENDED), orders, as_of)
    assert list(result) == list(plain)
    for who, row in plain.items():
        assert list(result[who]) == list(row)
        first = min((day for name, day, *_ in orders if name == who), default=as_of)
        begins = {
            None: min(first, as_of),
            **{n: as_of - dt.timedelta(days=n - 1) for n in range(1, 40)},
        }
        for name, value in row.items():
            recorded = as_of < ENDED and all(begins[days] >= BEGUN for days in days_read(name)) if (
                is_limited(name)
            ) else True  # fmt: skip
            assert result[who][name] == (value if recorded else None), (who, name, first)


def test_a_window_lies_wholly_within_the_days_of_the_column() -> None:
    orders = [("ann", BEGUN + dt.timedelta(days=n), Decimal(5), 1, "web") for n in range(-1, 40)]
    declared = limited(PLAIN, available_from=BEGUN, retired_on=ENDED)
    seen = {
        as_of: features(declared, orders, as_of)["ann"]["orders_amount_sum_7d"]
        for as_of in (dt.date(2024, 5, 6), dt.date(2024, 5, 7), dt.date(2024, 5, 31), ENDED)
    }
    assert list(seen.values()) == [None, 35.0, 35.0, None]


def test_the_catalogue_says_when_it_is_not_recorded_and_null_never_is_0() -> None:
    declared = limited(PLAIN, available_from=BEGUN, retired_on=ENDED)
    said = {feature.name: feature for feature in catalogue(declared)}
    amount, plain = said["orders_amount_sum_7d"], {f.name: f for f in catalogue(PLAIN)}
    assert amount.null_means == "as_of lies before 2024-05-07, or as_of is 2024-06-01 or later"
    assert (amount.null_phrase, amount.recorded_from) == (
        "amount not recorded", dt.date(2024, 5, 7),
    )  # fmt: skip
    assert said["orders_channel_web_count_all"].null_means == (
        "as_of or the first order lies before 2024-05-01, or as_of is 2024-06-01 or later"
    )
    assert said["plan_fee"].null_means == (
        "not given, or as_of lies before 2024-05-01, or as_of is 2024-06-01 or later"
    )
    assert said["orders_amount_mean_7d"].null_phrase == (
        "no orders with amount in the last 7 days, or amount not recorded"
    )
    assert {name for name, f in said.items() if f != plain[name]} == set(filter(is_limited, said))
    assert [f.type for f in said.values()] == [f.type for f in plain.values()]


def test_a_change_is_from_a_day_on_which_the_column_was_recorded() -> None:
    """What the column held before is no value of it."""
    [source] = PLAIN.sources
    source = replace(source, measures=(replace(AMOUNT, change="sum"), *source.measures[1:]))
    declared = limited(replace(PLAIN, sources=(source,)), available_from=BEGUN)
    orders = [
        ("ann", BEGUN + dt.timedelta(days=days), Decimal(amount), 1, "web")
        for days, amount in ((-1, 0), (3, 50), (12, 40), (14, 45))
    ]
    lowest, highest = (f"orders_amount_change_{how}_7d" for how in ("min", "max"))
    seen = {}
    for days in (5, 6, 12, 14):
        row = features(declared, orders, BEGUN + dt.timedelta(days=days))["ann"]
        seen[days] = (row[lowest], row[highest], row["orders_amount_change_last_all"])
    # Ann's life began before the column did, so what is of all of it is null.
    assert seen == {5: (None,) * 3, 6: (None,) * 3, 12: (-10, -10, None), 14: (-10, 5, None)}


@pytest.mark.parametrize("field", ["available_from", "retired_on"])
def test_one_of_the_two_days_is_enough(field: str) -> None:
    orders = [("ann", BEGUN, Decimal(5), 1, "web")]
    declared = limited(PLAIN, **{field: BEGUN})
    before, since = (
        features(declared, orders, BEGUN - dt.timedelta(days=days)).get("ann", {})
        for days in (1, 0)
    )
    values = [row["plan_fee"] for row in (before, since)]
    assert values == ([None, 9] if field == "available_from" else [9, None])


def test_what_is_merged_of_a_column_is_limited_by_its_own_days_whatever_others_are_called():
    amount = replace(AMOUNT, change="sum", available_from=BEGUN)
    product = Category("product", "product", repeated=True)
    source = replace(
        PLAIN.sources[0],
        measures=(amount, Measure("product_again", "again", available_from=ENDED)),
        categories=(product, replace(CHANNEL, name="amount_change", available_from=ENDED)),
        ratios=(),
    )
    part = {name: read_by(source, name) for name in (
        "amount_change_min_7", "amount_change_last_all", "product_again_7", "product_again_sum_7",
        "amount_change_values_7", "amount_sum_7",
    )}  # fmt: skip
    assert [column.name for column in part.values()] == [
        "amount", "amount", "product", "product_again", "amount_change", "amount"
    ]  # fmt: skip
    declared = replace(PLAIN, sources=(source,), ratios=(), attributes=())
    from_day = {feature.name: feature.recorded_from for feature in catalogue(declared)}
    assert from_day["orders_amount_change_min_7d"] == from_day["orders_amount_sum_7d"]
    assert from_day["orders_product_repeated_share_7d"] is None
