"""The ledger of forecasts on a real warehouse, beside a slow oracle: late events, corrections,
looks back.
"""

import datetime as dt
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from churn_orchestration.churn.calendar import DAY, Horizon, days_between
from churn_orchestration.churn.question.labels import Question
from churn_orchestration.components.question.monitoring.graded import day_metadata, grade, ungraded
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.questions import CANCELS, FEATURES, SILENT, asking

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 26)
PEOPLE = ("ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal", "ian", "joy", "kim", "leo")


@dataclass(frozen=True)
class Event:
    """One version of an event: who did it, on which day, and since when that is known."""

    name: str
    who: str
    day: dt.date
    known_on: dt.date


def happened(seed: int, days: int = 25) -> list[Event]:
    """Orders of so many days, a third known late, a fifth moved by a later correction."""
    rng, events = random.Random(seed), list[Event]()
    for number in range(60):
        day = FIRST + DAY * rng.randrange(days)
        late = rng.choice([0, 0, 1, 3, 9])
        events.append(Event(f"o{number}", rng.choice(PEOPLE), day, day + DAY * late))
        if rng.random() < 0.2:
            moved = day + DAY * rng.randrange(-6, 7)
            known = max(moved, events[-1].known_on + DAY * rng.randrange(1, 9))
            events.append(replace(events[-1], day=moved, known_on=known))
    return events


@contextmanager
def warehouse(
    folder: Path, events: list[Event], settings: QuestionSettings, last: dt.date = LAST
) -> Iterator[Tables]:
    """Events in silver, and a forecast for everybody every day."""
    with Warehouse.of(folder).open() as tables:
        for table in ("orders", "ends"):
            tables.db.execute(
                f"create table silver.{table} (order_id varchar, customer_id varchar, day date, "
                "known_on date, _partition date)"
            )
        filled = "silver.ends" if settings.question.terminal else "silver.orders"
        if filled == "silver.ends":
            tables.db.execute(
                "insert into silver.orders select 'first ' || unnest($1), unnest($1), $2, $2, $2",
                [list(PEOPLE), FIRST],
            )
        rows = [[e.name, e.who, e.day, e.known_on, e.known_on] for e in events]
        if rows:
            tables.insert(filled, rows)
        make_parts(tables.db, FEATURES)
        for day in days_between(FIRST, last):
            forecast(tables, settings, day)
        yield tables


def forecast(
    tables: Tables, settings: QuestionSettings, day: dt.date, backtest: bool = False
) -> None:
    known = settings.question.horizon.label_known_on(day)
    tables.put_day(
        settings.store.forecasts, day,
        f"select unnest({list(PEOPLE)}) as customer_id, date '{day}' as as_of, 0.5 as "
        "churn_probability, 'high' as band, 'v1' as model_version, true as contact, 1.0 as "
        f"recent_value, date '{known}' as label_known_on, {backtest} as backtest order by 1",
    )  # fmt: skip


def truth(
    question: Question, events: list[Event], as_of: dt.date, known_by: dt.date
) -> dict[str, bool | None]:
    """What became of everybody, from the events alone: the last version of each known by then."""
    versions = {}
    for event in sorted(events, key=lambda event: event.known_on):
        if event.known_on <= known_by:
            versions[event.name] = event
    first, last = question.horizon.outcome(as_of)
    result: dict[str, bool | None] = {}
    for who in PEOPLE:
        days = [
            event.day for event in versions.values() if event.who == who and event.day <= known_by
        ]
        hit = any(first <= day <= last for day in days)
        if question.kind == "event":
            result[who] = None if any(day < first for day in days) else hit
        else:
            result[who] = not hit
    return result


def graded_by(
    tables: Tables, settings: QuestionSettings, day: dt.date
) -> dict[dt.date, dict[str, bool | None]]:
    """The last grade of every forecast, as stored up to a day."""
    files = list(map(str, tables.day_files(settings.store.grades, day).values()))
    rows = tables.rows(
        f"select as_of, customer_id, last(label order by measured_on) from read_parquet({files}) "
        "group by all"
    )
    result: dict[dt.date, dict[str, bool | None]] = {}
    for as_of, who, label in rows:
        result.setdefault(as_of, {})[who] = label
    return result


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["inactivity", "event", "inactivity with a gap that settles"])
def test_every_day_the_ledger_holds_what_the_events_known_by_then_say(
    tmp_path: Path, kind: str, seed: int
) -> None:
    question = CANCELS if kind == "event" else SILENT
    if kind.endswith("settles"):
        question = replace(SILENT, horizon=Horizon(4, gap_days=2, settle_days=3))
    settings, events = asking(question), happened(seed)
    if kind == "event":
        events = [event for event in events if int(event.name[1:]) < 20]
    restated = 0
    with warehouse(tmp_path, events, settings) as tables:
        for day in days_between(FIRST, LAST):
            grade(tables, settings, day)
            due = list(days_between(FIRST, question.horizon.newest_as_of(day)))
            wanted = {as_of: truth(question, events, as_of, day) for as_of in due}
            assert graded_by(tables, settings, day) == wanted, day
            assert ungraded(tables, settings, day) == 0
            restated += day_metadata(tables, settings, day)["restated"]
    assert restated > 0


