"""Attributes as features: what was known last by the day, and nothing later."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import pytest

from churn_orchestration.churn.features.catalogue import catalogue, worded
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Date,
    EventSource,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.learning.reasons import reasons
from churn_orchestration_tests.support.daily_parts import make_parts

PLANS = AttributeTable(
    "plans", "silver.plans", "customer_id",
    measures=(Measure("monthly_fee", "fee_usd", "usd", 2),),
    categories=(Category("contract", "contract", ("Month-to-month", "Two {year}")),),
    flags=(Flag("auto_pay", "pays = 'auto'"),),
)  # fmt: skip
ATTRIBUTES = FeatureSet("customer_id", (), attributes=(PLANS,))
ORDERS = EventSource("orders", "silver.orders", "customer_id", "order")


def jan(day: int) -> dt.date:
    return dt.date(2023, 12, 31) + dt.timedelta(days=day)


def plan(who: str | None, day: int, known: int | None = None, **more: Any) -> tuple[Any, ...]:
    """What a landing says of a customer; known on its day, and landed then, unless said
    otherwise.
    """
    known_on = jan(day if known is None else known)
    landed = jan(more["landed"]) if "landed" in more else known_on
    return (
        who,
        jan(day),
        known_on,
        landed,
        more.get("fee"),
        more.get("contract"),
        more.get("pays"),
    )


def rows_at(
    day: int,
    plans: list[tuple[Any, ...]],
    orders: tuple[str, ...] = (),
    declared: FeatureSet = ATTRIBUTES,
) -> dict[str, dict[str, Any]]:
    """The feature rows of a day of January by customer; ``orders`` are of customers on 1
    January.
    """
    with duckdb.connect() as db:
        db.execute("""create schema silver;
            create table silver.plans (customer_id varchar, day date, known_on date,
              _partition date,
              fee_usd decimal(18, 4), contract varchar, pays varchar);
            create table silver.orders (customer_id varchar, day date, known_on date,
              _partition date)""")
        for row in plans:
            db.execute("insert into silver.plans values (?, ?, ?, ?, ?, ?, ?)", list(row))
        for who in orders:
            db.execute(
                "insert into silver.orders values (?, ?, ?, ?)", [who, jan(1), jan(1), jan(1)]
            )
        make_parts(db, declared)
        frame = db.execute(features_at(declared, jan(day))).df()
    result = frame.astype(object).where(frame.notna(), None).set_index("customer_id")
    return {str(who): row for who, row in result.drop(columns="as_of").to_dict("index").items()}


def fee_at(day: int, *plans: tuple[Any, ...]) -> float | None:
    return rows_at(day, list(plans))["ann"]["plans_monthly_fee"]


def test_measures_categories_and_flags_are_numbers_of_the_entity() -> None:
    result = rows_at(5, [plan("ann", 5, fee=Decimal("70.35"), contract="Two {year}", pays="auto")])
    assert result == {
        "ann": {
            "plans_monthly_fee": 70.35,
            "plans_contract_is_month_to_month": 0,
            "plans_contract_is_two__year_": 1,
            "plans_auto_pay": 1,
        }
    }


def test_what_is_not_given_is_null_and_not_zero() -> None:
    assert set(rows_at(5, [plan("ann", 5)])["ann"].values()) == {None}


def test_a_category_that_nobody_declared_is_none_of_the_declared() -> None:
    result = rows_at(5, [plan("ann", 5, contract="Weekly")])["ann"]
    assert (result["plans_contract_is_month_to_month"], result["plans_contract_is_two__year_"]) == (
        0,
        0,
    )


@pytest.mark.parametrize(("day", "fee"), [(4, 1), (5, 2), (8, 2), (9, 3), (12, 3)])
def test_the_row_known_last_by_the_day_counts(day: int, fee: int) -> None:
    plans = [plan("ann", 1, fee=1), plan("ann", 5, fee=2), plan("ann", 3, known=9, fee=3)]
    assert fee_at(day, *plans) == fee


def test_a_row_of_a_later_day_is_not_seen_even_where_it_is_known() -> None:
    assert fee_at(5, plan("ann", 1, fee=1), plan("ann", 9, known=2, fee=2)) == 1
    assert rows_at(5, [plan("ann", 9, known=2, fee=2)]) == {}


def test_a_null_that_is_known_later_takes_the_value_back() -> None:
    assert fee_at(5, plan("ann", 1, fee=1), plan("ann", 2)) is None


def test_of_rows_known_on_the_same_day_the_one_of_the_latest_day_counts() -> None:
    assert fee_at(9, plan("ann", 3, known=9, fee=3), plan("ann", 2, known=9, fee=2)) == 3


def test_the_order_of_storage_decides_no_tie() -> None:
    tied = [plan("ann", 5, fee=fee, contract=contract) for fee in (2, 1) for contract in ("b", "a")]
    result = [rows_at(5, order) for order in (tied, tied[::-1], tied[1:] + tied[:1])]
    assert result[0] == result[1] == result[2]
    assert result[0]["ann"]["plans_monthly_fee"] == 1


@pytest.mark.parametrize(("day", "fee", "auto"), [(1, None, None), (8, None, None), (9, 5, 1)])
def test_of_a_row_dated_before_its_landing_what_may_change_is_known_from_the_landing_on(
    day: int, fee: float | None, auto: int | None
) -> None:
    plans = dataclasses.replace(PLANS, fixed=("contract",))
    declared = FeatureSet("customer_id", (), attributes=(plans,))
    row = plan("ann", 1, landed=9, fee=5, contract="Month-to-month", pays="auto")
    assert rows_at(day, [row], declared=declared)["ann"] == {
        "plans_monthly_fee": fee,
        "plans_contract_is_month_to_month": 1,
        "plans_contract_is_two__year_": 0,
        "plans_auto_pay": auto,
    }
    late = [f.name for f in catalogue(declared) if "landing" in f.null_means]
    assert late == ["plans_monthly_fee", "plans_auto_pay"]


def test_a_later_known_attribute_changes_later_as_ofs_only() -> None:
    both = FeatureSet("customer_id", (ORDERS,), (7,), (7,), (PLANS,))
    before, late = [plan("ann", 1, fee=1)], plan("ann", 1, known=10, fee=2)
    for day in (1, 5, 9):
        assert rows_at(day, [*before, late], ("ann",), both) == rows_at(day, before, ("ann",), both)
    for day in (10, 20):
        changed, kept = (
            rows_at(day, plans, ("ann",), both)["ann"] for plans in ([*before, late], before)
        )
        assert {name for name in changed if changed[name] != kept[name]} == {"plans_monthly_fee"}


def test_every_entity_of_an_event_or_an_attribute_has_a_row() -> None:
    both = FeatureSet("customer_id", (ORDERS,), (7,), (7,), (PLANS,))
    result = rows_at(5, [plan("ann", 5, fee=1), plan(None, 5, fee=1)], ("bob",), both)
    assert set(result) == {"ann", "bob"}
    assert (result["ann"]["orders_count_7d"], result["ann"]["orders_days_since_last"]) == (0, None)
    assert (result["bob"]["orders_count_7d"], result["bob"]["plans_monthly_fee"]) == (1, None)


def test_the_catalogue_says_of_each_attribute_what_it_is() -> None:
    about = {f.name: (f.formula, f.unit, f.null_means, f.family) for f in catalogue(ATTRIBUTES)}
    assert about == {
        "plans_monthly_fee": ("fee_usd", "usd", "not given", "plans_monthly_fee"),
        "plans_contract_is_month_to_month": (
            "1 if contract = Month-to-month, else 0", "0 or 1", "not given", "plans_contract",
        ),
        "plans_contract_is_two__year_": (
            "1 if contract = Two {year}, else 0", "0 or 1", "not given", "plans_contract",
        ),
        "plans_auto_pay": ("1 if pays = 'auto', else 0", "0 or 1", "not given", "plans_auto_pay"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [
        ("plans_monthly_fee", 70.35, "monthly fee of 70.35 usd"),
        ("plans_monthly_fee", None, "monthly fee: not given"),
        ("plans_contract_is_month_to_month", 1, "contract: Month-to-month"),
        ("plans_contract_is_month_to_month", 0, "contract: not Month-to-month"),
        ("plans_contract_is_two__year_", 1, "contract: Two {year}"),
        ("plans_contract_is_two__year_", 0, "contract: not Two {year}"),
        ("plans_auto_pay", 1, "auto pay: yes"),
        ("plans_auto_pay", 0, "auto pay: no"),
        ("plans_auto_pay", None, "auto pay: not given"),
    ],
)
def test_a_reason_reads_well(feature: str, value: float | None, words: str) -> None:
    catalogued = pd.DataFrame([vars(f) for f in catalogue(ATTRIBUTES)]).set_index("name")
    pushed, values = pd.DataFrame({feature: [0.4]}), pd.DataFrame({feature: [value]}, dtype=float)
    assert reasons(pushed, values, catalogued) == [[f"↑ {words}"]]


def test_a_noun_says_whose_attributes_they_are() -> None:
    company = AttributeTable(
        "c", "silver.c", "id", "company", measures=(Measure("size", "n", decimals=0),)
    )
    [feature] = catalogue(FeatureSet("id", (), attributes=(company,)))
    assert feature.phrase.format(value=40) == "company size of 40"


def test_a_category_is_told_by_its_value_whichever_of_its_features_pushes_more() -> None:
    catalogued = pd.DataFrame([vars(f) for f in catalogue(ATTRIBUTES)]).set_index("name")
    names = ["plans_contract_is_month_to_month", "plans_contract_is_two__year_"]
    pushed = pd.DataFrame([[0.1, 0.6], [-0.1, -0.6], [0.2, 0.1]], columns=names)
    values = pd.DataFrame([[1, 0], [1, 0], [0, 0]], columns=names)
    assert reasons(pushed, values, catalogued) == [
        ["↑ contract: Month-to-month"], ["↓ contract: Month-to-month"],
        ["↑ contract: not Month-to-month"],
    ]  # fmt: skip


def test_a_date_is_the_days_from_it_and_of_a_date_to_come_the_days_to_it_below_zero() -> None:
    dated = AttributeTable(
        "plans", "silver.plans", "customer_id", dates=(Date("signed", "contract"),)
    )
    declared = FeatureSet("customer_id", (), attributes=(dated,))
    plans = [
        plan("ann", 5, contract="2023-11-30"),
        plan("bob", 5, contract="2024-01-08"),
        plan("cem", 5),
    ]
    result = rows_at(6, plans, declared=declared)
    days = {"ann": 37, "bob": -2, "cem": None}
    assert {who: row["plans_days_since_signed"] for who, row in result.items()} == days
    assert rows_at(9, plans, declared=declared)["bob"]["plans_days_since_signed"] == 1

    [feature] = catalogue(declared)
    assert (feature.type, feature.title) == ("bigint", "signed … days ago")
    words = [worded(value, feature.phrase, feature.null_phrase) for value in days.values()]
    assert words == ["signed 37 days ago", "signed in 2 days", "signed: not given"]


def test_of_a_landing_that_came_at_once_a_date_is_known_from_then_on_unless_it_is_fixed() -> None:
    rows = [plan("ann", 1, landed=5, contract="2023-12-31")]
    for fixed, then in (((), None), (("contract",), 2)):
        dates = (Date("signed", "contract"),)
        dated = AttributeTable("plans", "silver.plans", "customer_id", fixed=fixed, dates=dates)
        declared = FeatureSet("customer_id", (), attributes=(dated,))
        since = [
            rows_at(day, rows, declared=declared)["ann"]["plans_days_since_signed"]
            for day in (2, 6)
        ]
        assert since == [then, 6]
