"""The trial of a campaign, carried from day to day, beside a recount of all its lists."""

import datetime as dt
import random

import pandas as pd
import pytest

from churn_orchestration.churn.campaign.declared import Action, Campaign, Effect
from churn_orchestration.components.campaign.trial import trial_until
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables

FIRST = dt.date(2024, 1, 1)
PLAN = Campaign(
    "win_back", "who", "q", 50, ("graded",), 0.3, "shop", None, False, None, None,
    (Action("call", "phone", "ann", 5, "true", Effect(0.1, 0.2, 0.3)),),
)  # fmt: skip
DAYS = 12


class Lists:
    """Lists, segments and grades of thirty customers, kept here as rows and in files by day."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.draw = tables, random.Random(4)
        self.lists, self.kinds, self.grades = (
            dict[int, list](),
            dict[int, list](),
            dict[int, list](),
        )
        for number in range(DAYS):
            self.land(number)

    def land(self, number: int) -> None:
        """A day of all of them, drawn again."""
        day, draw = FIRST + dt.timedelta(days=number), self.draw.random
        people = [f"c{n}" for n in range(30) if draw() < 0.8]
        self.lists[number] = [
            (who, day, "treated" if int(who[1:]) % 3 else "control", draw(), 10 * draw(),
             "call" if draw() < 0.5 else "mail", 0.3, "q", draw() < 0.15)
            for who in people
        ]  # fmt: skip
        self.kinds[number] = [(who, day, "big" if draw() < 0.5 else "small") for who in people]
        known = [(who, day - dt.timedelta(days=3)) for who in people if number >= 3]
        self.grades[number] = [
            (who, of, draw() < 0.5 if draw() < 0.9 else None, day, day, None) for who, of in known
        ] + [(who, FIRST, draw() < 0.5, day, day, True) for who in people if draw() < 0.1]
        self.put("actions.win_back", day, self.lists[number], "who, as_of, arm, churn_probability,"
                 "value, best_action, control_share, question, in_trial")  # fmt: skip
        self.put("segments.graded", day, self.kinds[number], "who, as_of, segment")
        self.put("monitoring.q_graded", day, self.grades[number],
                 "who, as_of, label, label_known_on, measured_on, regraded")  # fmt: skip

    def put(self, table: str, day: dt.date, rows: list, names: str) -> None:
        columns = [name.strip() for name in names.split(",")]
        self.tables.db.register("_rows", pd.DataFrame(rows, columns=columns))
        casts = {"as_of": "date", "label_known_on": "date", "measured_on": "date",
                 "label": "boolean", "regraded": "boolean", "segment": "varchar"}  # fmt: skip
        typed = ", ".join(f"{c}::{casts[c]} as {c}" if c in casts else c for c in columns)
        self.tables.put_day(table, day, f"select {typed} from _rows order by all")

    def recount(self, number: int) -> list[tuple]:
        """The trial at the end of a day, by going through all rows one after the other."""
        entered = {}
        for day in range(number + 1):
            for who, *rest, in_trial in self.lists[day]:
                if in_trial and who not in entered:
                    entered[who] = (*rest, {w: k for w, _, k in self.kinds[day]}.get(who))
        graded = {}
        for day in range(number + 1):
            for who, of, label, known, _, regraded in sorted(
                self.grades[day], key=lambda row: row[5] is not None
            ):
                graded[who, of] = (label, known, regraded)
        result = []
        for who, first in entered.items():
            label, known, _ = graded.get((who, first[0]), (None, None, None))
            outcome = None if label is None else float(label)
            result.append((who, *first, outcome, known, True if known else None))
        return sorted(result)

    def trial(self, number: int) -> list[tuple]:
        relation = trial_until(self.tables, PLAN, "v1", FIRST + dt.timedelta(days=number))
        return self.tables.rows(f"from {relation} order by who")


@pytest.fixture
def lists(tmp_path):
    with Warehouse.of(tmp_path).open() as tables:
        yield Lists(tables)


def test_the_trial_of_each_day_is_that_of_all_lists_up_to_it(lists):
    for number in (0, 1, 2, 5, 6, DAYS - 1):
        assert lists.trial(number) == lists.recount(number)
    assert {row[9] for row in lists.recount(DAYS - 1)} == {0.0, 1.0, None}


def test_after_an_old_list_or_grade_is_another_the_trial_is_recounted(lists):
    before = lists.trial(DAYS - 1)
    lists.land(4)
    assert lists.trial(DAYS - 1) == lists.recount(DAYS - 1) != before
    assert lists.trial(5) == lists.recount(5)
    assert lists.trial(DAYS - 1) == lists.recount(DAYS - 1)


def test_a_day_reads_no_list_of_the_days_before_it(lists):
    lists.trial(DAYS - 2)
    for table in ("actions.win_back", "segments.graded", "monitoring.q_graded"):
        for number in range(DAYS - 1):
            lists.tables.day_file(table, FIRST + dt.timedelta(days=number)).unlink()
    assert lists.trial(DAYS - 1) == lists.recount(DAYS - 1)
