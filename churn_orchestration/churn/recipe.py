"""How a model is made of a snapshot: how much its members learn, and how they are weighed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from churn_orchestration.churn.capacity import Capacity, scarce_entities
from churn_orchestration.churn.early_stopping import MOST_TREES, Boosted, best_by_fold
from churn_orchestration.churn.learners import BLEND, LEARNERS, STACK, Fits, LogOddsBlend
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.protocol import PROCESS
from churn_orchestration.churn.splits import FOLD_SEED, entity_folds
from churn_orchestration.churn.weights import NEAR, Split, stacked, weighed

WEIGHED_DAYS = 3  # the members of a blend are weighed on so many days
PROCESS_VOTE, EVEN = 0.2, 100
"""Usual vote of a process, and from how few entities of the rarer outcome on it has half of it."""
NEAR_ROWS = 10
"""As NEAR where rows of the same day weigh, as a log likelihood: divided by their number."""
FOLDED_ROWS = 20_000  # the capacity is chosen in folds of so many rows
FOLDED_LEAVES, FOLDED_LEAF_ROWS, FOLDED_RATE = (4, 8, 16, 31), 20, 0.05


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
    fits : members that were fitted before
    """

    learner: str
    capacity: Capacity | None = None
    processes: Mapping[pd.Timestamp, PurchaseProcess] = field(default_factory=dict)
    fits: Fits = field(default_factory=Fits, compare=False)

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
            process=self.process(on), splits=splits, near=near, fits=self.fits,
        )  # fmt: skip

    def _splits(self, rows: pd.DataFrame, entity: str) -> list[Split]:
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
    fits: Fits | None = None,
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
    fits : members that were fitted before

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
    scarce = scarce_entities(outcome, ids)
    by_size = Capacity.of(len(features), scarce)
    model = LEARNERS[name](capacity or by_size)
    if name == STACK:
        model = stacked(model, features, outcome, ids)
    elif name == BLEND:
        model = weighed(_joined(model, process, scarce), features, outcome, ids, splits, near, fits)
    return model.fit(features, outcome, fits)


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


def _joined(model: LogOddsBlend, process: PurchaseProcess | None, scarce: int) -> LogOddsBlend:
    """The blend with a process as a member: it has a fifth of the vote, and more where the others
    have few entities of the rarer outcome to learn from, for it learns from everybody's dates.
    """
    if process is None:
        return model
    assert model.weights is not None
    vote = max(PROCESS_VOTE, EVEN / (EVEN + scarce))
    members = [*model.members, (PROCESS, process)]
    return LogOddsBlend(members, weights=(*model.weights, sum(model.weights) * vote / (1 - vote)))
