import datetime as dt
from dataclasses import replace

import pandas as pd
import pytest

from churn_orchestration.churn.grading.evaluation import Evaluation
from churn_orchestration.churn.grading.gate import Decision, decide
from churn_orchestration.churn.learning.bands import band
from churn_orchestration.churn.protocol import PROMOTE, REFUSE
from churn_orchestration.churn.splits import Fold


def against(**differences: tuple[float, float, float]) -> Evaluation:
    """An evaluation with (value, low, high) of the log loss difference to each peer."""
    names = ("value", "low", "high")
    result = {peer: dict(zip(names, numbers, strict=True)) for peer, numbers in differences.items()}
    return Evaluation({}, [], result, {}, pd.DataFrame())


def test_a_candidate_below_rules_and_constant_is_promoted_with_its_lead() -> None:
    decided = decide(against(rules=(-0.05, -0.07, -0.03), constant=(-0.1, -0.12, -0.08)))
    assert decided.decision == PROMOTE
    assert "-0.0500 [-0.0700, -0.0300] against the rules" in decided.reason
    assert "-0.1000 [-0.1200, -0.0800] against the constant" in decided.reason


@pytest.mark.parametrize("loser", ["rules", "constant"])
@pytest.mark.parametrize(
    "difference", [(-0.01, -0.03, 0.01), (-0.01, -0.03, 0.0), (0.02, 0.01, 0.03)]
)
def test_a_lead_that_could_be_chance_or_is_none_is_refused_by_the_peer(
    loser: str, difference: tuple[float, float, float]
) -> None:
    sure = {"rules": (-0.05, -0.07, -0.03), "constant": (-0.05, -0.07, -0.03)}
    decided = decide(against(**sure | {loser: difference}))
    assert decided.decision == REFUSE
    assert f"not below that of the {loser}" in decided.reason


def test_a_lead_of_a_model_that_ranks_no_better_than_chance_is_refused() -> None:
    ahead = against(constant=(-0.0004, -0.0006, -0.0002))
    by_chance, ranks = (
        replace(ahead, report={"model": {"auc": {"value": auc, "low": auc - 0.02, "high": 0.6}}})
        for auc in (0.51, 0.53)
    )
    assert decide(ranks).decision == PROMOTE
    assert decide(by_chance) == Decision(
        REFUSE, "it ranks no better than chance: AUC 0.510 [0.490, 0.600]"
    )


def test_a_candidate_that_is_too_good_waits_for_a_person() -> None:
    better = against(constant=(-0.6, -0.7, -0.5))
    assert decide(better).decision == PROMOTE
    assert decide(better, too_good="a and b answer") == Decision(REFUSE, "a and b answer")


def test_a_lead_that_is_no_number_is_refused() -> None:
    nan = float("nan")
    assert decide(against(rules=(nan, nan, nan), constant=(-0.1, -0.2, -0.05))).decision == REFUSE


def test_without_a_test_on_later_days_nothing_is_promoted() -> None:
    decided = decide(None)
    assert decided.decision == REFUSE
    assert "more history is needed" in decided.reason


def test_more_as_ofs_are_the_remedy_only_where_the_history_has_them() -> None:
    assert "`snapshots: {as_ofs: 12}` reach further back" in decide(None, more_as_ofs=12).reason
    day, refused = dt.date(2024, 1, 1), against(rules=(-0.01, -0.03, 0.01))
    for trained_on, more, message in ((1, 12, True), (2, 12, True), (3, 12, False), (1, 0, False)):
        result = replace(refused, folds=[Fold(day, (day,) * 5), Fold(day, (day,) * trained_on)])
        assert ("`snapshots: {as_ofs: 12}`" in decide(result, more_as_ofs=more).reason) == message
    promoted = replace(against(rules=(-0.05, -0.07, -0.03)), folds=[Fold(day, (day,))])
    assert "as_ofs: 12" not in decide(promoted, more_as_ofs=12).reason


def test_a_probability_on_an_edge_belongs_to_the_band_above_it() -> None:
    assert band([0, 0.2999, 0.3, 0.4999, 0.5, 0.6999, 0.7, 1], (0.3, 0.5, 0.7)) == [
        "low", "low", "medium", "medium", "high", "high", "critical", "critical",
    ]  # fmt: skip


def test_relative_bands_are_multiples_of_the_base_rate() -> None:
    assert band([0.03, 0.05, 0.1, 0.2], (1, 2, 4), base_rate=0.05) == [
        "low",
        "medium",
        "high",
        "critical",
    ]


def test_nobody_has_no_band() -> None:
    assert band([], (0.3, 0.5, 0.7)) == []


def test_what_is_no_probability_has_no_band() -> None:
    with pytest.raises(ValueError, match="nan"):
        band([0.1, float("nan")], (0.3, 0.5, 0.7))


def test_a_grade_out_of_fold_is_told_as_such_whether_promoted_or_refused() -> None:
    for high, decision in ((-0.03, PROMOTE), (0.03, REFUSE)):
        decided = decide(replace(against(constant=(-0.05, -0.07, high)), caveat="not out of time"))
        assert (decided.decision, "not out of time" in decided.reason) == (decision, True)
        assert "later days" not in decided.reason
