from dataclasses import replace

import numpy as np
import pandas as pd

from churn_orchestration.churn.grading.gate import between
from churn_orchestration.churn.grading.versus import Versus
from churn_orchestration.churn.question.settings import Economics


def _versus(lead: float, rows: int = 3000, seed: int = 0) -> Versus:
    """A candidate that knows ``lead`` more of the log odds than a champion that is as noisy."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=rows)
    label = rng.random(rows) < 1 / (1 + np.exp(-odds))
    noise = rng.normal(scale=0.5, size=(2, rows))
    said = 1 / (1 + np.exp(-(odds + noise * np.array([[1 - lead], [1]]))))
    return Versus.of(
        pd.Series(label), said[0], said[1], pd.Series(np.arange(rows) % 2000), "a test", Economics()
    )


def test_a_better_candidate_is_promoted_and_an_equal_or_worse_one_is_not() -> None:
    better, equal, worse = _versus(0.9), _versus(0.0), _versus(-0.9)
    assert (better.better, equal.better, worse.better) == (True, False, False)
    assert better.log_loss["high"] < 0 < worse.log_loss["low"]
    decided = between(better, "abc")
    assert decided.decision == "promote"
    assert decided.reason.startswith("better than champion abc, a test: log loss -0.0")
    assert between(equal, "abc").decision == "keep"
    assert 0 < equal.power < 1


def test_a_champion_that_stays_is_told_with_the_reason_that_holds() -> None:
    better, equal, worse = _versus(0.9), _versus(0.0), _versus(-0.9)
    assert (
        "champion abc stays: the candidate is worse, chance ruled out, "
        in between(worse, "abc").reason
    )
    assert "champion abc stays: chance is not ruled out, " in between(equal, "abc").reason
    less_profit = replace(better, profit={"value": -0.2, "low": -0.3, "high": -0.1})
    assert "log loss is better, its profit is worse, chance ruled out of both, " in (
        between(less_profit, "abc").reason
    )


def test_of_equal_candidates_few_are_promoted() -> None:
    assert sum(_versus(0.0, rows=400, seed=seed).better for seed in range(20)) <= 3


def test_nothing_is_promoted_by_a_comparison_that_cannot_tell_an_oracle_from_anything() -> None:
    result = _versus(0.9)
    for controls, message in (
        (
            {"oracle": False, "nobody": False, "everybody": False},
            "knows every outcome does not win",
        ),
        ({"oracle": True, "nobody": True, "everybody": False}, "contacting nobody wins"),
        ({"oracle": True, "nobody": False, "everybody": True}, "contacting everybody wins"),
    ):
        decided = between(replace(result, controls=controls), "abc")
        assert decided.decision == "refuse"
        assert message in decided.reason
    assert result.controls == {"oracle": True, "nobody": False, "everybody": False}


def test_without_an_outcome_that_neither_has_seen_the_champion_stays() -> None:
    assert between(None, "abc").decision == "keep"
