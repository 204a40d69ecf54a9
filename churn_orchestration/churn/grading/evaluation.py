"""Evaluation of a snapshot: models fitted on purged earlier as_ofs, graded on later ones.

A static question has one as_of: it is graded out of fold, by entity, and says that this is not out
of time. Imports the learners, so import this module inside the function that trains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from churn_orchestration.churn import learners
from churn_orchestration.churn.capacity import HopelessLabel
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.derived import CALENDAR
from churn_orchestration.churn.grading import curves, metrics
from churn_orchestration.churn.grading.controls import (
    depends_on_company,
    refuse_overlap,
    shuffled_control,
)
from churn_orchestration.churn.grading.segments import REPORTED
from churn_orchestration.churn.protocol import ENTITY_FOLDS, OUT_OF_FOLD
from churn_orchestration.churn.question.labels import STATIC, Question
from churn_orchestration.churn.recipe import Recipe
from churn_orchestration.churn.rules import rules_forecast
from churn_orchestration.churn.splits import Fold, entity_folds, folds

KEYS = ("as_of", "label", "label_known_on", "cutoff")
ROUND_THE_YEAR = pd.Timedelta(
    days=330
)  # twelve as_ofs, a month apart, of which two may be short months
LEARNING_FIFTHS = (1, 2, ENTITY_FOLDS)
RANKING = ("auc", "average_precision", "lift_top_decile", "recall_top_decile", "base_rate")


def feature_columns(snapshot: pd.DataFrame, question: Question) -> list[str]:
    """The columns a model may see: all but the entity, as_of, label and their dates.

    The calendar is among them where the as_ofs go round the year; of a part of it, a model would
    learn that the months it has seen are what the others will be.
    """
    as_ofs = pd.to_datetime(snapshot["as_of"])
    unseen = {question.entity, *KEYS}
    if as_ofs.max() - as_ofs.min() < ROUND_THE_YEAR:
        unseen |= {
            feature.name for feature in catalogue(question.features) if feature.family == CALENDAR
        }
    return [name for name in snapshot.columns if name not in unseen]


def scores(
    model: learners.LogOddsBlend, frame: pd.DataFrame, question: Question, base_rate: float
) -> pd.DataFrame:
    """Probabilities of the model, its members, the rules and a constant; the recency as a rank from
    0 to 1.

    Without an activity there are no rules and no recency.

    Parameters
    ----------
    model : fitted
    frame : feature rows, one per entity and as_of
    base_rate : churn rate of the rows that trained the model, the constant forecast

    Returns
    -------
    one column per forecaster, the model first, the index of ``frame``
    """
    features = frame[list(model.feature_names_in_)]
    table = {"model": model.predict_proba(features)[:, 1]}
    if len(model.members_) > 1:
        table |= model.member_probabilities(features)
    if question.activity:
        silence = frame[f"{question.activity.name}_days_since_last"]
        table["rules"] = rules_forecast(question, frame).to_numpy()
        table["recency"] = silence.rank(pct=True).fillna(1.0).to_numpy()
    table["constant"] = np.full(len(frame), base_rate)
    return pd.DataFrame(table, index=frame.index)


def graded(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, dict[str, Any]]:
    """Metrics with intervals of every forecaster on the same rows; of a rank, those of its order
    only.
    """
    report = {}
    for name in forecasts:
        result = metrics.evaluate(frame["label"], forecasts[name], frame[entity])
        report[str(name)] = {k: v for k, v in result.items() if name != "recency" or k in RANKING}
    return report


@dataclass(frozen=True)
class Evaluation:
    """How the recipe did on later days: pooled report by forecaster, folds, paired differences,
    curves.

    ``held_out`` has a row per entity and as_of graded: label, and the probability of each
    forecaster. ``controls``: what a sound training must show next to its grade. ``learning``: see
    ``learning_curve``. ``caveat`` says how it was graded where that was not on later days.
    ``models``: of a static question, by fold of entities, the model that has not seen them.
    """

    report: dict[str, dict[str, Any]]
    folds: list[Fold]
    differences: dict[str, dict[str, float]]
    curves: dict[str, Any]
    held_out: pd.DataFrame
    caveat: str = ""
    controls: Mapping[str, Any] = field(default_factory=dict)
    learning: Sequence[Mapping[str, Any]] = ()
    models: Mapping[str, learners.LogOddsBlend] = field(default_factory=dict)


def drawn(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, Any]:
    """The curves of the same rows: calibration of the model, gain of the model and of any rules
    next to it.
    """
    gains = {
        name: curves.gain(frame["label"], forecasts[name])
        for name in ("model", "rules")
        if name in forecasts
    }
    bins = curves.calibration(frame["label"], forecasts["model"], frame[entity])
    return {"calibration": bins, "gain": gains}


Forecasted = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, learners.LogOddsBlend]
"""Rows with their labels, every forecaster's probabilities of them, and the rows and model they
came from.
"""


def evaluate(
    snapshot: pd.DataFrame,
    question: Question,
    recipe: Recipe,
    most: int,
) -> Evaluation | None:
    """Grade the recipe on rows that it has not seen; None where there is no fold to grade it on.

    Raises
    ------
    HopelessLabel : a static question, and too few entities of one class in a fold's training rows
    """
    if question.kind == STATIC:
        by_fold = _out_of_fold(snapshot, question, recipe)
        evaluation = _pooled(question, [], list(by_fold.values()), recipe, OUT_OF_FOLD)
        return replace(evaluation, models={fold: model for fold, (*_, model) in by_fold.items()})
    used, result = _out_of_time(snapshot, question, recipe, most)
    return _pooled(question, used, result, recipe) if used else None


def _controls(forecasted: Forecasted, question: Question, recipe: Recipe) -> dict[str, Any]:
    """What a sound training must show next to its grade, on one fold."""
    test, _, train, model = forecasted
    columns = feature_columns(train, question)
    auc = {
        when: metrics.measure(rows["label"], model.predict_proba(rows[columns])[:, 1])["auc"]
        for when, rows in (("trained", train), ("later", test))
    }
    company = depends_on_company(lambda rows: model.predict_proba(rows)[:, 1], test[columns])
    shuffled = shuffled_control(train, test, columns, question, recipe)
    result = {"shuffled_auc": shuffled, "company": company}
    return result | {f"auc_{when}": value for when, value in auc.items()}


def _out_of_fold(
    snapshot: pd.DataFrame, question: Question, recipe: Recipe
) -> dict[str, Forecasted]:
    """Every row by a model that has not seen its entity, by the fold of its entity."""
    fold = entity_folds(snapshot[question.entity])
    return {
        str(number): _forecasted(
            snapshot[fold != number], snapshot[fold == number], question, recipe
        )
        for number in np.unique(fold)
    }


def _out_of_time(
    snapshot: pd.DataFrame, question: Question, recipe: Recipe, most: int
) -> tuple[list[Fold], list[Forecasted]]:
    """Every fold's later as_of by a model of the as_ofs that were known by then."""
    snapshot = snapshot.assign(as_of=pd.to_datetime(snapshot["as_of"]).dt.date)
    used, result = [], []
    for fold in folds(sorted(snapshot["as_of"].unique()), question.horizon, most):
        train = snapshot[snapshot["as_of"].isin(fold.train)]
        test = snapshot[snapshot["as_of"] == fold.test]
        if test["label"].nunique() < 2:
            continue
        try:
            result.append(_forecasted(train, test, question, recipe))
        except HopelessLabel:
            continue  # too few in an early fold; the refit on all as_ofs is what may refuse
        used.append(fold)
    return used, result


