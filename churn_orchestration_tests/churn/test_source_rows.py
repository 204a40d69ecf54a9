"""Which days of a source a feature reads."""

import datetime as dt

import pytest

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import (
    Cohort,
    EventSource,
    FeatureSet,
    Measure,
)
from churn_orchestration.churn.features.source_rows import source_rows

AS_OF = dt.date(2024, 3, 31)
MEASURES = (Measure("trend", "trend"), Measure("amount", "amount", change="mean"))
ORDERS = EventSource("orders", "silver.orders", "id", "order", measures=MEASURES)
DECLARED = FeatureSet(
    "id", (ORDERS,), windows=(30,), trends=(30,), velocity=(30,), momentum=(30,),
    cohort=Cohort("orders", ("orders_count_all",)),
)  # fmt: skip
WINDOW, TWO, THREE = (AS_OF - dt.timedelta(days=days - 1) for days in (30, 60, 90))


@pytest.mark.parametrize(
    ("feature", "first"),
    [
        ("orders_count_30d", WINDOW),
        ("orders_trend_sum_30d", WINDOW),  # a column that is called trend
        ("orders_trend_sum_trend_30d", TWO),
        ("orders_count_velocity_30d", TWO),
        ("orders_count_acceleration_30d", THREE),
        ("orders_count_momentum_30d", None),
        ("orders_amount_change_min_30d", None),  # from a day that may lie before the window
        ("orders_days_since_last", None),
    ],
)
def test_a_feature_reads_the_windows_that_it_compares(feature, first):
    [about] = (each for each in catalogue(DECLARED) if each.name == feature)
    counted = source_rows(DECLARED, vars(about) | {"feature": feature}, AS_OF)
    assert (counted.table, counted.first) == ("silver.orders", first)
    assert f"day >= date '{first}'" in counted.sql or first is None


def test_what_compares_with_others_is_no_count_of_own_rows():
    [about] = (each for each in catalogue(DECLARED) if each.family == "cohort")
    assert source_rows(DECLARED, vars(about) | {"feature": about.name}, AS_OF) is None
