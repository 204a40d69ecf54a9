"""The trials of a search, as a program: ``python -m churn_orchestration.churn.learning.trials
FOLDER``.
"""

import datetime as dt
import json
import os
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, early_stopping
from lightgbm.basic import LightGBMError
from sklearn.base import clone
from xgboost import XGBClassifier
from xgboost.core import XGBoostError

from churn_orchestration.churn import learners
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.learners import Capacity
from churn_orchestration.churn.learning.search import (
    Rows,
    SearchError,
    finished,
    forecasts_of,
    study,
)
from churn_orchestration.churn.splits import Fold

if TYPE_CHECKING:
    import optuna

SEED = 20_111_209
MOST_TREES, PATIENCE = 1_000, 50


def _work(place: Path) -> None:
    """Run trials until there are as many as the job wants; each sampled as if none had ever been
    killed.
    """
    import optuna

    job = json.loads((place / "job.json").read_text())
    _bound_memory(job["memory_gb"])
    splits = [
        Fold(dt.date.fromisoformat(test), tuple(map(dt.date.fromisoformat, train)))
        for test, train in job["splits"]
    ]
    rows = Rows(pd.read_parquet(place / "rows.parquet"), job["entity"], job["features"], splits)
    (place / "forecasts").mkdir(exist_ok=True)
    found, members = study(place), _members(job["learner"])
    for killed in found.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        found.tell(killed.number, state=optuna.trial.TrialState.FAIL)
    while (number := len(finished(found))) < job["trials"]:
        found.sampler = optuna.samplers.TPESampler(seed=SEED + number)
        given = {0: Capacity.of(*rows.evidence()), 1: job["warm"] and Capacity(*job["warm"])}.get(
            number
        )
        if given and not found.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            found.enqueue_trial(_parameters(given, members))
        trial = found.ask()
        capacity = _suggested(trial, members)
        try:
            loss, forecasts, capacity = _tried(
                trial, rows, job["learner"], capacity, fixed=not number
            )
        except (optuna.TrialPruned, MemoryError, LightGBMError, XGBoostError) as error:
            if not number:
                raise SearchError(
                    f"the fixed settings fail: {error or type(error).__name__}"
                ) from error
            found.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            np.save(forecasts_of(place, trial.number), forecasts)
            trial.set_user_attr("capacity", list(capacity))
            trial.set_user_attr("peak_gb", _peak_gb())
            found.tell(trial, loss)
        best = found.best_trial
        if best.number == trial.number or number % 10 == 0:
            [first, *_] = [done for done in finished(found) if done.state.name == "COMPLETE"]
            print(  # noqa: T201 - to the process that waits
                f"search: {number + 1} of {job['trials']} trials, best log loss {best.value:.5f}, "
                f"fixed settings {first.value:.5f}",
                flush=True,
            )


def _tried(
    trial: "optuna.Trial", rows: Rows, learner: str, capacity: Capacity, *, fixed: bool
) -> tuple[float, np.ndarray, Capacity]:
    """Log loss and forecasts of the rows that judge, and the capacity with its number of trees."""
    if not fixed:
        capacity = capacity._replace(trees=_trees(trial, rows, learner, capacity))
    forecasts = []
    for train, test in rows.pairs():
        model = learners.fit(
            learner,
            train[rows.features],
            train["label"],
            train[rows.entity],
            None if fixed else capacity,
        )
        forecasts.append(model.predict_proba(test[rows.features])[:, 1])
    forecast = np.concatenate(forecasts)
    return metrics.measure(rows.judged()["label"], forecast)["log_loss"], forecast, capacity


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
        losses.append(_by_tree(clone(boosted), train, test, rows.features))
        trial.report(float(np.mean([loss.min() for loss in losses])), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    shortest = min(map(len, losses))
    return int(np.mean([loss[:shortest] for loss in losses], axis=0).argmin()) + 1


def _by_tree(
    member: LGBMClassifier | XGBClassifier,
    train: pd.DataFrame,
    test: pd.DataFrame,
    features: list[str],
) -> np.ndarray:
    """Log loss of the rows that judge after 1, 2, ... trees, until it has not fallen for PATIENCE
    of them.
    """
    unseen, outcome = test[features].astype(float), test["label"].astype(int)
    table, label = train[features].astype(float), train["label"].astype(int)
    if isinstance(member, LGBMClassifier):
        member.fit(
            table, label, eval_X=unseen, eval_y=outcome, eval_metric="binary_logloss",
            callbacks=[early_stopping(PATIENCE, verbose=False)],
        )  # fmt: skip
        [curve] = member.evals_result_.values()
        return np.array(curve["binary_logloss"])
    member.set_params(early_stopping_rounds=PATIENCE, eval_metric="logloss")
    member.fit(table, label, eval_set=[(unseen, outcome)], verbose=False)
    [curve] = member.evals_result().values()
    return np.array(curve["logloss"])


def _peak_gb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


def _members(learner: str) -> set[str]:
    return {name for name, _ in learners.LEARNERS[learner](Capacity(1, 1)).members}


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


def _ranges(members: set[str]) -> dict[str, Range]:
    found = dict(RANGES["logistic"]) if "logistic" in members else {}
    if members - {"logistic"}:
        found |= RANGES["trees"]
    if members & {"lightgbm", "xgboost"}:
        found |= RANGES["boosted"]
    return found


def _parameters(capacity: Capacity, members: set[str]) -> dict[str, float]:
    return {name: getattr(capacity, name) for name in _ranges(members)}


def _suggested(trial: "optuna.Trial", members: set[str]) -> Capacity:
    begin, found = Capacity(trees=300, leaf_rows=200), dict[str, Any]()
    for name, (low, high, log) in _ranges(members).items():
        if isinstance(getattr(begin, name), int):
            found[name] = trial.suggest_int(name, int(low), int(high), log=log)
        else:
            found[name] = trial.suggest_float(name, low, high, log=log)
    return begin._replace(**found)


def _bound_memory(gigabytes: float) -> None:
    """Bound what this process may allocate; Linux keeps to it, other systems may not."""
    mapped = 0
    if (statm := Path("/proc/self/statm")).exists():
        mapped = int(statm.read_text().split()[2]) * resource.getpagesize()  # of files: libraries
    most = max(int(gigabytes * 1e9) - mapped, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it ended."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work(Path(sys.argv[1]))
