"""Evaluation of a snapshot: models fitted on purged earlier as_ofs, graded on later ones.

A static question has one as_of: it is graded out of fold, by entity, and says that this is not out of time.
Imports the learners, so import this module inside the function that trains.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from churn_orchestration.churn import curves, learners, metrics
from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.controls import depends_on_company, refuse_overlap, shuffled_control
from churn_orchestration.churn.decisions import ENTITY_FOLDS, OUT_OF_FOLD
from churn_orchestration.churn.labels import STATIC, Question

KEYS = ("as_of", "label", "label_known_on", "cutoff")
FOLD_SEED = 20_111_209
RANKING = ("auc", "average_precision", "lift_top_decile", "recall_top_decile", "base_rate")


@dataclass(frozen=True)
class Fold:
    """One test as_of with the purged as_ofs that train for it."""

    test: dt.date
    train: tuple[dt.date, ...]


def folds(as_ofs: list[dt.date], horizon: Horizon, most: int) -> list[Fold]:
    """The newest ``most`` test as_ofs that have at least one purged as_of to train on, newest first.

    >>> grid = [dt.date(2024, month, 1) for month in (1, 2, 3, 4, 5)]
    >>> [(fold.test.month, [day.month for day in fold.train]) for fold in folds(grid, Horizon(60), most=2)]
    [(5, [1, 2, 3]), (4, [1, 2])]
    """
    candidates = (Fold(test, tuple(purged(as_ofs, test, horizon))) for test in sorted(as_ofs, reverse=True))
    return [fold for fold in candidates if fold.train][:most]


def entity_folds(entity: pd.Series) -> np.ndarray:
    """The fold of each row, 0 to ENTITY_FOLDS - 1: a seeded hash of its entity's text, so always the same.

    >>> entity_folds(pd.Series(["ann", "bob", "ann", 7])).tolist()
    [4, 2, 4, 4]
    """

    def fold(text: str) -> int:
        digest = hashlib.sha256(f"{FOLD_SEED}:{text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % ENTITY_FOLDS

    return entity.astype(str).map(fold).to_numpy()


def feature_columns(snapshot: pd.DataFrame, question: Question) -> list[str]:
    """The columns a model may see: all but the entity, as_of, label and their dates."""
    return [name for name in snapshot.columns if name not in (question.entity, *KEYS)]


def scores(
    model: learners.LogOddsBlend, frame: pd.DataFrame, question: Question, base_rate: float
) -> pd.DataFrame:
    """Probabilities of the model, its members, the rules and a constant; the recency as a rank from 0 to 1.

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
        gap = frame[f"{question.activity.name}_gap_days_mean_all"]
        table["rules"] = learners.rules_probability(silence, gap, question.horizon.horizon_days).to_numpy()
        table["recency"] = silence.rank(pct=True).fillna(1.0).to_numpy()
    table["constant"] = np.full(len(frame), base_rate)
    return pd.DataFrame(table, index=frame.index)


def graded(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, dict[str, Any]]:
    """Metrics with intervals of every forecaster on the same rows; of a rank, those of its order only."""
    report = {}
    for name in forecasts:
        found = metrics.evaluate(frame["label"], forecasts[name], frame[entity])
        report[str(name)] = {k: v for k, v in found.items() if name != "recency" or k in RANKING}
    return report


@dataclass(frozen=True)
class Evaluation:
    """How the recipe did on later days: pooled report by forecaster, folds, paired differences, curves.

    ``held_out`` has a row per entity and as_of graded: label, and what each forecaster said.
    ``controls``: what a sound training must show beside its grade.
    ``caveat`` says how it was graded where that was not on later days.
    """

    report: dict[str, dict[str, Any]]
    folds: list[Fold]
    differences: dict[str, dict[str, float]]
    curves: dict[str, Any]
    held_out: pd.DataFrame
    caveat: str = ""
    controls: Mapping[str, Any] = field(default_factory=dict)