def _forecasted(
    train: pd.DataFrame,
    test: pd.DataFrame,
    question: Question,
    recipe: Recipe,
) -> Forecasted:
    refuse_overlap(train, test, question)
    columns = feature_columns(train, question)
    model = recipe.fit(train, columns, question.entity, _day_of(test, question))
    return test, scores(model, test, question, float(train["label"].mean())), train, model


def _day_of(test: pd.DataFrame, question: Question) -> pd.Timestamp | None:
    """The day on which the rows are forecast; None of a static question, which has one as_of."""
    return None if question.kind == STATIC else pd.to_datetime(test["as_of"]).min()


def _pooled(
    question: Question,
    used: list[Fold],
    result: list[Forecasted],
    recipe: Recipe,
    caveat: str = "",
) -> Evaluation:
    test = pd.concat([rows for rows, *_ in result])
    # A stack keeps other members in each fold: of one that a fold left out, nothing is forecast
    # there.
    forecast = pd.concat([forecasts for _, forecasts, *_ in result], join="inner")
    differences = {
        peer: metrics.paired_difference(
            test["label"], forecast["model"], forecast[peer], test[question.entity], "log_loss"
        )
        for peer in ("rules", "constant")
        if peer in forecast
    }
    entity = question.entity
    report, curved = graded(test, forecast, entity), drawn(test, forecast, entity)
    held_out = pd.concat([test[[entity, "as_of", "label"]], forecast], axis=1).reset_index(
        drop=True
    )
    held_out["as_of"] = pd.to_datetime(held_out["as_of"])
    controls = _controls(result[0], question, recipe)  # the newest day
    learning = learning_curve(*result[0][:3], question, recipe)
    return Evaluation(report, used, differences, curved, held_out, caveat, controls, learning)


def learning_curve(
    test: pd.DataFrame,
    forecasts: pd.DataFrame,
    train: pd.DataFrame,
    question: Question,
    recipe: Recipe,
) -> list[dict[str, Any]]:
    """AUC and log loss of one fold, learned from a fifth, two fifths and all of the customers.

    Returns
    -------
    by share, rising: ``entities``, and ``auc`` and ``log_loss`` with 95 % intervals; a share that
    holds too few customers of one outcome is left out
    """
    columns, fold, result = (
        feature_columns(train, question),
        entity_folds(train[question.entity]),
        [],
    )
    for fifths in LEARNING_FIFTHS:
        some = train[fold < fifths]
        said = forecasts["model"]
        if fifths < ENTITY_FOLDS:
            try:
                fitted = recipe.fit(some, columns, question.entity, _day_of(test, question))
            except HopelessLabel:
                continue
            said = fitted.predict_proba(test[columns])[:, 1]
        graded = metrics.evaluate(
            test["label"], said, test[question.entity], resamples=200, metrics=REPORTED
        )
        reached: dict[str, Any] = {name: graded[name] for name in REPORTED}
        result.append(reached | {"entities": int(some[question.entity].nunique())})
    return result
