"""Alarms of drift that follow from one change in what landed, with the tables written down."""

import pytest

from churn_orchestration.components.question.monitoring.causes import causes
from churn_orchestration.components.question.monitoring.drift import sentences
from churn_orchestration.components.question.monitoring.reference import SCORE
from churn_orchestration.components.tree import questions_of
from churn_orchestration.storage.open_changes import accept
from churn_orchestration_tests.support.shop import JAN, Shop

CAUSE = "bronze.orders 2024-01-08"


@pytest.mark.parametrize(
    ("column", "follows", "does_not"),
    [
        ("amount_usd", "orders_amount_sum_7d", "orders_count_7d"),
        ("rows", "orders_count_7d", "orders_amount_mean_all"),
    ],
)
def test_a_feature_follows_from_a_change_of_its_column_or_of_the_rows_until_that_is_accepted(
    shop: Shop, column: str, follows: str, does_not: str
) -> None:
    [settings] = questions_of(shop.business).values()
    with shop.tables() as tables:
        tables.db.execute(
            "create table bronze.orders (customer_id text, amount_usd decimal(18, 4))"
        )
        tables.days.descends("silver.orders", ["bronze.orders"])
        tables.days.descends("gold.customer_features", ["silver.orders"])
        tables.insert(
            "meta.changes", [["bronze.orders", JAN[8], column, JAN[8], 100.0, "x 100", False]]
        )
        result = causes(tables, settings, JAN[9])
        before = causes(tables, settings, JAN[7])
        accept(tables, "bronze.orders", JAN[8], "right")
        after = causes(tables, settings, JAN[9])
    assert (result[follows], result[SCORE]) == (CAUSE, CAUSE)
    assert does_not not in result
    assert (before, after) == ({}, {})


def test_alarms_with_one_cause_are_one() -> None:
    alarm = {"measure": "psi", "value": 0.5, "usual_up_to": 0.1, "effect": -0.01}
    result = [{"feature": name, "follows": CAUSE, **alarm} for name in ("sum", "mean", "slope")]
    assert sentences([*result, {"feature": "tenure", "follows": None, **alarm}]) == [
        f"3 features follow from the change of {CAUSE}, such as mean, slope and sum: PSI 0.500, "
        "usual up to 0.100; it moves the mean score by -0.01 log odds",
        "tenure: PSI 0.500, usual up to 0.100; it moves the mean score by -0.01 log odds",
    ]
