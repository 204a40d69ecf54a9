"""Search for a family of learners, and how much its members may learn, in a budget of time, memory
and trials.

The trials run in a process of their own (``python -m`` this module, with a folder), so that the
budget holds whatever a trial does: the process is ended at the deadline, and the kernel bounds its
memory. Every finished trial is kept in a database: a search that was killed goes on where it was,
and ends as it would have ended. Ended by the number of trials, it gives the same result everywhere;
ended by its seconds, it depends on the machine, and says so.
"""

import datetime as dt
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lightgbm.basic import LightGBMError
from xgboost.core import XGBoostError

from churn_orchestration.churn.capacity import Capacity
from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.learners import LEARNERS
from churn_orchestration.churn.learning.search import Rows, Setting, parameters, suggested, tried
from churn_orchestration.churn.process.member import PurchaseProcess
from churn_orchestration.churn.question.settings import Budget
from churn_orchestration.churn.splits import Fold

if TYPE_CHECKING:
    import optuna

SEED = 20_111_209


def search(
    place: Path,
    rows: Rows,
    learner: str,
    budget: Budget,
    warm: Setting | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Search in the folder ``place``, or go on with what a killed search left there; its
    result.

    The first trial is ``learner`` with the fixed settings, the next are the other families with
    theirs, then what the champion was trained with (``warm``). A setting replaces the first only
    where its log loss on the same later rows is lower beyond chance (95 % interval of the paired
    difference).

    Returns
    -------
    ``learner`` and ``capacity`` (None: the fixed settings stay), ``difference``, ``losses``,
    ``leaderboard`` (the best setting of each family that was tried, with its log loss, its
    difference from the first and its seconds), ``trials``, ``seconds``, ``peak_gb``, ``ended_by``
    and the splits, all plain

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
        "processes": {
            str(day): process.get_params() for day, process in rows.processes.items()
        },
        "trials": budget.trials, "seconds": budget.seconds, "memory_gb": budget.memory_gb,
        "splits": [[str(split.test), [str(day) for day in split.train]] for split in rows.splits],
    }  # fmt: skip
    (place / "job.json").write_text(json.dumps(job))
    ended_by = _supervised(place, budget, log)
    result = _result(place, rows, learner) | {"ended_by": ended_by, "splits": job["splits"]}
    temporary = place / "found.writing"
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(done)
    shutil.rmtree(place / "forecasts", ignore_errors=True)
    (place / "rows.parquet").unlink()
    return result


class SearchError(ValueError):
    """A search was given less than one trial needs."""


