"""Out-of-time evaluation of a snapshot: models fitted on purged earlier as_ofs, graded on later ones.

Imports the learners, so import this module inside the function that trains.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from churn_orchestration.churn import curves, learners, metrics
from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.labels import Question

KEYS = ("as_of", "label", "label_known_on", "cutoff")
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


def feature_columns(snapshot: pd.DataFrame, question: Question) -> list[str]:
    """The columns a model may see: all but the entity, as_of, label and their dates."""
    return [name for name in snapshot.columns if name not in (question.entity, *KEYS)]


def scores(
    model: learners.LogOddsBlend, frame: pd.DataFrame, question: Question, base_rate: float
) -> pd.DataFrame:
    """Probabilities of the model, its members, the rules and a constant; the recency as a rank from 0 to 1.

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
    silence = frame[f"{question.activity.name}_days_since_last"]
    table = {"model": model.predict_proba(features)[:, 1]}
    if len(model.members_) > 1:
        table |= model.member_probabilities(features)
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
    """How the recipe did on later days: pooled report by forecaster, folds, paired differences, curves."""

    report: dict[str, dict[str, Any]]
    folds: list[Fold]
    differences: dict[str, dict[str, float]]
    curves: dict[str, Any]


def drawn(frame: pd.DataFrame, forecasts: pd.DataFrame, entity: str) -> dict[str, Any]:
    """The curves of the same rows: calibration of the model, gain of the model and of the rules beside it."""
    gains = {name: curves.gain(frame["label"], forecasts[name]) for name in ("model", "rules")}
    bins = curves.calibration(frame["label"], forecasts["model"], frame[entity])
    return {"calibration": bins, "gain": gains}


def evaluate(snapshot: pd.DataFrame, question: Question, learner: str, most: int) -> Evaluation | None:
    """Fit the learner for each fold and grade it on the fold's later as_of; None where no fold can be."""
    snapshot = snapshot.assign(as_of=pd.to_datetime(snapshot["as_of"]).dt.date)
    columns = feature_columns(snapshot, question)
    tests, forecasts, used = [], [], []
    for fold in folds(sorted(snapshot["as_of"].unique()), question.horizon, most):
        train = snapshot[snapshot["as_of"].isin(fold.train)]
        test = snapshot[snapshot["as_of"] == fold.test]
        if test["label"].nunique() < 2:
            continue
        try:
            model = learners.fit(learner, train[columns], train["label"], train[question.entity])
        except learners.HopelessLabel:
            continue  # too few in an early fold; the refit on all as_ofs is what may refuse
        tests.append(test)
        forecasts.append(scores(model, test, question, float(train["label"].mean())))
        used.append(fold)
    if not used:
        return None
    test, forecast = pd.concat(tests), pd.concat(forecasts)
    differences = {
        peer: metrics.paired_difference(
            test["label"], forecast["model"], forecast[peer], test[question.entity], "log_loss"
        )
        for peer in ("rules", "constant")
    }
    entity = question.entity
    return Evaluation(graded(test, forecast, entity), used, differences, drawn(test, forecast, entity))