@pytest.mark.parametrize("kind", ["inactivity", "event"])
def test_forecasts_of_a_month_ahead_are_graded_where_several_fall_due_together_or_none_does(
    tmp_path: Path, kind: str
) -> None:
    question = replace(CANCELS if kind == "event" else SILENT, horizon=Horizon(horizon_months=1))
    settings, last = asking(question), dt.date(2024, 3, 2)
    events = happened(3, days=60)[: 20 if kind == "event" else 60]
    graded = dict[dt.date, int]()
    with warehouse(tmp_path, events, settings, last) as tables:
        for day in days_between(FIRST, last):
            grade(tables, settings, day)
            # The outcomes of 29, 30 and 31 January all end with February.
            same_day = 31 if day == dt.date(2024, 2, 29) else day.day
            until = dt.date(2024, day.month - 1, same_day) if day.month > 1 else FIRST - DAY
            wanted = {
                as_of: truth(question, events, as_of, day) for as_of in days_between(FIRST, until)
            }
            assert graded_by(tables, settings, day) == wanted, day
            assert ungraded(tables, settings, day) == 0
            graded[day] = day_metadata(tables, settings, day)["graded"]
    assert graded[dt.date(2024, 1, 31)] == 0
    assert [graded[dt.date(2024, 2, day)] for day in (1, 28, 29)] == [12, 12, 36]
    assert graded[dt.date(2024, 3, 1)] == 12


def test_a_restatement_stands_beside_the_first_grade_and_says_what_it_was(tmp_path: Path) -> None:
    settings, day = asking(SILENT), FIRST + DAY * 10
    late = Event("o", "ann", FIRST + DAY * 3, day)
    with warehouse(tmp_path, [late], settings) as tables:
        for each in days_between(FIRST, day):
            grade(tables, settings, each)
        files = list(map(str, tables.day_files(settings.store.grades, day).values()))
        rows = tables.rows(
            "select label, was, restated, measured_on, label_known_on "
            f"from read_parquet({files}) where customer_id = 'ann' and as_of = ? order by "
            "measured_on",
            [FIRST],
        )
    first = FIRST + DAY * 5
    assert rows == [(True, None, False, first, first), (False, True, True, day, first)]


def test_a_day_graded_again_gives_the_same_bytes_though_later_days_were_graded_since(
    tmp_path: Path,
) -> None:
    settings = asking(SILENT)
    with warehouse(tmp_path, happened(1), settings) as tables:
        for day in days_between(FIRST, LAST):
            grade(tables, settings, day)
        before = tables.day_files(settings.store.grades, LAST)
        hashes = {day: content_hash(path) for day, path in before.items()}
        for day in (LAST - DAY * 9, LAST - DAY * 12):
            grade(tables, settings, day)
        after = tables.day_files(settings.store.grades, LAST)
        assert {day: content_hash(path) for day, path in after.items()} == hashes


def test_scores_in_hindsight_are_never_graded(tmp_path: Path) -> None:
    settings, looked_back = asking(SILENT), FIRST + DAY * 4
    with warehouse(tmp_path, [], settings) as tables:
        forecast(tables, settings, looked_back, backtest=True)
        for day in days_between(FIRST, FIRST + DAY * 14):
            grade(tables, settings, day)
        assert looked_back not in graded_by(tables, settings, LAST)
        assert looked_back + DAY in graded_by(tables, settings, LAST)
        assert ungraded(tables, settings, FIRST + DAY * 14) == 0


def test_what_could_not_be_graded_on_its_day_is_graded_on_the_next(tmp_path: Path) -> None:
    settings, missed = asking(SILENT), FIRST + DAY * 7
    with warehouse(tmp_path, [], settings) as tables:
        for day in days_between(FIRST, missed + DAY):
            if day != missed:
                grade(tables, settings, day)
        assert day_metadata(tables, settings, missed + DAY)["graded"] == 2 * len(PEOPLE)
        assert ungraded(tables, settings, missed + DAY) == 0


def test_a_forecast_without_a_grade_and_one_graded_twice_are_counted(tmp_path: Path) -> None:
    settings, day = asking(SILENT), FIRST + DAY * 8
    with warehouse(tmp_path, [], settings) as tables:
        for each in days_between(FIRST, day):
            grade(tables, settings, each)
        stored = tables.day_file(settings.store.grades, day)
        tables.put_day(settings.store.grades, day, f"from '{stored}' where customer_id <> 'bob'")
        assert ungraded(tables, settings, day) == 1
        before = tables.day_file(settings.store.grades, day - DAY)
        again = (
            f"select * replace (date '{day}' as measured_on) from '{before}' order by customer_id"
        )
        tables.put_day(settings.store.grades, day, again)
        assert ungraded(tables, settings, day) == 2 * len(PEOPLE)