def _supervised(place: Path, budget: Budget, log: Callable[[str], None]) -> str:
    """Run the trials in a process of their own until they or the seconds end; which of them did."""
    deadline = (
        time.monotonic() + budget.seconds - sum(_seconds(trial) for trial in finished(study(place)))
    )
    while time.monotonic() < deadline:
        before = len(finished(study(place)))
        command, lines_logged = (
            [
                sys.executable,
                "-m",
                "churn_orchestration.components.question.training.search",
                str(place),
            ],
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
                    lines_logged = _relayed(place, lines_logged, log)
            finally:
                worker.kill()
        if worker.returncode == 0:
            _relayed(place, lines_logged, log)
            return "trials"
        if time.monotonic() < deadline and len(finished(study(place))) == before:
            last_line = (place / "errors.txt").read_text().strip().splitlines()[-1:] or [
                "no error output"
            ]
            raise SearchError(
                f"the search ended in its trial {before} (code {worker.returncode}; its budget is "
                f"{budget.memory_gb} GB of memory): {last_line[0]}"
            )
    return "seconds"


def _relayed(place: Path, lines_logged: int, log: Callable[[str], None]) -> int:
    """Log the whole lines of progress beyond the first ``lines_logged``; how many there are
    now.
    """
    lines = (place / "progress.txt").read_text().split("\n")[:-1]
    for line in lines[lines_logged:]:
        log(line)
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


def _result(place: Path, rows: Rows, learner: str) -> dict[str, Any]:
    """What the finished trials of a search say: whether the best of them beats the fixed
    settings.
    """
    done = finished(study(place))
    complete = [trial for trial in done if trial.state.name == "COMPLETE"]
    summary: dict[str, Any] = {
        "learner": learner, "capacity": None, "difference": None, "trials": len(done),
        "seconds": round(sum(map(_seconds, done)), 1),
        "peak_gb": max((trial.user_attrs["peak_gb"] for trial in complete), default=None),
        "leaderboard": [],
    }  # fmt: skip
    if not complete:
        return summary
    fixed, judged = complete[0], rows.judged()
    plain = np.load(forecasts_of(place, fixed.number))
    best_first = sorted(complete, key=lambda trial: (trial.value, trial.number))
    of_family = dict[str, "optuna.trial.FrozenTrial"]()
    for trial in best_first:
        of_family.setdefault(trial.params["learner"], trial)
    for family, trial in of_family.items():
        row: dict[str, Any] = {
            "learner": family, "capacity": trial.user_attrs["capacity"], "log_loss": trial.value,
            "seconds": round(_seconds(trial), 2), "difference": None,
        }  # fmt: skip
        if trial.number != fixed.number:
            row["difference"] = metrics.paired_difference(
                judged["label"], np.load(forecasts_of(place, trial.number)), plain,
                judged[rows.entity], "log_loss",
            )  # fmt: skip
        summary["leaderboard"].append(row)
    best, *_ = summary["leaderboard"]
    summary["losses"] = {"fixed": fixed.value, "best": best["log_loss"]}
    summary["difference"] = best["difference"]
    if best["difference"] and best["difference"]["high"] < 0:
        summary |= {"learner": best["learner"], "capacity": best["capacity"]}
    return summary


def forecasts_of(place: Path, number: int) -> Path:
    """Where a trial keeps what it forecast of the rows that judge."""
    return place / "forecasts" / f"{number}.npy"


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
    processes = {
        pd.Timestamp(day): PurchaseProcess(**given) for day, given in job["processes"].items()
    }
    rows = Rows(
        pd.read_parquet(place / "rows.parquet"), job["entity"], job["features"], splits, processes
    )
    (place / "forecasts").mkdir(exist_ok=True)
    result, usual = study(place), rows.usual()
    others = [name for name in LEARNERS if name != job["learner"]]
    begin = [Setting(name) for name in (job["learner"], *others)]
    if job["warm"]:
        family, capacity = job["warm"]
        begin.append(Setting(family, Capacity(*capacity)))
    for killed in result.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        result.tell(killed.number, state=optuna.trial.TrialState.FAIL)
    while (number := len(finished(result))) < job["trials"]:
        result.sampler = optuna.samplers.TPESampler(seed=SEED + number)
        given = begin[number] if number < len(begin) else None
        if given and not result.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            result.enqueue_trial(parameters(given.learner, given.capacity or usual))
        trial = result.ask()
        sampled = suggested(trial)
        try:
            loss, forecasts, setting = tried(trial, rows, given or sampled)
        except (optuna.TrialPruned, MemoryError, LightGBMError, XGBoostError) as error:
            if not number:
                raise SearchError(
                    f"the fixed settings fail: {error or type(error).__name__}"
                ) from error
            result.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            np.save(forecasts_of(place, trial.number), forecasts)
            trial.set_user_attr("capacity", setting.capacity and list(setting.capacity))
            trial.set_user_attr("peak_gb", _peak_gb())
            result.tell(trial, loss)
        best = result.best_trial
        if best.number == trial.number or number % 10 == 0:
            [first, *_] = [done for done in finished(result) if done.state.name == "COMPLETE"]
            print(  # noqa: T201 - to the process that waits
                f"search: {number + 1} of {job['trials']} trials, best log loss {best.value:.5f}, "
                f"fixed settings {first.value:.5f}",
                flush=True,
            )


def _peak_gb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


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