def drawn(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, Any]:
    """The curves of the same rows: calibration of the model, gain of the model and of any rules beside it."""
    gains = {
        name: curves.gain(frame["label"], forecasts[name]) for name in ("model", "rules") if name in forecasts
    }
    bins = curves.calibration(frame["label"], forecasts["model"], frame[entity])
    return {"calibration": bins, "gain": gains}


Forecasted = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, learners.LogOddsBlend]
"""Rows with their labels, every forecaster's probabilities of them, and the rows and model they came from."""


def evaluate(snapshot: pd.DataFrame, question: Question, learner: str, most: int) -> Evaluation | None:
    """Grade the learner on rows that it has not seen; None where there is no fold to grade it on.

    Raises
    ------
    HopelessLabel : a static question, and too few entities of one class in a fold's training rows
    """
    if question.kind == STATIC:
        return _pooled(question, [], _out_of_fold(snapshot, question, learner), learner, OUT_OF_FOLD)
    used, found = _out_of_time(snapshot, question, learner, most)
    return _pooled(question, used, found, learner) if used else None


def _controls(forecasted: Forecasted, question: Question, learner: str) -> dict[str, Any]:
    """What a sound training must show beside its grade, on one fold."""
    test, _, train, model = forecasted
    columns = feature_columns(train, question)
    auc = {
        when: metrics.measure(rows["label"], model.predict_proba(rows[columns])[:, 1])["auc"]
        for when, rows in (("trained", train), ("later", test))
    }
    company = depends_on_company(lambda rows: model.predict_proba(rows)[:, 1], test[columns])
    shuffled = shuffled_control(train, test, columns, question, learner)
    found = {"shuffled_auc": shuffled, "company": company}
    return found | {f"auc_{when}": value for when, value in auc.items()}


def _out_of_fold(snapshot: pd.DataFrame, question: Question, learner: str) -> list[Forecasted]:
    """Every row by a model that has not seen its entity."""
    fold = entity_folds(snapshot[question.entity])
    return [
        _forecasted(snapshot[fold != number], snapshot[fold == number], question, learner)
        for number in np.unique(fold)
    ]


def _out_of_time(
    snapshot: pd.DataFrame, question: Question, learner: str, most: int
) -> tuple[list[Fold], list[Forecasted]]:
    """Every fold's later as_of by a model of the as_ofs that were known by then."""
    snapshot = snapshot.assign(as_of=pd.to_datetime(snapshot["as_of"]).dt.date)
    used, found = [], []
    for fold in folds(sorted(snapshot["as_of"].unique()), question.horizon, most):
        train = snapshot[snapshot["as_of"].isin(fold.train)]
        test = snapshot[snapshot["as_of"] == fold.test]
        if test["label"].nunique() < 2:
            continue
        try:
            found.append(_forecasted(train, test, question, learner))
        except learners.HopelessLabel:
            continue  # too few in an early fold; the refit on all as_ofs is what may refuse
        used.append(fold)
    return used, found


def _forecasted(train: pd.DataFrame, test: pd.DataFrame, question: Question, learner: str) -> Forecasted:
    refuse_overlap(train, test, question)
    columns = feature_columns(train, question)
    model = learners.fit(learner, train[columns], train["label"], train[question.entity])
    return test, scores(model, test, question, float(train["label"].mean())), train, model


def _pooled(
    question: Question, used: list[Fold], found: list[Forecasted], learner: str, caveat: str = ""
) -> Evaluation:
    test = pd.concat([rows for rows, *_ in found])
    forecast = pd.concat([forecasts for _, forecasts, *_ in found])
    differences = {
        peer: metrics.paired_difference(
            test["label"], forecast["model"], forecast[peer], test[question.entity], "log_loss"
        )
        for peer in ("rules", "constant")
        if peer in forecast
    }
    entity = question.entity
    report, curved = graded(test, forecast, entity), drawn(test, forecast, entity)
    held_out = pd.concat([test[[entity, "as_of", "label"]], forecast], axis=1).reset_index(drop=True)
    held_out["as_of"] = pd.to_datetime(held_out["as_of"])
    controls = _controls(found[0], question, learner)  # the newest day
    return Evaluation(report, used, differences, curved, held_out, caveat, controls)
