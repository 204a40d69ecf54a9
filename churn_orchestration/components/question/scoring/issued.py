"""Forecasts as they were issued: what is scored again is kept apart, and the ledger says so. ADR
26.
"""

import datetime as dt
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import digest
from churn_orchestration.churn.protocol import RENAME, RESTATE, SUPERSEDE
from churn_orchestration.churn.sql import identifier, identifiers
from churn_orchestration.storage import ledger
from churn_orchestration.storage.day_files import damage
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

AGAIN = "_scored_again"
SCORED = "score"
"""What triggers a line of the ledger on forecasts."""


def issue(
    tables: Tables, settings: "QuestionSettings", day: dt.date, select: str, *, backtest: bool
) -> int:
    """Store a day's forecasts as issued; where that day was issued before, as what it is; their
    number.

    What was issued stays once a later day was issued: what is scored again goes to ``restated``.
    Before, the new forecast replaces it, and what is replaced goes there. A look back never
    replaces a forecast.
    """
    table = settings.store.forecasts
    if not is_issued(tables, settings, day):
        return tables.replace_days(table, [day], select)[day]
    if not backtest:
        tables.db.execute(f"create or replace temp table {AGAIN} as {select}")
        _compare(tables, settings, day)
        tables.db.execute(f"drop table {AGAIN}")
    return int(tables.rows(f"select count(*) from {literal(tables.day_file(table, day))}")[0][0])


def is_issued(tables: Tables, settings: "QuestionSettings", day: dt.date) -> bool:
    """Whether a forecast of a day was stored that is no look back; of a damaged file: it was."""
    path = tables.recorded_file(settings.store.forecasts, day)
    if path is None:
        return False
    return bool(
        damage(path) or tables.rows(f"select bool_or(not backtest) from {literal(path)}")[0][0]
    )


def scored_again_since(
    tables: Tables, settings: "QuestionSettings", line: int
) -> list[dict[str, Any]]:
    """The lines of the ledger on forecasts of a question after its first ``line`` ones."""
    return [
        row
        for row in ledger.read(tables.state)[line:]
        if row["subject"] == settings.store.forecasts
    ]


def _compare(tables: Tables, settings: "QuestionSettings", day: dt.date) -> None:
    """Keep apart what was scored again, or what it replaces, where they differ."""
    table, everything = (
        settings.store.forecasts,
        f"from {AGAIN} order by {identifier(settings.question.entity)}",
    )
    issued = tables.recorded_file(table, day)
    assert issued is not None  # is_issued
    name = str(issued.relative_to(tables.state))
    if wrong := damage(issued):
        tables.put_day(table, day, everything)
        if (file := tables.day_file(table, day)) != issued:
            message = (
                f"what was issued cannot be read, {wrong}; what was scored again is another file, "
                f"{file}"
            )
            _line(tables, settings, day, RESTATE, message, name, {})
        return
    before = literal(issued)
    differing = _differing(tables, before)
    if not differing:
        return
    later = tables.newest_file_day(table, after=day)
    counts = {"differing": differing, "rows": tables.rows(f"select count(*) from {AGAIN}")[0][0]}
    if later:
        message = (
            f"scored again after {later} was issued, and {differing} rows differ: "
            "what was issued stays"
        )
        row = _line(tables, settings, day, RESTATE, message, name, counts)
        _keep_apart(tables, settings, day, AGAIN, row)
    else:
        message = (
            f"scored again before a later day was issued, and {differing} rows differ: "
            "it is in force now"
        )
        row = _line(tables, settings, day, SUPERSEDE, message, name, counts)
        _keep_apart(tables, settings, day, before, row)
        tables.put_day(table, day, everything)


def _differing(tables: Tables, before: str) -> int:
    """How many rows of a file and of what was scored again are not in both, by the columns of
    both.
    """
    had = {name for name, *_ in tables.rows(f"describe from {before}")}
    both = identifiers(name for name, *_ in tables.rows(f"describe {AGAIN}") if name in had)
    old, new = f"select {both} from {before}", f"select {both} from {AGAIN}"
    [(count,)] = tables.rows(
        f"select greatest((select count(*) from (({old}) except all ({new}))), "
        f"(select count(*) from (({new}) except all ({old}))))"
    )
    return int(count)


def _line(
    tables: Tables, settings: "QuestionSettings", day: dt.date, decision: str, reason: str,
    name: str, counts: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The ledger's line on a day that was scored again."""
    [(by, content)] = tables.rows(
        f"select any_value(model_version), sum(hash(t))::varchar from {AGAIN} as t"
    )
    newest = tables.newest_file_day(settings.store.forecasts)
    return ledger.append(
        tables.state, settings.store.forecasts, decision, reason, SCORED,
        {"issued": name, "scored_again": content, **counts},
        model_version=by, cutoff=str(day), decided_on=str(newest),
    )  # fmt: skip


def _keep_apart(
    tables: Tables, settings: "QuestionSettings", day: dt.date, rows: str, line: dict[str, Any]
) -> None:
    """Add forecasts of a day to ``restated``, with the line of the ledger that is about them."""
    table, sequence = settings.store.restated, line["sequence"]
    status = "restated" if line["decision"] == RESTATE else "superseded"
    added = (
        f"select *, '{status}' as status, date '{line['decided_on']}' as decided_on, "
        f"{sequence}::bigint as sequence from {rows}"
    )
    if file := tables.day_file(table, day):
        if tables.rows(f"select 1 from {literal(file)} where sequence = {sequence} limit 1"):
            return
        added = f"from {literal(file)} union all by name {added}"
    tables.put_day(
        table, day, f"from ({added}) order by sequence, {identifier(settings.question.entity)}"
    )


def set_apart_former(tables: Tables, settings: "QuestionSettings") -> str | None:
    """Where the question means another thing than before, keep its forecasts and grades under
    another name.

    What was forecast for one question is no answer to another, nor are its grades. A sentence that
    says so.
    """
    former, meaning = tables.meaning(settings.name), settings.question.meaning
    if former == meaning:
        return None
    tables.keep_meaning(settings.name, meaning)
    if former is None:
        return None
    mark = digest(former)[:8]
    names = {
        settings.store.forecasts: f"restated.{settings.name}_{mark}",
        settings.store.restated: f"restated.{settings.name}_{mark}_again",
        settings.store.grades: f"restated.{settings.name}_{mark}_graded",
    }
    # Asked again after it was asked otherwise, a day of then gives way to the newest of its name.
    kept = [now for before, now in names.items() if tables.rename_files(before, now)]
    if not kept:
        return None
    message = (
        f"{settings.name} means another thing now: "
        f"what it forecast before is kept in {', '.join(kept)}"
    )
    ledger.append(
        tables.state,
        settings.store.forecasts,
        RENAME,
        message,
        SCORED,
        {"before": former, "now": meaning},
    )
    return message
