"""How a model is made of a snapshot: how much its members learn, and how they are weighed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import clone

from churn_orchestration.churn.early_stopping import MOST_TREES, Boosted, best_by_fold
from churn_orchestration.churn.learners import (
    BLEND,
    LEARNERS,
    STACK,
    Capacity,
    HopelessLabel,
    LogOddsBlend,
)
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.protocol import MIN_ENTITIES, PROCESS
from churn_orchestration.churn.splits import FOLD_SEED, entity_folds

WEIGHED_DAYS, WEIGHED_ROWS = 3, 100_000
"""The members of a blend are weighed on so many days, and on so many rows of each."""
NEAR = 0.3
"""Log loss that a blend must gain to move its weights by 1 from the usual ones, squared."""
NEAR_ROWS = 10
"""The same where rows of the same day weigh, as a log likelihood: divided by their number."""
FOLDED_ROWS = 20_000  # the capacity is chosen in folds of so many rows
FOLDED_LEAVES, FOLDED_LEAF_ROWS, FOLDED_RATE = (4, 8, 16, 31), 20, 0.05
LEAST_WEIGHT = 0.02  # a member of less says nothing that anybody would miss


@dataclass(frozen=True)
class Recipe:
    """How the models of a question are made.

    Parameters
    ----------
    learner : a key of LEARNERS
    capacity : how much the members may learn, as a search has found; None: by the size of the
        evidence
    processes : purchase processes, each by the day up to whose end the histories are that it is
        fitted to; a blend has the newest one as a member
    """

    learner: str
    capacity: Capacity | None = None
    processes: Mapping[pd.Timestamp, PurchaseProcess] = field(default_factory=dict)

    def fit(
        self, rows: pd.DataFrame, columns: list[str], entity: str, on: pd.Timestamp | None = None
    ) -> LogOddsBlend:
        """Fit to rows of a snapshot; the members of a blend are weighed on its newest as_ofs.

        Parameters
        ----------
        rows : ``columns``, ``entity``, label, as_of and label_known_on of one or more as_ofs
        columns : the features, NaN = never or undefined
        on : the day of the forecast, if it lies before the newest process

        Raises
        ------
        HopelessLabel, ValueError : see `fit`
        """
        splits, capacity, near = self._splits(rows, entity), self.capacity, NEAR
        if _is_static(rows):
            near = NEAR_ROWS / len(rows)
            if capacity is None:
                capacity = _by_folds(self.learner, rows[columns], rows["label"], splits)
        return fit(
            self.learner, rows[columns], rows["label"], rows[entity], capacity,
            process=self.process(on), splits=splits, near=near,
        )  # fmt: skip

    def _splits(self, rows: pd.DataFrame, entity: str) -> list["Split"]:
        """The newest as_ofs, each with the rows whose outcome was known by then; of a static
        question, folds of entities.
        """
        days = pd.to_datetime(rows["as_of"]).to_numpy()
        known_on = pd.to_datetime(rows["label_known_on"]).to_numpy()
        if _is_static(rows):
            # Other folds than those that grade: of a fold's other rows, all five are filled.
            fold = entity_folds(rows[entity], FOLD_SEED + 1)
            return [Split(fold != number, fold == number) for number in np.unique(fold)]
        by_day = (
            Split((known_on <= day) & (days < day), days == day, self.process(day))
            for day in sorted(set(days), reverse=True)
        )
        return [split for split in by_day if split.train.any()][:WEIGHED_DAYS]

    def process(self, on: pd.Timestamp | None = None) -> PurchaseProcess | None:
        """The newest process whose histories end by a day; None: there is none."""
        days = [day for day in self.processes if on is None or day <= on]
        return self.processes[max(days)] if days else None


def _is_static(rows: pd.DataFrame) -> bool:
    """Whether the rows are of one day, and their outcomes of that day too."""
    days, known_on = pd.to_datetime(rows["as_of"]), pd.to_datetime(rows["label_known_on"])
    return bool((known_on == days).all()) and days.nunique() == 1


class Split(NamedTuple):
    """Rows that train and later rows that weigh, as n bools each; the process of the later day."""

    train: np.ndarray
    test: np.ndarray
    process: PurchaseProcess | None = None


def fit(
    name: str,
    features: pd.DataFrame,
    label: pd.Series,
    entity: pd.Series,
    capacity: Capacity | None = None,
    *,
    process: PurchaseProcess | None = None,
    splits: Sequence[Split] = (),
    near: float = NEAR,
) -> LogOddsBlend:
    """Fit the learner ``name`` to snapshots stacked row by row; two fits give the same bytes.

    Parameters
    ----------
    name : a key of LEARNERS
    features : n x f numbers; columns are feature names, NaN = never or undefined
    label : n bools or 0/1, True = churned; matched to the rows by position
    entity : n ids; one entity may have a row at several as_ofs
    capacity : how much the members may learn; None: by the size of the evidence
    process : a member of a blend that has learned from dates alone, and from no label
    splits : of a blend, on which its members are weighed; without any, they have the usual weights
    near : how close to the usual ones the weights stay, as NEAR

    Raises
    ------
    HopelessLabel : fewer than MIN_ENTITIES distinct entities that ever churned, or that ever stayed
    ValueError : unknown learner, lengths differ, or a label is null or not 0/1
    """
    if name not in LEARNERS:
        raise ValueError(f"unknown learner {name!r}; want one of {', '.join(LEARNERS)}")
    if not len(features) == len(label) == len(entity):
        raise ValueError(
            f"lengths differ: {len(features)} rows, {len(label)} labels, {len(entity)} entities"
        )
    churned = pd.Series(np.asarray(label))
    if not churned.isin([0, 1]).all():
        raise ValueError(
            "labels want 0/1 or bools without nulls, got "
            f"{churned[~churned.isin([0, 1])].iloc[0]!r}"
        )
    outcome, ids = churned.to_numpy(bool), np.asarray(entity)
    by_size = Capacity.of(len(features), scarce_entities(outcome, ids))
    model = LEARNERS[name](capacity or by_size)
    if name == STACK:
        model = _stacked(model, features, outcome, ids)
    elif name == BLEND:
        model = _weighed(_joined(model, process), features, outcome, ids, splits, near)
    return model.fit(features, outcome)


def _by_folds(
    name: str, features: pd.DataFrame, label: pd.Series, splits: Sequence[Split]
) -> Capacity | None:
    """The capacity that forecasts best the entities that it has not seen; None: by the size of the
    evidence, as the learner boosts no trees, or no split has both outcomes on either side.

    A table with one row a customer often holds what four leaves of 200 rows cannot say; how much,
    no rule of its size can tell.
    """
    churned = np.asarray(label, bool)
    rows = np.arange(len(churned)) % -(-len(churned) // FOLDED_ROWS) == 0
    masks = [(split.train & rows, split.test & rows) for split in splits]
    masks = [pair for pair in masks if all(len(set(churned[side])) == 2 for side in pair)]
    rate = churned.mean()
    row_weight, leaf_rows = 0.8 * rate * (1 - rate), min(FOLDED_LEAF_ROWS, len(churned) // 3)
    grid = [
        Capacity(MOST_TREES, leaf_rows, leaves, FOLDED_RATE, row_weight=row_weight)
        for leaves in FOLDED_LEAVES
    ]
    members = [_boosted(name, capacity) for capacity in grid]
    boosted = [member for member in members if member is not None]
    if not masks or not boosted:
        return None
    number, trees = best_by_fold(boosted, features, churned, masks)
    return grid[number]._replace(trees=trees)


def _boosted(name: str, capacity: Capacity) -> Boosted | None:
    """The first member of a learner that boosts trees; None: none does."""
    members = (member for _, member in LEARNERS[name](capacity).members)
    return next((member for member in members if isinstance(member, Boosted)), None)


def _joined(model: LogOddsBlend, process: PurchaseProcess | None) -> LogOddsBlend:
    """The blend with a process as a member, which has a fifth of the vote."""
    if process is None:
        return model
    assert model.weights is not None
    members = [*model.members, (PROCESS, process)]
    return LogOddsBlend(members, weights=(*model.weights, sum(model.weights) / 4))


def _weighed(
    model: LogOddsBlend,
    features: pd.DataFrame,
    churned: np.ndarray,
    ids: np.ndarray,
    splits: Sequence[Split],
    near: float,
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
        earlier = LogOddsBlend(members).fit(features[seen], churned[seen])
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


def _stacked(
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


def scarce_entities(churned: np.ndarray, entity: np.ndarray) -> int:
    """Distinct entities of the rarer outcome. Raises HopelessLabel below MIN_ENTITIES."""
    gone, stayed = pd.unique(entity[churned]).size, pd.unique(entity[~churned]).size
    if min(gone, stayed) < MIN_ENTITIES:
        raise HopelessLabel(
            f"want at least {MIN_ENTITIES} entities that churned and {MIN_ENTITIES} that stayed, "
            f"found {gone} and {stayed} in {len(churned)} rows"
        )
    return min(gone, stayed)
