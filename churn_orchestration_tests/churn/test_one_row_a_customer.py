"""How much is learned of a table with one row a customer, and who has seen whom."""

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from scipy.special import logit

from churn_orchestration.churn import learners, recipe
from churn_orchestration.churn.capacity import Capacity
from churn_orchestration.churn.grading.evaluation import Evaluation, evaluate
from churn_orchestration.churn.grading.metrics import measure
from churn_orchestration.churn.learning.contributions import contributions, of_entities
from churn_orchestration.churn.recipe import Recipe, fit
from churn_orchestration.churn.splits import FOLD_SEED, entity_folds
from churn_orchestration_tests.support.questions import STATIC

COLUMNS = ["age", "premium", "claims", "discount"]
DAY = pd.Timestamp(2024, 3, 31)


@pytest.fixture(scope="module")
def insured() -> pd.DataFrame:
    """2,000 insured; 9 % leave: the young with high premiums but no discount, the old with
    claims.
    """
    rng = np.random.default_rng(11)
    age, premium = rng.uniform(18, 80, 2_000), rng.gamma(4.0, 100.0, 2_000)
    claims, discount = rng.poisson(0.7, 2_000), rng.random(2_000) < 0.4
    cause = ((age < 35) & (premium > 450) & ~discount) | ((age > 65) & (claims > 1))
    return pd.DataFrame(
        {
            "customer_id": [f"policy {number}" for number in range(2_000)],
            "as_of": DAY, "label_known_on": DAY, "cutoff": DAY,
            "label": rng.random(2_000) < np.where(cause, 0.8, 0.02),
            "age": age, "premium": premium, "claims": claims, "discount": discount,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def graded(insured: pd.DataFrame) -> Evaluation:
    result = evaluate(insured, STATIC, Recipe("blend"), 3)
    assert result is not None
    return result


def test_what_a_plain_boosting_finds_the_blend_finds_too(
    insured: pd.DataFrame, graded: Evaluation
) -> None:
    fold, said = entity_folds(insured["customer_id"]), np.empty(len(insured))
    for number in range(5):
        plain = LGBMClassifier(
            n_estimators=200, learning_rate=0.05, num_leaves=15, n_jobs=1, verbose=-1
        )
        seen, unseen = insured[fold != number], insured[fold == number]
        plain.fit(seen[COLUMNS], seen["label"])
        said[fold == number] = plain.predict_proba(unseen[COLUMNS])[:, 1]
    losses = {name: graded.report[name]["log_loss"]["value"] for name in ("model", "constant")}
    assert losses["model"] < measure(insured["label"], said)["log_loss"] < losses["constant"]


def test_capacity_and_weights_are_chosen_without_the_fold_that_they_are_graded_on(
    insured: pd.DataFrame, graded: Evaluation
) -> None:
    unseen = entity_folds(insured["customer_id"]) == 3
    rows = insured.assign(label=insured["label"] ^ unseen)
    again = Recipe("blend").fit(rows[~unseen], COLUMNS, "customer_id")
    before = graded.models["3"]
    assert again.weights_.tolist() == before.weights_.tolist()
    assert (
        again.predict_proba(insured[COLUMNS]).tobytes()
        == before.predict_proba(insured[COLUMNS]).tobytes()
    )


def test_where_few_leave_xgboost_is_no_constant_and_a_linear_member_of_no_use_has_no_vote(
    insured: pd.DataFrame,
) -> None:
    alone = Recipe("xgboost").fit(insured, COLUMNS, "customer_id")
    said = alone.predict_proba(insured[COLUMNS])[:, 1]
    assert said[insured["label"]].mean() > 0.4
    blend = Recipe("blend").fit(insured, COLUMNS, "customer_id")
    weights = dict(zip(blend.members_, blend.weights_, strict=True))
    assert weights.get("logistic", 0) < 0.1


def test_an_entity_is_forecast_and_explained_by_the_model_that_has_not_seen_it(
    insured: pd.DataFrame, graded: Evaluation
) -> None:
    model = Recipe("logistic").fit(insured, COLUMNS, "customer_id")
    model.folds_ = graded.models
    table, ids = insured[COLUMNS].astype(float), insured["customer_id"]
    for rows, unseen in model.for_entities(ids):
        [fold] = set(entity_folds(ids)[rows])
        assert unseen is graded.models[str(fold)]
        moved, baseline = contributions(unseen, table[rows])
        assert of_entities(model, table, ids)[rows].equals(moved)
        said = graded.held_out.set_index("customer_id").loc[ids[rows], "model"]
        np.testing.assert_allclose(baseline + moved.sum(axis=1), logit(said), atol=1e-6, rtol=0)


def test_a_model_without_folds_forecasts_every_entity_itself(insured: pd.DataFrame) -> None:
    model = Recipe("logistic").fit(insured, COLUMNS, "customer_id")
    [(rows, only)] = model.for_entities(insured["customer_id"])
    assert rows.all()
    assert only is model
    model.folds_ = {"0": Recipe("logistic").fit(insured[:900], COLUMNS, "customer_id")}
    used = [each is model for _, each in model.for_entities(insured["customer_id"])]
    assert used == [False, True, True, True, True]


def test_the_folds_that_choose_are_others_than_those_that_grade(insured: pd.DataFrame) -> None:
    others = insured[entity_folds(insured["customer_id"]) != 0]
    chosen = entity_folds(others["customer_id"], FOLD_SEED + 1)
    assert np.bincount(chosen).min() > len(others) / 7


def test_rows_of_several_days_keep_the_capacity_of_their_size(
    insured: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = list[Capacity | None]()

    def watched(*given: object, **named: object) -> learners.LogOddsBlend:
        chosen.append(given[4])  # type: ignore[arg-type]
        return fit(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "fit", watched)
    later = insured.assign(label_known_on=DAY + pd.Timedelta(days=30))
    for rows in (insured, later):
        Recipe("lightgbm").fit(rows, COLUMNS, "customer_id")
    assert chosen[0] is not None
    assert chosen[0].trees < 1_000
    assert chosen[1] is None
