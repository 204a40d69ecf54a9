"""A champion's first week on a real warehouse with real models: looked at once, rolled back where
worse.
"""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from churn_orchestration.automation.rollback import Undoing, roll_back_job
from churn_orchestration.churn.calendar import DAY, Horizon, days_between
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.grading import gate
from churn_orchestration.churn.question.labels import Question
from churn_orchestration.churn.recipe import fit
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.monitoring.first_week import ended_on, measure
from churn_orchestration.components.question.monitoring.graded import grade
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring.forecaster import Forecaster, forecast
from churn_orchestration.components.question.training import promotion
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables, literal
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.in_process import IN_PROCESS

pytestmark = IN_PROCESS

ORDERS = EventSource("orders", "silver.orders", "customer_id", "order", ("order_id",))
FEATURES = FeatureSet("customer_id", (ORDERS,), (7,), (7,))
QUESTION = Question("q", "inactivity", FEATURES, ORDERS, Horizon(5))
ASKED = QuestionSettings(
    QUESTION,
    "gold.f",
    3,
    28,
    "logistic",
    1,
    (0.3, 0.5, 0.7),
    False,
    "orders_days_since_last",
    pipeline=pipeline_of(FEATURES, dt.date(2024, 1, 1), (), {}),
)
PEOPLE, START, LAST = 300, dt.date(2024, 1, 1), dt.date(2024, 1, 31)
TRAINED_ON, GOOD_ON, BAD_ON = dt.date(2024, 1, 8), dt.date(2024, 1, 9), dt.date(2024, 1, 17)
KNOWN_ON = BAD_ON + DAY * (6 + 5)


class Small:
    """People who order more or less often, a feature that knows how often, a model that learned
    it.
    """

    def __init__(self, folder: Path, tables: Tables, opened: ExitStack) -> None:
        self.tables, self.tracking, self.opened = tables, Tracking(state=str(folder)), opened
        rng = np.random.default_rng(7)
        self.often = rng.uniform(0.02, 0.6, PEOPLE)
        days = list(days_between(START, LAST))
        ordered = rng.random((len(days), PEOPLE)) < self.often
        ordered[0] = True
        tables.db.execute(
            "create table silver.orders (order_id varchar, customer_id varchar, day date, known_on "
            "date, _partition date)"
        )
        rows = [
            [f"{day}{p}", f"c{p:03}", day, day, day]
            for n, day in enumerate(days)
            for p in np.flatnonzero(ordered[n])
        ]
        tables.insert("silver.orders", rows)
        for table in QUESTION.tables:
            tables.days.record(table, "stored", dict.fromkeys(days, 1), "declared")
        make_parts(tables.db, FEATURES)
        for n, day in enumerate(days):
            self._describe(day, ordered[: n + 1])

    def _describe(self, day: dt.date, ordered: np.ndarray) -> None:
        silent = np.argmax(ordered[::-1], axis=0)
        frame = pd.DataFrame(
            {
                "customer_id": [f"c{p:03}" for p in range(PEOPLE)], "as_of": day,
                "often": self.often, "orders_days_since_last": silent,
                "orders_gap_days_mean_all": 1 / self.often,
                "orders_active_days_all": ordered.sum(axis=0),
                "orders_days_since_first": len(ordered) - 1,
            }
        )  # fmt: skip
        self.tables.db.register("_f", frame)
        typed = "select * replace (as_of::date as as_of) from _f order by customer_id"
        self.tables.put_day("gold.f", day, typed)
        self.tables.db.unregister("_f")

    def features(self, day: dt.date) -> pd.DataFrame:
        file = literal(self.tables.day_file("gold.f", day))
        return self.tables.db.execute(f"from {file} order by customer_id").df()

    def promote(self, version: str, labels: np.ndarray, on: dt.date, name: str = "often") -> None:
        """Fit on the people of TRAINED_ON and make it champion."""
        frame = self.features(TRAINED_ON).rename(columns={"often": name})[[name]]
        model = fit("logistic", frame, pd.Series(labels), pd.Series(np.arange(PEOPLE)))
        with self.tracking.run("q", version, {}):
            number = self.tracking.register("q", model, frame.head(3), version)
        record = {
            "model_version": version,
            "cutoff": str(on),
            "base_rate": 0.4,
            "mlflow_version": number,
        }
        folder = self.tables.state / "models" / "q"
        ModelFiles(self.tables.state, "q", version).save(model)
        (folder / f"{version}.json").write_text(json.dumps(record))
        held_out = pd.DataFrame({"customer_id": [], "as_of": [], "label": [], "model": []})
        held_out.to_parquet(folder / f"{version}.parquet")
        promotion.record_decision(
            self.tables, self.tracking, ASKED, gate.Decision("promote", "by a test"), record, {},
            decided_on=str(on), trigger="manual", asked_by="a test", parent=None,
        )  # fmt: skip

    def score(self, first: dt.date, last: dt.date) -> None:
        for day in days_between(first, last):
            by = Forecaster.in_force(self.tables, ASKED, day)
            frame = self.features(day)
            scored = frame[["customer_id", "as_of"]].assign(
                churn_probability=forecast(ASKED, frame, by), model_version=by.version
            )
            self.tables.db.register("_s", scored)
            self.tables.put_day(
                "predictions.q", day,
                "select customer_id, as_of::date as as_of, churn_probability, model_version, 'low' "
                "as band, false as contact, 1.0 as recent_value, as_of::date + 5 as "
                "label_known_on, false as backtest from _s order by customer_id",
            )  # fmt: skip
            self.tables.db.unregister("_s")
            grade(self.tables, ASKED, day)

    def truth(self) -> np.ndarray:
        """Who orders nothing in the five days after TRAINED_ON."""
        after = f"day > '{TRAINED_ON}' and day <= '{TRAINED_ON + DAY * 5}'"
        rows = self.tables.rows(f"select distinct customer_id from silver.orders where {after}")
        came = {who for (who,) in rows}
        return np.array([f"c{p:03}" not in came for p in range(PEOPLE)])

    def measured(self, day: dt.date) -> tuple[list[dict[str, object]], str | None]:
        return measure(self.tables, ASKED, day)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    with ExitStack() as opened:
        yield Small(tmp_path, opened.enter_context(Warehouse.of(tmp_path).open()), opened)


