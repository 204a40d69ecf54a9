"""How much each member of a blend counts, by what it forecasts of rows that it has not learned."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import clone

from churn_orchestration.churn.capacity import HopelessLabel, scarce_entities
from churn_orchestration.churn.learners import Fits, LogOddsBlend
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.protocol import PROCESS
from churn_orchestration.churn.splits import entity_folds

NEAR = 0.3
"""Log loss that a blend must gain to move its weights by 1 from the usual ones, squared."""
WEIGHED_ROWS = 100_000  # of a split, at most
LEAST_WEIGHT = 0.02  # a member of less says nothing that anybody would miss


class Split(NamedTuple):
    """Rows that train and later rows that weigh, as n bools each; the process of the later day."""

    train: np.ndarray
    test: np.ndarray
    process: PurchaseProcess | None = None


def weighed(
    model: LogOddsBlend,
    features: pd.DataFrame,
    churned: np.ndarray,
    ids: np.ndarray,
    splits: Sequence[Split],
    near: float,
    fits: Fits | None = None,
) -> LogOddsBlend:
    """The model with the weights that forecast the later rows of the splits best, near its own.

    Between two seasons a base rate moves by more than good members differ, so that the weights that
    were best on a few days are a matter of luck: hence ``near``. A member that forecast worse than
    the churn rate of the rows it learned from is left out.
    """
    odds, outcomes, constants = [], [], []
    for split in splits:
        seen = _some_entities(split.train, ids)
        try:
            scarce_entities(churned[seen], ids[seen])
        except HopelessLabel:
            continue
        later = _some_entities(split.test, ids)
        members = [
            (name, split.process if name == PROCESS else member) for name, member in model.members
        ]
        if any(member is None for _, member in members):
            continue
        earlier = LogOddsBlend(members).fit(features[seen], churned[seen], fits)
        odds.append(earlier.member_log_odds(features[later]))
        outcomes.append(churned[later])
        constants.append(np.full(later.sum(), logit(churned[seen].mean())))
    if not odds:
        return model
    forecast, outcome = np.concatenate(odds, axis=1), np.concatenate(outcomes)
    bar = _log_loss(np.concatenate(constants), outcome)
    good = np.array([_log_loss(member, outcome) < bar for member in forecast])
    assert model.weights is not None
    usual = np.asarray(model.weights, float)
    if not good.any():
        return model  # no member has learned anything that held: the gate decides
    usual, forecast = usual[good] / usual[good].sum(), forecast[good]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, away = weights @ forecast, weights - usual
        gradient = forecast @ (expit(total) - outcome) / len(outcome) + 2 * near * away
        return _log_loss(total, outcome) + near * float(away @ away), gradient

    result = minimize(
        loss, usual, jac=True, bounds=[(0, 1)] * len(usual), method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 200},  # gains of 1e-5 are worth a step
        constraints={
            "type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(len(w))
        },
    )  # fmt: skip
    weights, used = result.x, result.x > LEAST_WEIGHT
    chosen = [member for member, well in zip(model.members, good, strict=True) if well]
    members = [member for member, counts in zip(chosen, used, strict=True) if counts]
    return LogOddsBlend(members, weights=weights[used].tolist())


def _log_loss(log_odds: np.ndarray, outcome: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(outcome, -log_odds, log_odds)).mean())


def _some_entities(rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The rows, or where they are more than WEIGHED_ROWS, those of a part of their entities."""
    if (parts := -(-rows.sum() // WEIGHED_ROWS)) == 1:
        return rows
    codes = pd.factorize(ids)[0]
    return rows & (codes % parts == 0)


def stacked(
    model: LogOddsBlend, features: pd.DataFrame, churned: np.ndarray, ids: np.ndarray
) -> LogOddsBlend:
    """The model with the weights >= 0, slope and intercept that fit its members' out-of-fold log
    odds best.

    Folds are of entities: a member has never seen the customer whose outcome weighs it.
    """
    fold = entity_folds(pd.Series(ids))
    odds = np.empty((len(model.members), len(features)))
    for number in np.unique(fold):
        seen, unseen = features[fold != number], features[fold == number]
        odds[:, fold == number] = (
            clone(model).fit(seen, churned[fold != number]).member_log_odds(unseen)
        )

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        total = parameters[:-1] @ odds + parameters[-1]
        error = expit(total) - churned
        gradient = np.append(odds @ error, error.sum())
        return _log_loss(total, churned), gradient / len(churned)

    begin = np.append(np.full(len(odds), 1 / len(odds)), 0.0)
    bounds = [(0, None)] * len(odds) + [(None, None)]
    result = minimize(loss, begin, jac=True, bounds=bounds, method="L-BFGS-B").x
    weights, used = result[:-1], result[:-1] > 0
    if not used.any():  # nothing is known of the outcome: every member counts for nothing
        return model.set_params(slope=0.0, intercept=float(result[-1]))
    members = [member for member, counts in zip(model.members, used, strict=True) if counts]
    return LogOddsBlend(members, weights[used].tolist(), float(weights.sum()), float(result[-1]))
