"""What a block of YAML of a feature table comes to in SQL."""

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from churn_orchestration.churn.declared_text import declared_text
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.components.features.feature_specs import CadenceSpec
from churn_orchestration.components.features.feature_table import FeatureTable

BANDS = ("night", "morning", "afternoon", "evening")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("first", ["2024-03-09", "2024-03-30", "2024-10-26", "2024-11-02"])
def test_bands_of_the_day_are_of_the_local_clock_through_changes_of_daylight_saving(
    zone: str, first: str
) -> None:
    flags = CadenceSpec(time="ordered_at", windows=[7]).flags(zone)
    begin = dt.datetime.fromisoformat(first)
    moments = [begin + dt.timedelta(minutes=30 * n) for n in range(3 * 48)]  # UTC
    listed = ", ".join(f"(timestamp '{moment}')" for moment in moments)
    bands = ", ".join(f"({flags[band]})" for band in BANDS)
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        result = db.execute(f"select {bands} from (values {listed}) as t(ordered_at)").fetchall()
    local = [moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone)) for moment in moments]
    assert result == [tuple(at.hour // 6 == n for n in range(4)) for at in local]


def table(given: dict[str, Any] | None = None, **source: Any) -> FeatureTable:
    """A feature table over orders, with more fields of the table and of its source."""
    orders = {
        "name": "orders",
        "table": "silver.orders",
        "noun": "order",
        "measures": [{"name": "amount", "column": "amount_usd"}],
    }
    both = {"name": "customers", "entity": "customer_id", "windows": [30], "trends": []}
    return FeatureTable(**both | {"sources": [orders | source]} | (given or {}))


def names(declared: FeatureTable) -> list[str]:
    return [feature.name for feature in catalogue(declared.declared())]


def test_flags_and_shares_of_the_cadence_are_counted_where_flag_counts_names_them() -> None:
    made = table(
        flags={"big": "amount_usd > 9", "small": "amount_usd < 1"},
        cadence={"windows": [30]},
        flag_counts=["big", "weekend"],
        categories=[{"name": "channel", "column": "channel", "values": ["web"], "counts": True}],
    )
    counted = [name for name in names(made) if "_count_" in name]
    assert counted == [
        "orders_count_30d", "orders_channel_web_count_30d", "orders_big_count_30d",
        "orders_weekend_count_30d", "orders_count_all", "orders_channel_web_count_all",
        "orders_big_count_all",
    ]  # fmt: skip


def test_the_life_so_far_is_declared_on_the_source() -> None:
    plain, both = names(table()), names(table(recency_ratio=True, active_days_per_month=True))
    more = ["orders_recency_ratio_all", "orders_active_days_per_month_all"]
    assert both == [*plain, *more]
    assert names(table(recency_ratio=True)) == [*plain, *more[:1]]


def test_who_answers_is_declared_on_the_measure() -> None:
    score = {"name": "score", "column": "score"}
    plain, both = (table(measures=[score | more]) for more in ({}, {"answered": True}))
    assert [name for name in names(both) if name not in names(plain)] == [
        f"orders_score_answered_{words}_{suffix}"
        for suffix in ("30d", "all")
        for words in ("count", "share")
    ]
    assert "answered" not in declared_text(plain.declared())
    assert "answered=True" in declared_text(both.declared())


def test_changes_are_declared_on_the_measure() -> None:
    amount = {"name": "amount", "column": "amount_usd"}
    plain, both = (table(measures=[amount | more]) for more in ({}, {"change": "sum"}))
    assert [name for name in names(both) if name not in names(plain)] == [
        "orders_amount_change_last_all",
        *(
            f"orders_amount_change_{how}_{suffix}"
            for suffix in ("30d", "all")
            for how in ("min", "max")
        ),
    ]
    assert "change" not in declared_text(plain.declared())
    assert "change='sum'" in declared_text(both.declared())
    with pytest.raises(ValueError, match="Input should be 'sum' or 'mean'"):
        table(measures=[amount | {"change": True}])


def test_what_is_bought_again_is_declared_on_the_category() -> None:
    product = {"name": "product", "column": "product_id"}
    plain, both = (table(categories=[product | more]) for more in ({}, {"repeated": True}))
    assert [name for name in names(both) if name not in names(plain)] == [
        "orders_product_repeated_share_30d", "orders_product_repeated_share_all",
    ]  # fmt: skip
    assert "repeated" not in declared_text(plain.declared())
    assert "repeated=True" in declared_text(both.declared())


def test_a_measure_that_is_called_as_a_change_is_refused() -> None:
    measures = [
        {"name": "amount", "column": "amount_usd", "change": "mean"},
        {"name": "amount_change", "column": "change_usd"},
    ]
    with pytest.raises(ValueError, match="two features are called orders_amount_change_max_30d"):
        table(measures=measures)


def test_what_is_not_counted_is_declared_as_it_was_before_there_were_counts() -> None:
    flags = {"flags": {"big": "amount_usd > 9"}, "categories": [{"name": "a", "column": "a"}]}
    assert "counts" not in declared_text(table(**flags).declared())
    assert "counts=True" in declared_text(table(**flags, flag_counts=["big"]).declared())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"flags": {"big": "amount_usd > 9"}, "flag_counts": ["huge"]},
            'customers: orders: flag_counts names "huge", which is no flag of it (big): declare it '
            "under `flags`, or take it out",
        ),
        (
            {"categories": [{"name": "channel", "column": "channel", "counts": True}]},
            "category channel: `counts` needs `values`, of which each is a feature",
        ),
        (
            {"categories": [{"name": "channel", "column": "channel", "mostly": True}]},
            "category channel: `mostly` needs `values`, of which each is a feature",
        ),
        (
            {
                "categories": [
                    {"name": "x", "column": "x", "values": ["a"], "closed": True, "repeated": True}
                ]
            },
            "category x: `repeated` counts the days of each value, and `closed` keeps none by "
            "itself: take `closed` out",
        ),
        (
            {
                "categories": [
                    {"name": "x", "column": "x", "values": ["a"], "counts": True},
                    {"name": "x_a", "column": "y"},
                ],
                "flags": {"x_a": "amount_usd > 9"},
                "flag_counts": ["x_a"],
            },
            "customers: two features are called orders_x_a_count_30d (of orders): give what one of "
            "them is made of another name",
        ),
    ],
)
def test_counts_of_what_is_not_there_or_twice_are_refused(
    source: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        table(**source)


def test_the_days_on_which_a_column_is_recorded_are_declared_with_it() -> None:
    amount = {"name": "amount", "column": "amount_usd", "available_from": "2024-03-01"}
    channel = {"name": "channel", "column": "channel", "retired_on": "2024-05-01"}
    [source] = table(measures=[amount], categories=[channel]).declared().sources
    first, end = source.measures[0].available_from, source.categories[0].retired_on
    assert (first, end) == (dt.date(2024, 3, 1), dt.date(2024, 5, 1))
    assert (source.measures[0].retired_on, source.categories[0].available_from) == (None, None)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (
            {"available_from": "March 2024"},
            'measure amount: available_from "March 2024" is no day: write it as 2024-03-31',
        ),
        (
            {"retired_on": "2024-02-30"},
            'measure amount: retired_on "2024-02-30" is no day: write it as 2024-03-31',
        ),
        (
            {"available_from": "2024-03-01", "retired_on": "2024-03-01"},
            "measure amount: retired_on 2024-03-01 is not after available_from 2024-03-01: no day "
            "would be left",
        ),
    ],
)
def test_days_of_recording_that_are_none_are_refused(days: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        table(measures=[{"name": "amount", "column": "amount_usd"} | days])


@pytest.mark.parametrize(
    ("kinds", "made"),
    [
        (None, ["vs_cohort"]),
        (["z", "difference", "z"], ["cohort_z", "minus_cohort"]),
        (["ratio", "difference"], ["vs_cohort", "minus_cohort"]),
    ],
)
def test_a_cohort_is_compared_in_the_kinds_that_are_named(
    kinds: list[str] | None, made: list[str]
) -> None:
    cohort = {"source": "orders", "features": ["orders_count_30d"]}
    declared = table({"cohort": cohort | ({"kinds": kinds} if kinds else {})})
    assert names(declared)[-len(made) :] == [f"orders_count_30d_{kind}" for kind in made]
    assert ("kinds" in declared_text(declared.declared())) == bool(kinds)


def test_a_kind_of_comparison_that_there_is_not_is_refused() -> None:
    cohort = {"source": "orders", "features": ["orders_count_30d"], "kinds": ["rank"]}
    with pytest.raises(ValueError, match="Input should be 'ratio', 'difference' or 'z'"):
        table({"cohort": cohort})


RETURNS = {
    "name": "returns", "table": "silver.returns", "noun": "return",
    "measures": [{"name": "refund", "column": "refund_usd"}],
}  # fmt: skip


def of_ratio(top: str, bottom: str, **more: Any) -> FeatureTable:
    """A table over orders and returns with one ratio of features."""
    sources = [*table().model_dump()["sources"], RETURNS]
    ratio = {"name": "refunds_over_spend", "top": top, "bottom": bottom}
    return table({"sources": sources, "ratios": [ratio], "windows": [7, 30]} | more)


@pytest.mark.parametrize(
    ("top", "bottom", "made"),
    [
        ("returns_refund_sum", "orders_amount_sum", {"_7d", "_30d", "_all"}),
        ("returns_refund_sum_7d", "orders_amount_sum", {"_7d", "_30d", "_all"}),
        ("returns_refund_sum_7d", "orders_amount_sum_all", {""}),
        ("returns_days_since_last", "orders_gap_days_mean", {"_all"}),
        ("returns_count_trend_7d", "orders_count", {"_7d", "_30d", "_all"}),
        ("returns_count_trend", "orders_count", {"_7d"}),
    ],
)
def test_a_ratio_is_made_in_every_window_that_both_features_have(
    top: str, bottom: str, made: set[str]
) -> None:
    result = names(of_ratio(top, bottom, trends=[7]))
    assert {name for name in result if name.startswith("refunds_over_spend")} == {
        f"refunds_over_spend{suffix}" for suffix in made
    }


@pytest.mark.parametrize(
    ("top", "bottom", "message"),
    [
        (
            "returns_refunds_sum",
            "orders_amount_sum",
            'customers: ratio refunds_over_spend names "returns_refunds_sum", which is no feature '
            "of a source or of attributes (near: returns_refund_sum, ",
        ),
        (
            "returns_refund_sum",
            "orders_amount_sum_8d",
            'names "orders_amount_sum_8d", which is no feature of a source or of attributes',
        ),
        (
            "returns_refund_sum",
            "refunds_over_spend",
            'names "refunds_over_spend", which is no feature of a source or of attributes',
        ),
        (
            "returns_refund_sum",
            "returns_refund_sum",
            "customers: ratio refunds_over_spend divides returns_refund_sum by itself: name "
            "another `bottom`",
        ),
        (
            "returns_count_trend",
            "orders_gap_days_mean",
            "customers: ratio refunds_over_spend: returns_count_trend and orders_gap_days_mean "
            "have no window in common: name one of them with its window",
        ),
    ],
)
def test_a_ratio_of_what_is_no_feature_is_refused(top: str, bottom: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        of_ratio(top, bottom, trends=[7])


def test_a_ratio_that_is_called_as_another_feature_is_refused() -> None:
    ratio = {"name": "orders_count", "top": "orders_amount_sum", "bottom": "orders_count"}
    with pytest.raises(ValueError, match="two features are called orders_count_30d"):
        table({"ratios": [ratio]})


def test_an_attribute_has_no_events_to_count() -> None:
    price = {"name": "price", "column": "price_usd"}
    for field, given in (("answered", True), ("change", "sum")):
        plan = {"name": "plan", "table": "silver.plans", "measures": [price | {field: given}]}
        with pytest.raises(ValueError, match=f"plan: measure price: `{field}` is of events"):
            table({"attributes": [plan]})
    segment = {"name": "segment", "column": "segment", "values": ["vip"]}
    for field in ("counts", "mostly", "repeated"):
        plan = {"name": "plan", "table": "silver.plans", "categories": [segment | {field: True}]}
        with pytest.raises(ValueError, match=f"plan: category segment: `{field}` is of events"):
            table({"attributes": [plan]})
