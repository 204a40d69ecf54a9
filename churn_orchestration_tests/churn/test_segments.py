"""Segments of customers: every row in one of each feature, the worst first, too small ones told as
such.
"""

import numpy as np
import pandas as pd

from churn_orchestration.churn.grading.segments import UNKNOWN, by_segment

RNG = np.random.default_rng(11)


def rows(count: int = 4_000) -> pd.DataFrame:
    """Forecasts that know much of customers of plan a and nothing of those of plan b."""
    truth = RNG.beta(1, 2, count)
    plan = RNG.choice(["a", "b"], count)
    return pd.DataFrame(
        {
            "id": np.arange(count),
            "label": RNG.random(count) < truth,
            "model": np.where(plan == "a", truth, RNG.permutation(truth)),
            "plan": plan,
            "spent": np.where(RNG.random(count) < 0.1, np.nan, RNG.gamma(2, 50, count)),
            "seats": RNG.choice([1, 2, 3], count),
        }
    )


def test_the_segment_of_which_least_is_known_comes_first() -> None:
    best, worst = (by_segment(rows(), "id", ["plan"])[place] for place in (1, 0))
    assert (worst["segment"], best["segment"]) == ("b", "a")
    assert worst["skill"] < 0 < best["skill"]
    assert worst["auc"]["low"] < 0.5 < worst["auc"]["high"]


def test_every_row_is_in_one_segment_of_each_feature() -> None:
    frame = rows()
    result = by_segment(frame, "id", ["plan", "spent", "seats"])
    for feature in ("plan", "spent", "seats"):
        assert sum(part["rows"] for part in result if part["feature"] == feature) == len(frame)
    named = {part["segment"]: part["rows"] for part in result if part["feature"] == "spent"}
    assert named[UNKNOWN] == frame["spent"].isna().sum()
    assert len(named) == 5
    assert {part["segment"] for part in result if part["feature"] == "seats"} == {"1", "2", "3"}


def test_a_segment_with_too_few_of_one_outcome_has_counts_and_no_grade() -> None:
    frame = rows()
    frame["plan"] = np.where(np.arange(len(frame)) < 30, "new", "old")
    *_, new = by_segment(frame, "id", ["plan"])
    assert (new["segment"], new["rows"]) == ("new", 30)
    assert "auc" not in new
    assert "skill" not in new


def test_the_ends_of_quarters_are_told() -> None:
    frame = rows().assign(spent=lambda frame: np.arange(len(frame)) / 40)
    words = {part["segment"] for part in by_segment(frame, "id", ["spent"])}
    assert words == {"up to 24.99", "24.99 to 49.99", "49.99 to 74.98", "above 74.98"}


def test_where_most_values_are_the_same_they_are_one_segment() -> None:
    frame = rows().assign(
        spent=lambda frame: np.where(np.arange(len(frame)) < 100, np.arange(len(frame)), 0)
    )
    [part] = by_segment(frame, "id", ["spent"])
    assert (part["segment"], part["rows"]) == ("up to 99", len(frame))
