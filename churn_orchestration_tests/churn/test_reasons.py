import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.learning.reasons import AGAINST, factors, reasons

CATALOGUE = pd.DataFrame(
    [
        (
            "orders_days_since_last",
            "orders",
            "recency",
            "",
            "last order {value:.0f} days ago",
            "no order yet",
        ),
        (
            "orders_gap_days_mean_all",
            "orders",
            "rhythm",
            "all",
            "usually orders every {value:.0f} days",
            "one",
        ),
        ("orders_count_30d", "orders", "frequency", "30d", "{value:.0f} orders in 30 days", None),
        ("orders_trend_30d", "orders", "trend", "30d", "{many} orders than before", "no orders"),
        (
            "orders_amount_mean_90d",
            "orders",
            "size",
            "90d",
            "{value:.2f} usd an order",
            "no orders with amount",
        ),
        ("orders_amount_sum_90d", "orders", "value", "90d", "{value:.2f} usd in 90 days", None),
        (
            "customers_months",
            "customers",
            "customers_months",
            "",
            "{value:.0f} months of contract",
            "none",
        ),
    ],
    columns=["feature", "source", "family", "window", "phrase", "null_phrase"],
).set_index("feature")
# One row of usual values: those of the typical customer, where not said otherwise.
TYPICAL = dict(zip(CATALOGUE.index, [20.0, 15.0, 2.0, 0.0, 9.5, 19.0, 6.0], strict=True))


def said(pushes: dict[str, float], top: int = 3, **values: float | None) -> list[str]:
    """The reasons of a customer who differs in ``values`` from two typical ones."""
    rows = pd.DataFrame([TYPICAL | values, TYPICAL, TYPICAL], dtype=float)
    pushed = pd.DataFrame([pushes, {}, {}], columns=CATALOGUE.index).fillna(0.0)
    return reasons(pushed, rows, CATALOGUE, top)[0]


def test_the_strongest_topics_are_named_once_each_with_value_and_direction() -> None:
    pushes = {"orders_count_30d": -0.6, "orders_amount_mean_90d": 0.3, "customers_months": 0.1}
    spoken = ["↓ 3 orders in 30 days", "↑ 9.50 usd an order", "↑ 6 months of contract"]
    assert (
        said(pushes | {"orders_trend_30d": 0.1}, orders_count_30d=3, orders_days_since_last=29)
        == spoken
    )
    assert said(pushes, orders_count_30d=3, orders_days_since_last=29, top=1) == spoken[:1]


def test_silence_is_worded_by_the_usual_rhythm() -> None:
    pushes = {"orders_days_since_last": 0.5}
    assert said(pushes, orders_days_since_last=125, orders_gap_days_mean_all=4) == [
        "↑ usually orders every 4 days, none for 125 days"
    ]
    assert said(pushes, orders_days_since_last=21) == [
        "↑ usually orders every 15 days, last order 21 days ago"
    ]
    assert said(pushes, orders_days_since_last=44, orders_gap_days_mean_all=None) == [
        "↑ last order 44 days ago, and on no other day"
    ]
    assert said(pushes, orders_days_since_last=None, orders_gap_days_mean_all=None) == [
        "↑ no order yet"
    ]


def test_what_is_null_because_nothing_happened_is_silence_and_said_once() -> None:
    gone = {
        "orders_days_since_last": 100.0,
        "orders_count_30d": 0.0,
        "orders_trend_30d": None,
        "orders_amount_mean_90d": None,
        "orders_amount_sum_90d": 0.0,
    }
    pushes = dict.fromkeys(gone, 0.2) | {"customers_months": -0.9}
    assert said(pushes, **gone) == [
        "↑ usually orders every 15 days, none for 100 days",  # five times 0.2
        "↓ 6 months of contract",
    ]


def test_a_topic_counts_by_the_sum_of_its_features() -> None:
    split = {"orders_amount_mean_90d": 0.9, "orders_amount_sum_90d": -0.8, "customers_months": 0.5}
    assert said(split, top=1) == ["↑ 6 months of contract"]
    assert said({"orders_amount_mean_90d": 0.5, "orders_amount_sum_90d": -0.5}) == []


def test_a_sign_against_common_sense_is_spoken_by_a_feature_that_agrees_or_says_why() -> None:
    lively = {"orders_days_since_last": 1.0, "orders_gap_days_mean_all": 3.0}
    fewer = {"orders_days_since_last": 0.3, "orders_trend_30d": 0.2}
    assert said(fewer, **lively, orders_trend_30d=-0.5) == ["↑ fewer orders than before"]
    assert said({"orders_days_since_last": 0.3}, **lively) == [
        f"↑ usually orders every 3 days, last order 1 day ago{AGAINST}"
    ]
    rich = {"orders_amount_sum_90d": 900.0}
    assert said({"orders_amount_sum_90d": 0.4}, **rich) == [f"↑ 900.00 usd in 90 days{AGAINST}"]
    assert said({"orders_amount_sum_90d": -0.4}, **rich) == ["↓ 900.00 usd in 90 days"]


def test_what_raises_a_risk_and_what_lowers_it_are_all_its_reasons_parted_by_direction() -> None:
    rng, rows = np.random.default_rng(7), 60
    pushes = pd.DataFrame(rng.normal(size=(rows, len(CATALOGUE))), columns=CATALOGUE.index)
    values = pd.DataFrame(rng.gamma(2, 5, (rows, len(CATALOGUE))), columns=CATALOGUE.index)
    risk, protective = factors(pushes, values, CATALOGUE, top=2)
    for row, everything in enumerate(reasons(pushes, values, CATALOGUE, top=99)):
        raising = [reason[2:] for reason in everything if reason.startswith("↑ ")]
        lowering = [reason[2:] for reason in everything if reason.startswith("↓ ")]
        assert (risk[row], protective[row]) == (raising[:2], lowering[:2])


def test_of_conditions_the_one_that_holds_is_named() -> None:
    plans = pd.DataFrame(
        {
            "source": "plan",
            "family": "plan",
            "window": "",
            "phrase": ["monthly", "yearly"],
            "null_phrase": "none",
        },
        index=["plan_is_monthly", "plan_is_yearly"],
    )
    pushes = pd.DataFrame([[-0.9, -0.1]], columns=plans.index)
    assert reasons(pushes, pd.DataFrame([[0.0, 1.0]], columns=plans.index), plans) == [["↓ yearly"]]


@pytest.mark.parametrize(
    ("values", "catalogue", "message"),
    [
        (
            TYPICAL,
            CATALOGUE.drop("customers_months"),
            r"without a catalogue row: \['customers_months'\]",
        ),
        (
            {k: v for k, v in TYPICAL.items() if k != "customers_months"},
            CATALOGUE,
            "without values",
        ),
        (
            TYPICAL | {"orders_count_30d": None},
            CATALOGUE,
            r"no null_phrase for \['orders_count_30d'\]",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    values: dict[str, float], catalogue: pd.DataFrame, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reasons(
            pd.DataFrame(0.1, index=[0], columns=CATALOGUE.index), pd.DataFrame([values]), catalogue
        )


def test_contributions_of_other_rows_than_the_features_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows of contributions, but 0 of features"):
        reasons(
            pd.DataFrame(0.1, index=[0], columns=CATALOGUE.index),
            pd.DataFrame([TYPICAL]).iloc[:0],
            CATALOGUE,
        )
