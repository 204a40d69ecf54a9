import datetime as dt
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.grading import controls
from churn_orchestration.churn.grading.controls import (
    OverlapError,
    depends_on_company,
    refuse_overlap,
    shuffled_control,
)
from churn_orchestration.churn.grading.evaluation import Evaluation
from churn_orchestration.churn.grading.gate import decide
from churn_orchestration.churn.recipe import Recipe
from churn_orchestration_tests.support.questions import QUESTION, STATIC


def _tickets(rows: int = 1500) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.concat([
        pd.DataFrame({
            "customer_id": range(rows), "as_of": as_of,
            "x": rng.normal(size=rows), "z": rng.normal(size=rows),
            "label_known_on": as_of + dt.timedelta(60), "cutoff": dt.date(2024, 12, 31),
        })
        for as_of in (dt.date(2024, 1, 1), dt.date(2024, 2, 1), dt.date(2024, 6, 1))
    ], ignore_index=True)  # fmt: skip
    return frame.assign(label=rng.random(len(frame)) < 1 / (1 + np.exp(-2 * frame["x"])))


def test_a_random_split_of_snapshots_of_the_same_customers_is_refused() -> None:
    frame = _tickets()
    chosen = np.random.default_rng(0).random(len(frame)) < 0.5
    with pytest.raises(OverlapError, match="not known on 2024-01-01"):
        refuse_overlap(frame[chosen], frame[~chosen], QUESTION)
    early, late = (
        frame[frame["as_of"] < dt.date(2024, 3, 1)],
        frame[frame["as_of"] > dt.date(2024, 3, 1)],
    )
    refuse_overlap(early, late, QUESTION)  # its clean twin


def test_a_static_question_is_not_graded_on_entities_that_trained() -> None:
    frame = _tickets().head(300)
    with pytest.raises(OverlapError, match="100 entities are both trained and graded on"):
        refuse_overlap(frame.head(200), frame.tail(200), STATIC)
    refuse_overlap(frame.head(100), frame.tail(200), STATIC)


def test_of_shuffled_labels_nothing_is_learned() -> None:
    frame = _tickets()
    early, late = (
        frame[frame["as_of"] < dt.date(2024, 3, 1)],
        frame[frame["as_of"] > dt.date(2024, 3, 1)],
    )
    result = shuffled_control(early, late, ["x", "z"], QUESTION, Recipe("logistic"))
    assert result["low"] < 0.5 < result["high"]


def test_a_recipe_that_looks_at_the_labels_it_is_graded_on_fails_the_shuffled_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = _tickets()
    early, late = (
        frame[frame["as_of"] < dt.date(2024, 3, 1)],
        frame[frame["as_of"] > dt.date(2024, 3, 1)],
    )

    class Peeks:
        def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
            p = np.where(late.loc[rows.index, "label"], 0.9, 0.1)
            return np.column_stack([1 - p, p])

    monkeypatch.setattr(controls, "fit", lambda *_: Peeks())
    result = shuffled_control(early, late, ["x", "z"], QUESTION, Recipe("logistic"))
    assert result["low"] > 0.5


def test_an_encoder_that_is_fitted_again_at_scoring_moves_a_customer_with_its_company() -> None:
    frame = _tickets().head(600)[["x", "z"]]
    mean, spread = frame["x"].mean(), frame["x"].std()
    refitted = depends_on_company(
        lambda rows: ((rows["x"] - rows["x"].mean()) / rows["x"].std()).to_numpy(), frame
    )
    saved = depends_on_company(lambda rows: ((rows["x"] - mean) / spread).to_numpy(), frame)
    assert refitted > 1e-3
    assert saved == 0


SOUND = {
    "shuffled_auc": {"value": 0.51, "low": 0.47, "high": 0.55}, "auc_trained": 0.8,
    "auc_later": 0.75, "company": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (
            {"shuffled_auc": {"value": 0.7, "low": 0.66, "high": 0.74}},
            "from shuffled labels it still ranks",
        ),
        ({"auc_trained": 0.99}, "AUC falls from 0.990 .* learned its rows by heart"),
        ({"company": 0.02}, "moves by 0.02 with the other rows that are scored together with it"),
        ({"auc_later": float("nan")}, "AUC falls"),
    ],
)
def test_a_training_that_fails_a_control_is_refused_whatever_its_grade(
    control: dict[str, Any], message: str
) -> None:
    lead = {"constant": {"value": -0.1, "low": -0.12, "high": -0.08}}
    good = Evaluation({}, [], lead, {}, pd.DataFrame(), controls=SOUND)
    assert decide(good).decision == "promote"
    refused = decide(replace(good, controls=SOUND | control))
    assert refused.decision == "refuse"
    assert re.search(message, refused.reason)
