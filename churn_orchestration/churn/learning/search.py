"""Search for how much the members of a learner may learn, within a budget of time, memory and
trials.

The trials run in a process of their own, see ``churn.trials``, so that the budget holds whatever a
trial does: the process is ended at the deadline, and the kernel bounds its memory. Every finished
trial stands in a database: a search that was killed goes on where it was, and ends as it would have
ended. Ended by the number of trials, it finds the same again everywhere; ended by its seconds, it
depends on the machine, and says so.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from churn_orchestration.churn import learners
from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.learners import Capacity
from churn_orchestration.churn.question.settings import Budget
from churn_orchestration.churn.splits import Fold, folds

if TYPE_CHECKING:
    import optuna

MOST_SPLITS = 3
FRAMES, LIBRARIES_GB = (
    4,
    0.5,
)  # what a trial needs: so many times its rows, and what its libraries take


@dataclass(frozen=True)
class Rows:
    """What a search learns from: rows with label, the columns of features, and the splits that
    judge.
    """

    frame: pd.DataFrame
    entity: str
    features: list[str]
    splits: list[Fold]

    @classmethod
    def of(
        cls, frame: pd.DataFrame, entity: str, features: list[str], horizon: Horizon, graded: int
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
        rows = frame.loc[frame["as_of"].isin(used), [entity, "as_of", "label", *features]]
        return cls(rows.reset_index(drop=True), entity, features, splits)

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

    def evidence(self) -> tuple[int, int]:
        """How many rows there are, and distinct entities of the rarer outcome."""
        label, ids = self.frame["label"].to_numpy(bool), self.frame[self.entity].to_numpy()
        return len(self.frame), learners.scarce_entities(label, ids)

    def judged(self) -> pd.DataFrame:
        """The rows of all splits that judge, as forecasts are kept."""
        return pd.concat([test for _, test in self.pairs()])


def _learnable(rows: pd.DataFrame, entity: str) -> bool:
    try:
        learners.scarce_entities(rows["label"].to_numpy(bool), rows[entity].to_numpy())
    except learners.HopelessLabel:
        return False
    return True


def search(
    place: Path,
    rows: Rows,
    learner: str,
    budget: Budget,
    warm: Capacity | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Search in the folder ``place``, or go on with what a killed search left there; what was
    found.

    The first trial is the fixed settings, the second what the champion was trained with (``warm``).
    What is found replaces the fixed settings only where its log loss on the same later rows is
    lower beyond chance (95 % interval of the paired difference).

    Returns
    -------
    ``capacity`` (None: the fixed settings stand), ``difference``, ``losses``, ``trials``,
    ``seconds``, ``peak_gb``, ``ended_by`` and the splits, all plain

    Raises
    ------
    SearchError : the memory is less than a trial needs, known ahead or when it was tried
    """
    if (done := place / "found.json").exists():
        return dict(json.loads(done.read_text()))
    if (needs := rows.needs_gb()) > budget.memory_gb:
        raise SearchError(
            f"a trial on {len(rows.frame):,} rows x {len(rows.features)} features needs about "
            f"{needs:.1f} GB of memory, the budget is {budget.memory_gb} GB"
        )
    place.mkdir(parents=True, exist_ok=True)
    rows.frame.to_parquet(place / "rows.parquet", index=False)
    job = {
        "entity": rows.entity, "features": rows.features, "learner": learner, "warm": warm,
        "trials": budget.trials, "seconds": budget.seconds, "memory_gb": budget.memory_gb,
        "splits": [[str(split.test), [str(day) for day in split.train]] for split in rows.splits],
    }  # fmt: skip
    (place / "job.json").write_text(json.dumps(job))
    ended_by = _supervised(place, budget, tell)
    found = _found(place, rows) | {"ended_by": ended_by, "splits": job["splits"]}
    beside = place / "found.writing"
    beside.write_text(json.dumps(found, indent=1))
    beside.replace(done)
    shutil.rmtree(place / "forecasts", ignore_errors=True)
    (place / "rows.parquet").unlink()
    return found


class SearchError(ValueError):
    """A search was given less than one trial needs."""


def _supervised(place: Path, budget: Budget, tell: Callable[[str], None]) -> str:
    """Run the trials in a process of their own until they or the seconds end; which of them did."""
    deadline = (
        time.monotonic() + budget.seconds - sum(_seconds(trial) for trial in finished(study(place)))
    )
    while time.monotonic() < deadline:
        before = len(finished(study(place)))
        command, said = (
            [sys.executable, "-m", "churn_orchestration.churn.learning.trials", str(place)],
            0,
        )
        with (
            (place / "progress.txt").open("w") as progress,
            (place / "errors.txt").open("w") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=progress, stderr=errors
            ) as worker,
        ):
            try:
                while worker.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.1)
                    said = _relayed(place, said, tell)
            finally:
                worker.kill()
        if worker.returncode == 0:
            _relayed(place, said, tell)
            return "trials"
        if time.monotonic() < deadline and len(finished(study(place))) == before:
            told = (place / "errors.txt").read_text().strip().splitlines()[-1:] or [
                "it said nothing"
            ]
            raise SearchError(
                f"the search ended in its trial {before} (code {worker.returncode}; its budget is "
                f"{budget.memory_gb} GB of memory): {told[0]}"
            )
    return "seconds"


def _relayed(place: Path, said: int, tell: Callable[[str], None]) -> int:
    """Tell the whole lines of progress beyond the first ``said``; how many there are now."""
    lines = (place / "progress.txt").read_text().split("\n")[:-1]
    for line in lines[said:]:
        tell(line)
    return len(lines)


def study(place: Path) -> "optuna.Study":
    """The study of a search, with all its trials; made where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=f"sqlite:///{place / 'study.db'}",
        study_name="capacity",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )


def finished(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """The trials that were completed, or given up as worse than most or beyond the memory, in
    order.
    """
    return [trial for trial in study.get_trials() if trial.state.name in ("COMPLETE", "PRUNED")]


def _seconds(trial: "optuna.trial.FrozenTrial") -> float:
    return trial.duration.total_seconds() if trial.duration else 0.0


def _found(place: Path, rows: Rows) -> dict[str, Any]:
    """What the finished trials of a search say: whether the best of them beats the fixed
    settings.
    """
    done = finished(study(place))
    complete = [trial for trial in done if trial.state.name == "COMPLETE"]
    told: dict[str, Any] = {
        "capacity": None, "difference": None, "trials": len(done),
        "seconds": round(sum(map(_seconds, done)), 1),
        "peak_gb": max((trial.user_attrs["peak_gb"] for trial in complete), default=None),
    }  # fmt: skip
    if not complete:
        return told
    fixed, best = complete[0], min(complete, key=lambda trial: (trial.value, trial.number))
    told["losses"] = {"fixed": fixed.value, "best": best.value}
    if best.number != fixed.number:
        judged = rows.judged()
        better, plain = (np.load(forecasts_of(place, trial.number)) for trial in (best, fixed))
        difference = metrics.paired_difference(
            judged["label"], better, plain, judged[rows.entity], "log_loss"
        )
        told["difference"] = difference
        told["best"] = best.user_attrs["capacity"]
        if difference["high"] < 0:
            told["capacity"] = best.user_attrs["capacity"]
    return told


def forecasts_of(place: Path, number: int) -> Path:
    """Where a trial keeps what it forecast of the rows that judge."""
    return place / "forecasts" / f"{number}.npy"
