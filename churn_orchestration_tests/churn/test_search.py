"""The search: what it may see, what it finds, its budget, and that a kill changes nothing."""

import datetime as dt
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.capacity import Capacity
from churn_orchestration.churn.learners import LEARNERS
from churn_orchestration.churn.learning.search import Rows, Setting
from churn_orchestration.churn.question.settings import Budget
from churn_orchestration.components.question.training.search import (
    SearchError,
    finished,
    search,
    study,
)

MONTHS = [dt.date(2023 + month // 12, month % 12 + 1, 1) for month in range(9)]
HORIZON = Horizon(60)
FAMILIES = len(LEARNERS)


def snapshot(customers: int = 200, *, crossed: bool = False) -> pd.DataFrame:
    """A snapshot whose label is linear in x, or rises only where x and z have one sign."""
    rng = np.random.default_rng(5)
    frames = []
    for as_of in MONTHS:
        x, z = rng.normal(size=(2, customers))
        odds = 3.0 * np.sign(x * z) if crossed else 1.5 * x
        label = rng.random(customers) < 1 / (1 + np.exp(-odds))
        frames.append(
            pd.DataFrame(
                {
                    "id": np.arange(customers),
                    "as_of": as_of,
                    "label": label,
                    "label_known_on": HORIZON.label_known_on(as_of),
                    "x": x,
                    "z": z,
                }
            )  # fmt: skip
        )
    return pd.concat(frames, ignore_index=True)


def rows_of(frame: pd.DataFrame) -> Rows:
    rows = Rows.of(frame, "id", ["x", "z"], HORIZON, 1, {})
    assert rows is not None
    return rows


def ask(
    place: Path, rows: Rows, learner: str, budget: Budget, warm: Setting | None = None
) -> dict[str, Any]:
    return search(place, rows, learner, budget, warm, lambda _: None)


def test_a_search_sees_only_what_was_known_before_the_oldest_day_that_is_graded() -> None:
    rows = Rows.of(snapshot(), "id", ["x", "z"], HORIZON, 2, {})
    assert rows is not None
    oldest_graded = MONTHS[-2]
    assert max(HORIZON.label_known_on(day) for day in rows.frame["as_of"]) <= oldest_graded
    for split in rows.splits:
        assert max(HORIZON.label_known_on(day) for day in split.train) <= split.test
    assert [len(test) for _, test in rows.pairs()] == [200] * len(rows.splits)


def test_without_a_split_before_the_graded_days_there_is_nothing_to_search_on() -> None:
    frame = snapshot()
    assert Rows.of(frame[frame["as_of"] < MONTHS[4]], "id", ["x", "z"], HORIZON, 2, {}) is None


def test_where_small_trees_are_too_small_a_search_finds_larger_ones(tmp_path: Path) -> None:
    result = ask(tmp_path, rows_of(snapshot(crossed=True)), "lightgbm", Budget(300, 4, 16))
    assert (result["ended_by"], result["trials"]) == ("trials", 16)
    assert result["difference"]["high"] < 0
    assert result["losses"]["best"] < result["losses"]["fixed"] - 0.02
    assert Capacity(*result["capacity"]).leaf_rows < 200


def test_another_family_that_forecasts_better_is_chosen(tmp_path: Path) -> None:
    result = ask(tmp_path, rows_of(snapshot()), "random_forest", Budget(300, 4, FAMILIES))
    assert result["learner"] in ("logistic", "blend", "stack")
    assert (result["capacity"], result["difference"]["high"] < 0) == (None, True)


def test_where_the_fixed_settings_do_as_well_they_stay(tmp_path: Path) -> None:
    frame = snapshot()
    frame["x"] = frame["z"]  # which says nothing
    result = ask(tmp_path, rows_of(frame), "lightgbm", Budget(300, 4, FAMILIES + 2))
    assert (result["learner"], result["capacity"]) == ("lightgbm", None)
    assert result["losses"]["best"] <= result["losses"]["fixed"]


WARM = Setting("xgboost", Capacity(50, leaf_rows=77, leaves=9, rate=0.1, columns=0.5, l2=2.0))


@pytest.fixture(scope="module")
def sought(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A search of all families, the champion's setting and one more: its place, and result."""
    place = tmp_path_factory.mktemp("sought")
    return place, ask(place, rows_of(snapshot()), "lightgbm", Budget(300, 4, FAMILIES + 2), WARM)


def test_the_first_trials_are_the_fixed_settings_of_each_family_and_the_champions(
    sought: tuple[Path, dict[str, Any]],
) -> None:
    first, *others, champions, _ = finished(study(sought[0]))
    assert first.params["learner"] == "lightgbm"
    assert (first.params["leaves"], first.params["rate"]) == (4, 0.03)
    assert {trial.params["learner"] for trial in others} == set(LEARNERS) - {"lightgbm"}
    assert champions.params == {
        "learner": "xgboost", "leaf_rows": 77, "leaves": 9, "rate": 0.1, "columns": 0.5, "l2": 2.0,
    }  # fmt: skip


def test_the_leaderboard_ranks_the_best_setting_of_every_family(
    sought: tuple[Path, dict[str, Any]],
) -> None:
    place, result = sought
    board = result["leaderboard"]
    assert {row["learner"] for row in board} == set(LEARNERS)
    assert [row["log_loss"] for row in board] == sorted(row["log_loss"] for row in board)
    trials = finished(study(place))
    for row in board:
        of_family = [trial.value for trial in trials if trial.params["learner"] == row["learner"]]
        assert row["log_loss"] == min(value for value in of_family if value is not None)
    assert all(row["seconds"] > 0 for row in board)


def test_what_was_found_is_not_sought_again(sought: tuple[Path, dict[str, Any]]) -> None:
    place, result = sought
    assert ask(place, rows_of(snapshot()), "lightgbm", Budget(0, 0, 0)) == result


def test_the_seconds_end_a_search_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    rows = rows_of(snapshot(4_000))
    began = time.monotonic()
    result = ask(tmp_path, rows, "blend", Budget(8, 4, 10_000))
    assert time.monotonic() - began >= 8
    assert result["ended_by"] == "seconds"
    assert result["seconds"] <= 8


def test_too_little_memory_is_said_before_a_trial_begins(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"needs about 0\.5 GB of memory, the budget is 0\.1 GB"):
        ask(tmp_path, rows_of(snapshot()), "blend", Budget(60, 0.1, 5))


def test_a_search_that_its_memory_ends_is_told_with_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rows, "needs_gb", lambda _: 0.0)
    with pytest.raises(SearchError, match=r"in its trial 0 .*its budget is 0\.05 GB of memory"):
        ask(tmp_path, rows_of(snapshot()), "blend", Budget(60, 0.05, 5))


def test_a_search_that_was_killed_goes_on_and_finds_what_it_would_have_found(
    tmp_path: Path,
) -> None:
    rows, budget = rows_of(snapshot()), Budget(300, 4, FAMILIES + 1)
    whole = ask(tmp_path / "whole", rows, "lightgbm", budget)
    program = (
        "from pathlib import Path; from churn_orchestration_tests.churn import test_search as t; "
        f"t.ask(Path({str(tmp_path / 'killed')!r}), t.rows_of(t.snapshot()), 'lightgbm', "
        f"t.{budget!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    while not (done := _done(tmp_path / "killed")) >= FAMILIES:
        assert parent.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    time.sleep(1)
    assert done <= _done(tmp_path / "killed") < budget.trials, "its trials went on without it"
    resumed = ask(tmp_path / "killed", rows, "lightgbm", budget)
    same = ("learner", "capacity", "difference", "losses", "trials", "splits", "ended_by")
    assert {name: resumed[name] for name in same} == {name: whole[name] for name in same}


def _done(place: Path) -> int:
    if not (place / "progress.txt").exists():  # by then its database is there
        return 0
    with closing(sqlite3.connect(f"file:{place / 'study.db'}?mode=ro", uri=True)) as db:
        ended = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
        return int(db.execute(ended).fetchone()[0])