def test_a_bad_champion_is_rolled_back_when_its_first_week_is_known(
    small: Small, tmp_path: Path
) -> None:
    truth = small.truth()
    small.promote("good", truth, GOOD_ON)
    small.promote("bad", np.random.default_rng(3).permutation(truth), BAD_ON)
    small.score(START, LAST)
    counts = {day: small.measured(day) for day in days_between(START, LAST)}
    # Once for each: what is good is compared with the rules, what is bad with what is good.
    known = {day: message for day, (rows, message) in counts.items() if rows}
    assert list(known) == [GOOD_ON + DAY * (6 + 5), KNOWN_ON]
    first, second = known.values()
    assert first.startswith(
        "rules is not surely better than champion good on the forecasts of 2024-01-09 to"
    )
    assert second.startswith(
        "good is better than champion bad on the forecasts of 2024-01-17 to 2024-01-23"
    )
    file = small.tables.day_file(ASKED.store.first_week, KNOWN_ON)
    assert file
    before = content_hash(file)
    undo = Undoing(question="q", version="bad", to="good", reason=known[KNOWN_ON])
    job = roll_back_job({"q": ASKED})
    small.opened.close()  # the job opens the warehouse itself
    resources = {"warehouse": Warehouse.of(tmp_path), "tracking": small.tracking}
    for _ in range(2):  # asked twice, it is done once
        tags = {"dagster/sensor_name": "roll_back_champion"}
        done = job.execute_in_process(dg.RunConfig({"undo": undo}), resources=resources, tags=tags)
        assert done.success
    rows = ledger.read(tmp_path)
    assert [(row["decision"], row["model_version"]) for row in rows][2:] == [("roll back", "good")]
    assert (rows[-1]["trigger"], rows[-1]["reason"]) == ("manual", known[KNOWN_ON])
    with Warehouse.of(
        tmp_path
    ).open() as tables:  # what was measured says the same after the roll back
        measure(tables, ASKED, KNOWN_ON)
    assert content_hash(file) == before


def test_what_cannot_be_compared_is_said_and_no_number(small: Small) -> None:
    truth = small.truth()
    small.promote("old", truth, GOOD_ON, "often_before")
    with pytest.raises(KeyError):
        small.score(GOOD_ON, GOOD_ON)
    small.promote("new", truth, GOOD_ON + DAY)
    small.score(GOOD_ON + DAY, LAST)
    rows, message = small.measured(GOOD_ON + DAY * 12)
    assert rows == []
    assert message == (
        "new cannot be compared with what was before it: old reads features that are gone: "
        "often_before"
    )


def test_a_reign_of_less_than_a_week_is_not_compared(small: Small) -> None:
    truth = small.truth()
    small.promote("good", truth, GOOD_ON)
    small.promote("soon", truth, GOOD_ON + DAY * 6)
    small.score(START, LAST)
    days = [day for day in days_between(START, LAST) if small.measured(day)[0]]
    assert days == [GOOD_ON + DAY * (6 + 6 + 5)]


def test_a_first_week_that_looks_a_month_ahead_ends_once_though_its_day_is_due_with_others_or_late(
    tmp_path: Path,
) -> None:
    question = replace(QUESTION, horizon=Horizon(horizon_months=1))
    settings = replace(ASKED, question=question)
    second, third = dt.date(2024, 1, 23), dt.date(2024, 2, 22)
    with Warehouse.of(tmp_path).open() as tables:
        for day in days_between(START, third + DAY * 10):
            version = "third" if day >= third else "second" if day >= second else "first"
            tables.put_day(
                "predictions.q", day,
                f"select 'ann' as customer_id, date '{day}' as as_of, '{version}' as "
                "model_version, false as backtest",
            )  # fmt: skip
        weeks = {
            day: (week.version, week.as_ofs[-1])
            for day in days_between(START, dt.date(2024, 4, 10))
            if (week := ended_on(tables, settings, day))
        }
    assert weeks == {
        dt.date(2024, 2, 7): ("first", dt.date(2024, 1, 7)),
        dt.date(2024, 2, 29): ("second", dt.date(2024, 1, 29)),  # due with 30 and 31 January
        dt.date(2024, 3, 28): ("third", dt.date(2024, 2, 28)),  # and nothing on 29 and 30 March
    }
