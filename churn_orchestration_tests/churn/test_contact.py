"""Whom to contact: chosen on some rows, reported on others, never above the capacity or below the
floor.
"""

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.grading.contact import (
    NOBODY,
    choose_and_report_rows,
    contact_summary,
    contacted,
    threshold,
)
from churn_orchestration.churn.question.settings import (
    CAPACITY,
    PRECISION,
    PROFIT,
    RECALL,
    ContactRule,
    Economics,
)


def held_out(customers: int = 2_000, days: int = 2) -> pd.DataFrame:
    """Calibrated forecasts of the same customers on some days."""
    rng = np.random.default_rng(3)
    rows = customers * days
    model = rng.beta(1.2, 3, rows)
    return pd.DataFrame(
        {
            "id": np.tile(np.arange(customers), days),
            "as_of": np.repeat(pd.date_range("2024-01-01", periods=days, freq="MS"), customers),
            "label": rng.random(rows) < model,
            "model": model,
        }
    )


def test_a_threshold_is_chosen_on_older_days_and_reported_on_the_newest() -> None:
    rows = held_out(days=3)
    result = contact_summary(ContactRule(RECALL, 0.6), rows, "id", Economics())
    assert (result["chosen_on"], result["reported_on"]) == (
        ["2024-01-01", "2024-02-01"],
        "2024-03-01",
    )
    assert result["rows"] == 2_000
    spoiled = rows.assign(label=rows["label"].where(rows["as_of"] < "2024-03-01", ~rows["label"]))
    again = contact_summary(ContactRule(RECALL, 0.6), spoiled, "id", Economics())
    assert again["threshold"] == result["threshold"], (
        "the day that is reported took part in the choice"
    )
    assert again["recall"]["value"] < result["recall"]["value"]


def test_of_one_day_customers_are_split_and_none_is_in_both_parts() -> None:
    chosen, reported = choose_and_report_rows(held_out(days=1), "id")
    assert not set(chosen["id"]) & set(reported["id"])
    assert len(chosen) + len(reported) == 2_000
    assert 0.3 < len(reported) / 2_000 < 0.5


@pytest.mark.parametrize("floor", [0.3, 0.6, 0.95])
def test_the_fewest_are_contacted_that_reach_the_recall(floor: float) -> None:
    rows = held_out()
    least = threshold(ContactRule(RECALL, floor), rows, Economics())
    churners = rows.loc[rows["label"], "model"]
    assert (churners >= least).mean() >= floor > (churners > least).mean()


@pytest.mark.parametrize("floor", [0.35, 0.5, 0.7])
def test_the_most_are_contacted_that_keep_the_precision(floor: float) -> None:
    rows = held_out()
    least = threshold(ContactRule(PRECISION, floor), rows, Economics())
    assert rows.loc[rows["model"] >= least, "label"].mean() >= floor
    wider = sorted(rows["model"][rows["model"] < least], reverse=True)
    assert not any(rows.loc[rows["model"] >= value, "label"].mean() >= floor for value in wider)


def test_where_no_threshold_keeps_the_precision_nobody_is_contacted() -> None:
    rows = held_out().assign(label=lambda rows: rows["model"] < 0.05)
    result = contact_summary(
        ContactRule(PRECISION, 0.99), rows.assign(model=1 - rows["model"] * 0), "id", Economics()
    )
    assert result["threshold"] == NOBODY
    assert result["contacted"]["value"] == 0
    assert "precision" not in result


def test_profit_contacts_whom_the_probability_says_to_pay_and_no_other_cut_earns_more() -> None:
    rows, economics = held_out(100_000, 1), Economics(offer_cost=0.1, contact_cost=0.02)
    least = threshold(ContactRule(PROFIT), rows, economics)
    assert least == economics.cut

    def earned(cut: float) -> float:
        label = rows.loc[rows["model"] >= cut, "label"]
        return economics.earned(label.sum(), (~label).sum()) / len(rows)

    assert all(earned(cut) <= earned(least) + 0.001 for cut in np.linspace(0, 1, 41))


def test_the_capacity_goes_to_those_with_the_most_at_stake_of_all_whose_contact_pays() -> None:
    scored = pd.DataFrame(
        {
            "model": [0.9, 0.5, 0.5, 0.1, 0.6],  # a contact pays from 0.1642 on
            "recent_value": [10, 100, 100, 9_000, None],  # at stake: 9, 50, 50, 900 and unknown
        }
    )

    def chosen(rule: ContactRule, rows: pd.DataFrame = scored) -> list[int]:
        return np.flatnonzero(contacted(rule, rows, None, Economics())).tolist()

    assert chosen(ContactRule(CAPACITY, most=1)) == [1], "of equals the first"
    assert chosen(ContactRule(CAPACITY, most=3)) == [0, 1, 2]
    assert chosen(ContactRule(CAPACITY, most=9)) == [0, 1, 2, 4], "the fourth does not pay"
    assert chosen(ContactRule()) == [1], "a tenth of five, rounded up"
    assert chosen(ContactRule(share=0.4), scored.drop(columns="recent_value")) == [0, 4], (
        "the riskiest"
    )


def test_what_is_told_is_what_counting_says() -> None:
    rows, economics = held_out(), Economics()
    result = contact_summary(ContactRule(PROFIT), rows, "id", economics)
    newest = rows[rows["as_of"] == "2024-02-01"]
    chosen = newest[newest["model"] >= economics.cut]
    assert result["precision"]["value"] == pytest.approx(chosen["label"].mean())
    assert result["recall"]["value"] == pytest.approx(chosen["label"].sum() / newest["label"].sum())
    assert result["contacted"]["value"] == pytest.approx(len(chosen) / len(newest))
    expected = economics.earned(chosen["label"].sum(), (~chosen["label"]).sum()) / len(newest)
    assert result["profit"]["value"] == pytest.approx(expected)
    for name in ("precision", "recall", "contacted", "profit"):
        assert result[name]["low"] < result[name]["value"] < result[name]["high"]
