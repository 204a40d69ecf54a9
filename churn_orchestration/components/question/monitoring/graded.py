"""The ledger of forecasts: each is graded when its outcome is known, and restated where that
changes.
"""

import datetime as dt
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import stages
from churn_orchestration.business import Business, digest
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.sql import identifier, within
from churn_orchestration.churn.watching import grades
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.question.day_rows import described, read_files
from churn_orchestration.components.shown import keys
from churn_orchestration.storage.day_files import damage
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

COUNTS = "counts_add_up"
COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "churn_probability": ("double", "as forecast on as_of"),
        "band": ("text", "as forecast"),
        "model_version": ("text", "what forecast it"),
        "contact": ("boolean", "whether the customer was marked for contact"),
        "recent_value": ("double", "what the customer was worth of late, at as_of"),
        "label_known_on": ("date", "the day on which the outcome was to be known"),
        "label": (
            "boolean",
            "true: churned; null: had left before the outcome window began, so there is no outcome",
        ),
        "was": ("boolean", "of a restatement: the label of the previous grade"),
        "restated": ("boolean", "true: what came in late, or was corrected, changed a grade"),
        "regraded": (
            "bigint",
            "0, or how often measured_on had changed the grade before, since a day up to it landed "
            "again",
        ),
        MEASURED_ON: ("date", "the day at whose end this was known"),
    }
)
"""What a grade holds besides the entity and as_of: type and meaning."""


def grade(tables: Tables, settings: "QuestionSettings", day: dt.date) -> int:
    """Store the grades of ``day``: of forecasts not graded before whose outcome is known, and
    restatements.

    Only what days up to ``day`` have stored is read, so a day graded again gives the same rows.
    Where what is known by ``day`` has changed since, for a day up to it landed again, its grades
    stay and are restated.
    """
    question, horizon, table = settings.question, settings.question.horizon, settings.store.grades
    forecasts = tables.day_files(settings.store.forecasts, horizon.newest_as_of(day))
    before = list(tables.day_files(table, day - DAY).values())
    done = _days_in(tables, before)
    waiting = [file for as_of, file in forecasts.items() if as_of not in done]
    looked_at = _days_in(tables, waiting, "where not backtest")
    parts = list[str]()
    if stored := _stored(tables, table, day):
        parts = [f"from {literal(stored)}"]
        looked_at |= _days_in(tables, [stored]) & set(forecasts)
    if done:
        changed = [changed_on for (changed_on,) in tables.rows(grades.changed_days(question, day))]
        looked_at |= set(grades.touched(question, done & set(forecasts), changed))
    for as_of in sorted(looked_at):
        made, last = read_files([forecasts[as_of]]), f"({last_known(tables, settings, as_of, day)})"
        parts.append(grades.changed_grades(question, made, as_of, day, last))
    return tables.put_day(table, day, _typed(tables, settings, parts))


def _stored(tables: Tables, table: str, day: dt.date) -> Path | None:
    """The grades that a day has, which stay; none where their file is gone or damaged, and is made
    again.
    """
    path = tables.recorded_file(table, day)
    return None if path is None or damage(path) else path


def _days_in(tables: Tables, files: list[Path], condition: str = "") -> set[dt.date]:
    """The as_ofs of the rows in Parquet files."""
    if not files:
        return set()
    return {
        day for (day,) in tables.rows(f"select distinct as_of from {read_files(files)} {condition}")
    }


def _typed(tables: Tables, settings: "QuestionSettings", parts: list[str]) -> str:
    """The grades in one order; an empty day keeps the types."""
    entity, base = identifier(settings.question.entity), settings.question.base
    kind = tables.columns(base.table)[base.entity]
    typed = ", ".join(
        f"null::{'varchar' if type_ == 'text' else type_} as {name}"
        for name, (type_, _) in COLUMNS.items()
    )
    empty = f"select null::{kind} as {entity}, null::date as as_of, {typed} limit 0"
    together = " union all by name ".join(f"({part})" for part in [empty, *parts])
    return f"{together} order by as_of, {entity}, regraded"


def outcome_table(settings: "QuestionSettings") -> str:
    """The table with the outcomes of the entities."""
    question = settings.question
    if question.terminal is not None:
        return question.terminal.table
    assert question.activity is not None
    return question.activity.days_table


