"""What a sound training must show next to its grade; each control fails where a known mistake is
made.

Imports the learners, so import this module inside the function that trains.
"""

from collections.abc import Callable
from itertools import count

import numpy as np
import pandas as pd
from scipy.stats import t

from churn_orchestration.churn.capacity import HopelessLabel
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.protocol import MIN_ENTITIES
from churn_orchestration.churn.question.labels import STATIC, Question
from churn_orchestration.churn.recipe import Recipe, fit

SEED = 20_111_209
CONTROL_ROWS, SHUFFLES = 3_000, 8


def refuse_overlap(train: pd.DataFrame, test: pd.DataFrame, question: Question) -> None:
    """Refuse to grade on rows that overlap the training rows. Raises OverlapError that says how.

    Of a static question those of the same entity; else those whose outcome was not known yet at the
    as_of that is graded, such as a random split leaves.
    """
    if question.kind == STATIC:
        if shared := len(
            np.intersect1d(train[question.entity].unique(), test[question.entity].unique())
        ):
            raise OverlapError(f"{shared} entities are both trained and graded on: split by entity")
        return
    first = pd.to_datetime(test["as_of"]).min()
    early = pd.to_datetime(train["label_known_on"]) > first
    if early.any():
        raise OverlapError(
            f"{early.sum()} of {len(train)} training rows have an outcome that was not known on "
            f"{first.date()}, the first day that is graded: split by as_of, leave out what had not "
            "matured"
        )


class OverlapError(ValueError):
    """Training rows overlap the rows that a model is graded on."""


def shuffled_control(
    train: pd.DataFrame,
    test: pd.DataFrame,
    columns: list[str],
    question: Question,
    recipe: Recipe,
) -> dict[str, float]:
    """AUC of the same recipe where the labels it learns from are shuffled: 0.5 lies within, or it
    leaks.

    Labels change places among entities, all of an entity's as_ofs together. One shuffle says
    little: where few features are strong, chance makes it rank well or badly. So the mean of
    SHUFFLES is judged, by an interval of 99.9 % (Student): one sound training in a thousand is
    called broken.
    """
    rng = np.random.default_rng(SEED)
    train, test = _thinned(train), _thinned(test)
    codes, aucs = pd.factorize(train[question.entity])[0], list[float]()
    for attempt in count():
        if len(aucs) == SHUFFLES:
            break
        if attempt == 100 * SHUFFLES:
            raise HopelessLabel("too few entities of one outcome to shuffle the labels of")
        order = np.argsort(rng.random(codes.max() + 1)[codes], kind="stable")
        label = np.empty(len(train), bool)
        label[np.argsort(codes, kind="stable")] = train["label"].to_numpy(bool)[order]
        if (
            pd.unique(codes[label]).size < MIN_ENTITIES
            or pd.unique(codes[~label]).size < MIN_ENTITIES
        ):
            continue  # by chance too few have one of the outcomes: shuffle again
        model = fit(recipe.learner, train[columns], label, train[question.entity], recipe.capacity)
        aucs.append(metrics.measure(test["label"], model.predict_proba(test[columns])[:, 1])["auc"])
    spread = np.std(aucs, ddof=1) / SHUFFLES**0.5
    mean, reach = float(np.mean(aucs)), float(t.ppf(0.9995, SHUFFLES - 1) * spread)
    return {"value": mean, "low": mean - reach, "high": mean + reach}


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """About CONTROL_ROWS of the rows, evenly; all where that would leave few of one outcome."""
    some = rows.iloc[:: -(-len(rows) // CONTROL_ROWS)]
    return some if some["label"].value_counts().min() >= 5 * MIN_ENTITIES else rows


def depends_on_company(
    forecast: Callable[[pd.DataFrame], np.ndarray], frame: pd.DataFrame
) -> float:
    """By how much a row's forecast moves with the rows next to it; 0 of a model that is only
    applied.

    An encoder or scaler that is fitted again on what is scored gives the same customer another risk
    in another company.
    """
    some = frame.iloc[: max(1, len(frame) // 3)]
    return float(np.abs(forecast(some) - forecast(frame)[: len(some)]).max())
