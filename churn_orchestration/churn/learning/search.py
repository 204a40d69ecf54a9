"""What a search tries: families of learners, and how much their members may learn, judged on later
rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from churn_orchestration.churn import learners
from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.capacity import Capacity, HopelessLabel, scarce_entities
from churn_orchestration.churn.early_stopping import MOST_TREES, loss_by_tree
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.recipe import Recipe
from churn_orchestration.churn.splits import Fold, folds

if TYPE_CHECKING:
    import optuna

MOST_SPLITS = 3
FRAMES, LIBRARIES_GB = 4, 0.5  # what a trial needs: so many times its rows, and what libraries take


class Setting(NamedTuple):
    """A key of LEARNERS, and how much its members may learn; None: by the size of the evidence."""

    learner: str
    capacity: Capacity | None = None


@dataclass(frozen=True)
class Rows:
    """What a search learns from: rows with label, the columns of features, the splits that judge,
    and the purchase processes as of a `Recipe`.
    """

    frame: pd.DataFrame
    entity: str
    features: list[str]
    splits: list[Fold]
    processes: Mapping[pd.Timestamp, PurchaseProcess]

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        entity: str,
        features: list[str],
        horizon: Horizon,
        graded: int,
        processes: Mapping[pd.Timestamp, PurchaseProcess],
    ) -> "Rows | None":
        """The rows known before the oldest day on which the candidate is graded; None: no split is
        left.

        So a candidate is graded on days that its search has not seen either.
        """
        frame = frame.assign(as_of=pd.to_datetime(frame["as_of"]).dt.date)
        as_ofs = sorted(frame["as_of"].unique())
        tests = folds(as_ofs, horizon, graded)
        known = list(purged(as_ofs, tests[-1].test, horizon)) if tests else []
        splits = [
            split
            for split in folds(known, horizon, len(known))
            if _learnable(frame[frame["as_of"].isin(split.train)], entity)
            and frame.loc[frame["as_of"] == split.test, "label"].nunique() == 2
        ][:MOST_SPLITS]
        if not splits:
            return None
        used = {day for split in splits for day in (split.test, *split.train)}
        columns = [entity, "as_of", "label", "label_known_on", *features]
        rows = frame.loc[frame["as_of"].isin(used), columns].reset_index(drop=True)
        earlier = {day: process for day, process in processes.items() if day.date() <= max(used)}
        return cls(rows, entity, features, splits, earlier)

    def needs_gb(self) -> float:
        """The memory that a trial is known to need."""
        return LIBRARIES_GB + FRAMES * len(self.frame) * len(self.features) * 8 / 1e9

    def pairs(self) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """The rows that train and the rows that judge, of each split."""
        for split in self.splits:
            yield (
                self.frame[self.frame["as_of"].isin(split.train)],
                self.frame[self.frame["as_of"] == split.test],
            )

    def usual(self) -> Capacity:
        """The capacity by the size of the evidence."""
        label, ids = self.frame["label"].to_numpy(bool), self.frame[self.entity].to_numpy()
        return Capacity.of(len(self.frame), scarce_entities(label, ids))

    def judged(self) -> pd.DataFrame:
        """The rows of all splits that judge, as forecasts are kept."""
        return pd.concat([test for _, test in self.pairs()])


def _learnable(rows: pd.DataFrame, entity: str) -> bool:
    try:
        scarce_entities(rows["label"].to_numpy(bool), rows[entity].to_numpy())
    except HopelessLabel:
        return False
    return True


def tried(trial: "optuna.Trial", rows: Rows, setting: Setting) -> tuple[float, np.ndarray, Setting]:
    """Log loss and forecasts of the rows that judge, and the setting with its number of trees."""
    if setting.capacity:
        trees = _trees(trial, rows, setting.learner, setting.capacity)
        setting = setting._replace(capacity=setting.capacity._replace(trees=trees))
    recipe = Recipe(setting.learner, setting.capacity, rows.processes)
    forecasts = []
    for train, test in rows.pairs():
        on = pd.Timestamp(test["as_of"].iloc[0])
        model = recipe.fit(train, rows.features, rows.entity, on)
        forecasts.append(model.predict_proba(test[rows.features])[:, 1])
    forecast = np.concatenate(forecasts)
    return metrics.measure(rows.judged()["label"], forecast)["log_loss"], forecast, setting


def _trees(trial: "optuna.Trial", rows: Rows, learner: str, capacity: Capacity) -> int:
    """The number of trees whose log loss, mean over the splits, is lowest; each is stopped
    early.
    """
    import optuna

    members = [
        member
        for _, member in learners.LEARNERS[learner](capacity._replace(trees=MOST_TREES)).members
    ]
    boosted = next(
        (member for member in members if isinstance(member, LGBMClassifier | XGBClassifier)), None
    )
    if boosted is None:
        return capacity.trees
    losses = []
    for step, (train, test) in enumerate(rows.pairs()):
        seen, later = (
            (side[rows.features].astype(float), side["label"].to_numpy(bool))
            for side in (train, test)
        )
        losses.append(loss_by_tree(boosted, seen, later))
        trial.report(float(np.mean([loss.min() for loss in losses])), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    shortest = min(map(len, losses))
    return int(np.mean([loss[:shortest] for loss in losses], axis=0).argmin()) + 1


class Range(NamedTuple):
    """Where a parameter is sought: between two numbers, on a logarithmic scale or not."""

    low: float
    high: float
    log: bool = True


RANGES: Mapping[str, Mapping[str, Range]] = MappingProxyType(
    {
        "logistic": {"c": Range(1e-4, 10)},
        "trees": {"leaf_rows": Range(5, 2_000), "columns": Range(0.2, 1, log=False)},
        "boosted": {"leaves": Range(2, 64), "rate": Range(0.01, 0.2), "l2": Range(0.1, 100)},
    }
)
"""What is sought of which members."""


def _ranges(learner: str) -> dict[str, Range]:
    """The parameters that a family's members have, each with where it is sought."""
    members = {name for name, _ in learners.LEARNERS[learner](Capacity(1, 1)).members}
    result = dict(RANGES["logistic"]) if "logistic" in members else {}
    if members - {"logistic"}:
        result |= RANGES["trees"]
    if members & {"lightgbm", "xgboost"}:
        result |= RANGES["boosted"]
    return result


def parameters(learner: str, capacity: Capacity) -> dict[str, str | float]:
    """A setting as a trial of it is enqueued."""
    sought = {name: getattr(capacity, name) for name in _ranges(learner)}
    return {"learner": learner, **sought}


def suggested(trial: "optuna.Trial") -> Setting:
    """The setting that a trial samples: a family first, then how much it may learn."""
    learner = trial.suggest_categorical("learner", list(learners.LEARNERS))
    begin, result = Capacity(trees=300, leaf_rows=200), dict[str, Any]()
    for name, (low, high, log) in _ranges(learner).items():
        if isinstance(getattr(begin, name), int):
            result[name] = trial.suggest_int(name, int(low), int(high), log=log)
        else:
            result[name] = trial.suggest_float(name, low, high, log=log)
    return Setting(learner, begin._replace(**result))