def graded_asset(business: Business, settings: "QuestionSettings") -> dg.AssetsDefinition:
    """monitoring/<question>_graded, one partition a day."""
    entity, outcome = settings.question.entity, outcome_table(settings)
    soonest, latest = settings.question.horizon.wait
    window = dg.TimeWindowPartitionMapping(
        start_offset=-latest, end_offset=-soonest, allow_nonexistent_upstream_partitions=True
    )
    return DayTable(
        business=business,
        about=settings.sentence(),
        like=settings.gold,
        table=settings.store.grades,
        says="One row per forecast, on the day its outcome is known, and one more for "
        "each time that a late row changes that outcome: the ledger of forecasts, in "
        f"which nothing is overwritten. The last row of a {entity} and as_of "
        "is the truth as known. Scores in hindsight are never graded.",
        columns=[*keys(entity), *described(COLUMNS)],
        version=stages.version(digest(settings.question), stages.GRADED),
        upstream=[outcome],
        store=partial(_store, settings),
        deps=[
            dg.AssetDep(dg.AssetKey(["predictions", settings.name]), partition_mapping=window),
            dg.AssetDep(dg.AssetKey(outcome.split("."))),
        ],
        checks={COUNTS: "Every forecast has one first grade."},
        refused=partial(_refused, settings, business.start),
    ).asset()


def _refused(
    settings: "QuestionSettings", start: dt.date, tables: Tables, days: list[dt.date]
) -> dict[dt.date, Refusal]:
    """The days on which an outcome falls due of which some day is not valid."""
    horizon, result = settings.question.horizon, dict[dt.date, Refusal]()
    for day in days:
        first = horizon.outcome(horizon.newest_as_of(day - DAY) + DAY)[0]
        if fault := tables.days.fault(outcome_table(settings), max(start, first), day):
            result[day] = fault
    return result


def _store(settings: "QuestionSettings", tables: Tables, days: list[dt.date]) -> Stored:
    rows = {day: grade(tables, settings, day) for day in days}
    lost = {str(day): ungraded(tables, settings, day) for day in days}
    missing = {day: count for day, count in lost.items() if count}
    counted = dg.AssetCheckResult(
        check_name=COUNTS, passed=not missing, metadata={"ungraded": missing}
    )
    about = {day: day_metadata(tables, settings, day) for day in days}
    return Stored(rows=rows, metadata=about, checks=[counted])


def ungraded(tables: Tables, settings: "QuestionSettings", day: dt.date) -> int:
    """How many forecasts have no first grade by ``day``, or several; of the as_ofs due or graded on
    it.
    """
    entity, horizon = identifier(settings.question.entity), settings.question.horizon
    forecasts = tables.day_files(settings.store.forecasts, horizon.newest_as_of(day))
    stored = tables.day_files(settings.store.grades, day)
    today = _days_in(tables, [stored.pop(day)], "where not restated")
    before = _days_in(tables, list(stored.values()))
    looked_at = [as_of for as_of in forecasts if as_of in today or as_of not in before]
    if not looked_at:
        return 0
    made = read_files(forecasts[as_of] for as_of in looked_at)
    grades_so_far = read_files(grades_of(tables, settings, looked_at[0], day))
    [(lost,)] = tables.rows(
        f"select count(*) from (select {entity}, as_of from {made} where not backtest) "
        f"full join (select {entity}, as_of, count(*) as times from {grades_so_far} "
        f"where not restated and {within('as_of', looked_at)} group by all) as g using ({entity}, "
        "as_of) where g.times is distinct from 1"
    )
    return int(lost)


def grades_of(
    tables: Tables, settings: "QuestionSettings", as_of: dt.date, until: dt.date
) -> list[Path]:
    """The files that may hold a grade of ``as_of`` or of a later day, up to ``until``."""
    known_on = settings.question.horizon.label_known_on(as_of)
    files = tables.day_files(settings.store.grades, until)
    return [file for day, file in files.items() if day >= known_on]


def last_known(tables: Tables, settings: "QuestionSettings", as_of: dt.date, until: dt.date) -> str:
    """SQL: of each entity of ``as_of``, the grade as known at the end of ``until``."""
    return grades.last_grades(settings.question, _read(tables, settings, as_of, until), as_of)


def _read(tables: Tables, settings: "QuestionSettings", as_of: dt.date, until: dt.date) -> str:
    """SQL, in brackets: the grades that may be of ``as_of``, those of before there was ``regraded``
    too.
    """
    if files := grades_of(tables, settings, as_of, until):
        listed = ", ".join(map(literal, files))
        parts = [f"from read_parquet([{listed}], union_by_name = true)"]
    else:
        parts = []
    return f"({_typed(tables, settings, parts)})"


def day_metadata(tables: Tables, settings: "QuestionSettings", day: dt.date) -> dict[str, Any]:
    """The numbers of a day that are worth a plot."""
    [(graded, left, rate, restated)] = tables.rows(
        "select count(*) filter (not restated), count(*) filter (label is null and not restated), "
        "avg(label::int) filter (not restated), count(*) filter (restated) "
        f"from {literal(tables.day_file(settings.store.grades, day))}"
    )
    result = {"graded": graded, "had_left_before": left, "restated": restated}
    return result | ({} if rate is None else {"churn_rate": round(rate, 4)})
