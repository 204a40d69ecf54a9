import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_orchestration.churn import recipe
from churn_orchestration.churn.calendar import Horizon, months_back
from churn_orchestration.churn.capacity import Capacity, HopelessLabel
from churn_orchestration.churn.grading.evaluation import (
    entity_folds,
    evaluate,
    feature_columns,
    folds,
    graded,
    scores,
)
from churn_orchestration.churn.grading.metrics import measure
from churn_orchestration.churn.recipe import Recipe, fit
from churn_orchestration_tests.support.questions import QUESTION, STATIC

MONTHS = [dt.date(2024, month, 1) for month in range(1, 7)]


def snapshot(as_ofs: list[dt.date], customers: int = 120, seed: int = 3) -> pd.DataFrame:
    """A snapshot in which the longer silent are the likelier to churn."""
    rng = np.random.default_rng(seed)
    frames = []
    for as_of in as_ofs:
        silence = rng.integers(0, 60, customers)
        frames.append(
            pd.DataFrame(
                {
                    "customer_id": [f"c{number}" for number in range(customers)],
                    "as_of": pd.Timestamp(as_of),
                    "label": rng.random(customers) < silence / 60,
                    "label_known_on": pd.Timestamp(QUESTION.horizon.label_known_on(as_of)),
                    "cutoff": pd.Timestamp(2024, 12, 31),
                    "orders_days_since_last": silence,
                    "orders_gap_days_mean_all": np.where(silence % 2, np.nan, 12.0),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@given(
    st.lists(st.dates(dt.date(2023, 1, 1), dt.date(2025, 1, 1)), max_size=12, unique=True),
    st.integers(1, 120), st.integers(0, 30), st.integers(0, 30), st.integers(1, 5),
)  # fmt: skip
def test_no_outcome_of_a_training_as_of_ends_after_the_test_as_of(
    as_ofs: list[dt.date], horizon_days: int, gap_days: int, settle_days: int, most: int
) -> None:
    horizon = Horizon(horizon_days, gap_days, settle_days)
    result = folds(as_ofs, horizon, most)
    assert len(result) <= most
    assert [fold.test for fold in result] == sorted({fold.test for fold in result}, reverse=True)
    for fold in result:
        assert fold.train
        for as_of in fold.train:
            assert horizon.outcome(as_of)[1] <= fold.test
            assert horizon.label_known_on(as_of) <= fold.test
        left_out = set(as_ofs) - set(fold.train)
        assert all(horizon.label_known_on(as_of) > fold.test for as_of in left_out)


def test_the_newest_as_ofs_are_the_tests_and_each_trains_on_what_was_known_by_then() -> None:
    result = folds(MONTHS, Horizon(60), most=2)
    assert [(fold.test.month, [day.month for day in fold.train]) for fold in result] == [
        (6, [1, 2, 3, 4]), (5, [1, 2, 3]),
    ]  # fmt: skip
    assert [fold.test.month for fold in folds(MONTHS, Horizon(60), most=9)] == [6, 5, 4, 3]


def test_settling_takes_the_as_of_whose_label_is_not_settled_out_of_training() -> None:
    assert [len(fold.train) for fold in folds(MONTHS[:3], Horizon(60), 1)] == [1]
    assert folds(MONTHS[:3], Horizon(60, settle_days=1), 1) == []


def test_without_a_fold_there_is_no_evaluation() -> None:
    assert evaluate(snapshot([MONTHS[0]]), QUESTION, Recipe("logistic"), 3) is None
    close = [dt.date(2024, 1, 1), dt.date(2024, 1, 30)]  # labels of the first are known on the 31st
    assert evaluate(snapshot(close), QUESTION, Recipe("logistic"), 3) is None


def test_a_hopeless_label_is_refused_with_what_was_found_and_what_is_needed() -> None:
    seven = [f"c{number}" for number in range(7)]
    few = snapshot(MONTHS[:3]).assign(label=lambda frame: frame["customer_id"].isin(seven))
    assert evaluate(few, QUESTION, Recipe("logistic"), 3) is None
    with pytest.raises(HopelessLabel, match="at least 20 .* found 7 and 113"):
        fit("logistic", few[["orders_days_since_last"]], few["label"], few["customer_id"])


def test_an_as_of_on_which_all_had_the_same_outcome_is_no_test() -> None:
    frame = snapshot(MONTHS[:4])
    frame.loc[frame["as_of"] == pd.Timestamp(MONTHS[3]), "label"] = True
    result = evaluate(frame, QUESTION, Recipe("logistic"), 3)
    assert result is not None
    assert [fold.test for fold in result.folds] == [MONTHS[2], MONTHS[1]]


def test_a_member_that_the_stack_of_one_fold_left_out_has_no_grade_and_the_stack_has_one() -> None:
    result = evaluate(snapshot(MONTHS[:5], seed=1), QUESTION, Recipe("stack", Capacity(10, 20)), 3)
    assert result is not None
    assert len(result.folds) == 3
    assert not result.held_out.isna().any(axis=None)
    assert {"model", "rules", "constant"} <= set(result.report)
    assert not {"logistic", "lightgbm", "xgboost"} <= set(result.report)


def test_a_scarce_first_fold_does_not_keep_the_later_ones_from_being_graded() -> None:
    frame = snapshot(MONTHS[:4])
    early = frame["as_of"] == pd.Timestamp(MONTHS[0])
    frame.loc[early, "label"] = frame["customer_id"].isin([f"c{n}" for n in range(7)])
    result = evaluate(frame, QUESTION, Recipe("logistic"), 3)
    assert result is not None
    assert [fold.test for fold in result.folds] == [MONTHS[3]]


def test_all_forecasters_are_graded_on_the_same_later_rows() -> None:
    result = evaluate(snapshot(MONTHS[:3]), QUESTION, Recipe("logistic"), 1)
    assert result is not None
    assert {"model", "rules", "recency", "constant"} <= set(result.report)
    frame = snapshot(MONTHS[:3])
    test = frame[frame["as_of"] == pd.Timestamp(MONTHS[2])]
    for report in result.report.values():
        assert report["base_rate"]["value"] == pytest.approx(test["label"].mean())


def test_a_label_of_a_test_as_of_never_reaches_the_model_that_is_tested_on_it() -> None:
    frame = snapshot(MONTHS[:3])
    turned = frame.assign(label=frame["label"] ^ (frame["as_of"] == pd.Timestamp(MONTHS[2])))
    one, other = (evaluate(table, QUESTION, Recipe("logistic"), 1) for table in (frame, turned))
    assert one is not None
    assert other is not None
    auc = one.report["model"]["auc"]["value"]
    assert auc > 0.6
    assert other.report["model"]["auc"]["value"] == pytest.approx(1 - auc)


def test_a_model_sees_neither_the_entity_nor_a_date_nor_the_label() -> None:
    seen = feature_columns(snapshot(MONTHS[:1]), QUESTION)
    assert seen == ["orders_days_since_last", "orders_gap_days_mean_all"]


@pytest.mark.parametrize(("as_ofs", "seen"), [(6, False), (11, False), (12, True)])
def test_a_model_sees_the_calendar_only_where_its_as_ofs_go_round_the_year(
    as_ofs: int, seen: bool
) -> None:
    question = replace(QUESTION, features=replace(QUESTION.features, calendar=True))
    days = [months_back(dt.date(2024, 3, 31), months) for months in range(as_ofs)]
    frame = snapshot(days).assign(calendar_winter=1.0, calendar_month=3)
    assert ("calendar_winter" in feature_columns(frame, question)) == seen
    assert ("calendar_month" in feature_columns(frame, question)) == seen


def test_the_horizon_of_the_question_reaches_the_rules() -> None:
    frame = snapshot(MONTHS[:2]).assign(orders_days_since_last=10, orders_gap_days_mean_all=20.0)
    model = fit(
        "logistic", frame[feature_columns(frame, QUESTION)], frame["label"], frame["customer_id"]
    )
    for horizon_days, wanted in ((30, 0.5), (90, 0.25)):  # (10 + 20) / (10 + 20 + h)
        table = scores(model, frame, replace(QUESTION, horizon=Horizon(horizon_days)), 0.4)
        assert set(table["rules"]) == {wanted}
        assert set(table["constant"]) == {0.4}


def test_a_rank_is_graded_by_its_order_only() -> None:
    frame = snapshot(MONTHS[:1])
    forecasts = pd.DataFrame(
        {"recency": frame["orders_days_since_last"].rank(pct=True)}, index=frame.index
    )
    report = graded(frame, forecasts, "customer_id")["recency"]
    assert "auc" in report
    assert not {"log_loss", "brier", "calibration_error"} & set(report)


def test_the_order_of_the_rows_changes_no_number() -> None:
    frame = snapshot(MONTHS[:3])
    mixed = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    one, other = (evaluate(table, QUESTION, Recipe("logistic"), 2) for table in (frame, mixed))
    assert one is not None
    assert other is not None
    assert one.folds == other.folds
    values = [result.report["model"]["auc"]["value"] for result in (one, other)]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_the_fold_of_an_entity_depends_on_its_id_and_on_nothing_else() -> None:
    ids = pd.Series([f"c{number}" for number in range(1000)])
    one, other = entity_folds(ids), entity_folds(ids[::-1].reset_index(drop=True))[::-1]
    assert (one == other).all()
    assert one[:8].tolist() == [4, 1, 0, 3, 1, 1, 2, 3]
    assert (entity_folds(pd.Series([7, 7])) == entity_folds(pd.Series(["7", "7"]))).all()


def test_the_folds_are_five_of_about_one_size() -> None:
    sizes = np.bincount(entity_folds(pd.Series([f"c{number}" for number in range(5000)])))
    assert len(sizes) == 5
    assert sizes.min() > 900
    assert sizes.max() < 1100


def test_no_entity_is_graded_by_a_model_that_has_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.concat([snapshot(MONTHS[:1], 400), snapshot(MONTHS[:1], 200)], ignore_index=True)
    trained_on: list[set[str]] = []

    def watched(
        name: str,
        table: pd.DataFrame,
        label: pd.Series,
        entity: pd.Series,
        *more: Any,
        **named: Any,
    ) -> Any:
        trained_on.append(set(entity))
        return fit(name, table, label, entity, *more, **named)

    ids, fold = frame["customer_id"], entity_folds(frame["customer_id"])
    monkeypatch.setattr(recipe, "fit", watched)
    result = evaluate(frame, STATIC, Recipe("logistic"), 3)
    assert trained_on[:5] == [set(ids) - set(ids[fold == number]) for number in range(5)]
    assert result is not None
    assert (result.report["model"]["rows"], result.report["model"]["entities"]) == (600, 400)


def test_a_static_grade_says_that_it_is_not_out_of_time_and_has_the_peers_that_are_there() -> None:
    result = evaluate(snapshot(MONTHS[:1], 400), STATIC, Recipe("logistic"), 3)
    assert result is not None
    assert result.caveat == "out of fold, not out of time (5 folds of entities by hash)"
    assert (set(result.report), set(result.differences)) == ({"model", "constant"}, {"constant"})
    assert result.differences["constant"]["high"] < 0


def test_the_constant_of_a_static_question_is_the_base_rate_of_the_other_folds() -> None:
    frame = snapshot(MONTHS[:1], 400)
    fold = entity_folds(frame["customer_id"])
    rates = pd.Series([frame.loc[fold != number, "label"].mean() for number in fold])
    result = evaluate(frame, STATIC, Recipe("logistic"), 3)
    assert result is not None
    brier = ((rates - frame["label"]) ** 2).mean()
    assert result.report["constant"]["brier"]["value"] == pytest.approx(brier)


def test_too_few_churned_entities_in_a_fold_refuse_a_static_grade() -> None:
    twenty = [f"c{number}" for number in range(20)]
    few = snapshot(MONTHS[:1], 400).assign(label=lambda frame: frame["customer_id"].isin(twenty))
    with pytest.raises(HopelessLabel, match="at least 20"):
        evaluate(few, STATIC, Recipe("logistic"), 3)


def test_the_learning_curve_rises_to_all_customers_and_ends_at_the_grade_of_the_newest_day() -> (
    None
):
    result = evaluate(snapshot(MONTHS, customers=400), QUESTION, Recipe("logistic"), most=2)
    assert result
    few, more, whole = result.learning
    assert few["entities"] < more["entities"] < whole["entities"] == 400
    newest = result.held_out[result.held_out["as_of"] == result.held_out["as_of"].max()]
    assert whole["log_loss"]["value"] == pytest.approx(
        measure(newest["label"], newest["model"])["log_loss"]
    )


def test_shares_of_too_few_customers_are_left_out_of_the_learning_curve() -> None:
    result = evaluate(snapshot(MONTHS, customers=60), QUESTION, Recipe("logistic"), most=1)
    assert result
    assert [point["entities"] for point in result.learning][-1] == 60
    assert len(result.learning) < 3
