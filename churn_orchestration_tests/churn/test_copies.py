"""Copies of customers under new ids are counted once, and what only looks alike is left alone."""

import numpy as np
import pandas as pd

from churn_orchestration.churn.capacity import Capacity
from churn_orchestration.churn.grading.evaluation import evaluate
from churn_orchestration.churn.question.copies import copies_message, distinct
from churn_orchestration.churn.recipe import Recipe
from churn_orchestration_tests.support.questions import STATIC

FEATURES = ["spend", "visits", "age"]
TOPICS = {name: name for name in FEATURES}


def noise(customers: int = 160, times: int = 5) -> pd.DataFrame:
    """Customers of whom nothing tells whether they churn, each under so many ids."""
    rng = np.random.default_rng(11)
    once = pd.DataFrame({name: rng.normal(size=customers).round(3) for name in FEATURES})
    once["label"] = rng.random(customers) < 0.4
    day = pd.Timestamp(2024, 1, 1)
    once = once.assign(as_of=day, label_known_on=day, cutoff=day)
    frame = pd.concat([once] * times, ignore_index=True)
    return frame.assign(customer_id=[f"c{number}" for number in range(len(frame))])


def test_copies_under_new_ids_are_graded_on_each_other_unless_each_counts_once() -> None:
    copied, auc = noise(), {}
    recipe = Recipe("xgboost", Capacity(60, 5, leaves=8, rate=0.2))
    for name, frame in (("copied", copied), ("once", distinct(copied, TOPICS, 1))):
        result = evaluate(frame, STATIC, recipe, 3)
        assert result is not None
        auc[name] = result.report["model"]["auc"]
    assert auc["copied"]["low"] > 0.8
    assert auc["once"]["low"] < 0.5


def test_the_first_of_each_set_of_copies_stays_and_another_outcome_or_day_makes_another_row() -> (
    None
):
    copied = noise(times=2)
    assert distinct(copied, TOPICS, 1)["customer_id"].tolist() == [
        f"c{number}" for number in range(160)
    ]
    second = copied.index >= 160
    assert len(distinct(copied.assign(label=copied["label"] ^ second), TOPICS, 1)) == 320
    later = copied["as_of"].where(~second, pd.Timestamp(2024, 2, 1))
    assert len(distinct(copied.assign(as_of=later), TOPICS, 1)) == 320


def test_customers_who_are_alike_because_features_are_coarse_are_no_copies() -> None:
    frame = noise(customers=400, times=1)
    frame[FEATURES] = frame[FEATURES].round(0)
    assert frame.duplicated([*FEATURES, "label"]).mean() > 0.5
    assert len(distinct(frame, TOPICS, 1)) == 400
    silent = frame.index < 100
    frame["spend"] = np.where(silent, np.nan, np.arange(400))
    frame.loc[silent, ["visits", "age"]] = np.nan  # nothing is known of a quarter of them
    assert len(distinct(frame, TOPICS, 1)) == 400


def test_one_row_in_a_hundred_may_equal_another_by_chance() -> None:
    frame = noise(customers=400, times=1)
    few = pd.concat([frame, frame.head(4)], ignore_index=True)
    assert len(distinct(few, TOPICS, 1)) == 404
    assert len(distinct(pd.concat([few, frame.iloc[4:10]]), TOPICS, 1)) == 400


def test_who_came_once_on_one_day_equals_another_of_that_day_and_is_no_copy() -> None:
    frame = noise(customers=400, times=1)
    frame["first"], frame["last"] = np.arange(400) // 2, np.arange(400) // 2 + 7
    frame[["visits", "age"]] = 1.0
    topics = {"first": "orders/activity", "last": "orders/activity", "spend": "orders/money"}
    alike = frame.assign(spend=9.5, label=False)
    assert len(distinct(alike, topics, 2)) == 400
    assert len(distinct(alike.assign(spend=frame["first"] * 1.5), topics, 2)) == 200, (
        "nor do amounts differ"
    )


def test_copies_are_told_by_their_number_and_the_key() -> None:
    assert copies_message(0, 400, "customer_id") == ""
    assert copies_message(3200, 4000, "customer_id").startswith(
        "3,200 of 4,000 rows equal another in every column but customer_id"
    )
