"""`churn recommendations`: what the platform would change, what was decided, and what came of it.

A recommendation is one unbroken row of days on which it was made; what was decided on it is a line
of the ledger.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.protocol import EXPECTED, KEEP, MANUAL, PROMOTE, REFUSE
from churn_orchestration.churn.sql import literal
from churn_orchestration.churn.watching.recommended import (
    APPLY,
    LOG_LOSS,
    RETRAIN,
    SKIP,
    episodes,
)
from churn_orchestration.report.text import command, grid, plain
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import shown
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

TABLE = "monitoring.recommendations"
OPEN, APPLIED, SKIPPED, PASSED = "open", "applied", "skipped", "passed"
STATUS = {APPLY: APPLIED, SKIP: SKIPPED}


def recommendations(tables: Tables, until: dt.date = dt.date.max) -> list[dict[str, Any]]:
    """All recommendations up to a day, the oldest first, as was decided by then.

    ``id``: a hash of what it is about and of its first day, so it never comes to mean another one.
    ``status``: open, applied, skipped; or passed: it ceased to hold, and nobody had decided.
    """
    if TABLE.partition(".")[2] not in shown(tables, "monitoring"):
        return []
    refuse_damaged(tables.db, TABLE)
    stored = f"(from meta.days where table_name = {literal(TABLE)} and status = 'stored')"
    rows = tables.records(episodes(TABLE, stored, until))
    decisions = [
        line
        for line in ledger.read(tables.state)
        if line["decision"] in STATUS and line["decided_on"] <= str(until)
    ]
    decided = {place_decided(rows, line): line for line in decisions}
    for place, row in enumerate(rows):
        row["id"], last = _id(row), decided.get(place)
        undecided = OPEN if row["holds"] else PASSED
        row["status"] = STATUS[last["decision"]] if last else undecided
        row["decided_on"] = last and dt.date.fromisoformat(last["decided_on"])
        row["why"] = last and last["reason"]
        row["before"] = last and last["evidence"]["measured"]
        row["after"] = last and measured(tables, row["measured_by"], row["decided_on"])
    return rows


def _id(row: Mapping[str, Any]) -> str:
    text = f"{row['kind']}|{row['subject']}|{row['since']}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def place_decided(rows: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> int | None:
    """Which of the recommendations, the oldest first, a line of the ledger is about; None: none is
    there now. It is the first that held between its first day then and the day of the decision:
    days that were computed again may have moved its first day.
    """
    about, of = line["evidence"], ("kind", "subject")
    held = (
        place
        for place, row in enumerate(rows)
        if all(row[name] == about[name] for name in of)
        and str(row["last"]) >= about["since"]
        and str(row["since"]) <= line["decided_on"]
    )
    return next(held, None)


def measured(
    tables: Tables, measured_by: str, after: dt.date | None = None, until: dt.date = dt.date.max
) -> dict[str, Any] | None:
    """The newest realised log loss of a question, or effect of a campaign; None: not known.

    Parameters
    ----------
    after : of forecasts, or measured, after that day; None: of any
    until : as measured by the end of that day
    """
    name, _, what = measured_by.rpartition(".")
    table = f"{name}_performance" if what == LOG_LOSS else f"{name}_effect"
    if table not in shown(tables, "monitoring"):
        return None
    refuse_damaged(tables.db, f"monitoring.{table}")
    if what == LOG_LOSS:
        of, value = "as_of", "value"
        where = f"metric = {literal(what)} and kind <> {literal(EXPECTED)} and feature is null"
    else:
        of, value = MEASURED_ON, "effect"
        where = f"outcome = {literal(what)} and segments is null and effect is not null"
    later = f"and {of} > {literal(after)} " if after else ""
    rows = tables.records(
        f"select {of} as of, {value} as value, low, high from monitoring.{table} where {where} "
        f"{later}and {MEASURED_ON} <= {literal(until)} "
        f"order by {of} desc, {MEASURED_ON} desc limit 1"
    )
    return rows[0] | {"of": str(rows[0]["of"])} if rows else None


def recommendations_report(business: Business) -> tuple[dict[str, Any], str]:
    """All of them, as facts and as text. Raises BusinessError: there is no such table yet."""
    with door(business.state) as db:
        rows = _there(Tables(db, business.state), business)
    parts: list[Any] = []
    for status in (OPEN, APPLIED, SKIPPED, PASSED):
        those = [row for row in rows if row["status"] == status]
        if those:
            parts += [_table(status, those), ""]
    if not parts:
        parts = ["nothing is recommended"]
    if any(row["status"] == OPEN for row in rows):
        apply = command(business, "recommendations --apply ID")
        skip = command(business, "recommendations --skip ID --reason WHY")
        parts += ["to record that you have done one, or that you will not:", f"  {apply}"]
        parts += [f"  {skip}"]
    return {"recommendations": rows}, plain(*parts)


def _there(tables: Tables, business: Business) -> list[dict[str, Any]]:
    if TABLE.partition(".")[2] not in shown(tables, "monitoring"):
        raise BusinessError(
            f"{business.name}: nothing is recommended yet: declare a `Recommendations` block, then "
            f"{command(business, 'run')}"
        )
    return recommendations(tables)


def _table(status: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    ends = ("since", "to do", "why") if status in (OPEN, PASSED) else (
        "decided", "to do", "what came of it",
    )  # fmt: skip
    table = grid(status, "id", *ends)
    for column in table.columns:
        column.justify = "left"
    for row in rows:
        when, says = row["since"], row["reason"]
        if row["decided_on"]:
            when, says = row["decided_on"], f"{row['why']}; {_came_of_it(row)}"
        table.add_row(row["id"], str(when), row["advice"], says)
    return table


def _came_of_it(row: Mapping[str, Any]) -> str:
    """The later metric beside the one before; no trial, for other things changed too."""
    what = row["measured_by"].rpartition(".")[2].replace("_", " ")
    before = "not known" if row["before"] is None else _value(row["before"])
    after = "not known yet" if row["after"] is None else _value(row["after"])
    return f"{what} before: {before}, after: {after}"


def _value(measured: Mapping[str, Any]) -> str:
    interval = ""
    if measured["low"] is not None:
        interval = f" [{measured['low']:.4f}, {measured['high']:.4f}]"
    return f"{measured['value']:.4f}{interval} of {measured['of']}"


def decide(
    business: Business, chosen: str, decision: str, reason: str | None
) -> tuple[dict[str, Any], str]:
    """Record what a person decided on a recommendation: one line of the ledger. No file is edited.

    Parameters
    ----------
    chosen : its ``id``
    decision : APPLY, which is recorded where the change is seen: another hash of the YAML and SQL
        than when it was recommended first, or a training since; or SKIP
    reason : why, wanted to skip and to apply where no change is seen

    Raises
    ------
    BusinessError : there is no such recommendation, it is decided already, or a reason is wanted
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        there = {row["id"]: row for row in _there(tables, business)}
        if chosen not in there:
            still = [each for each, row in there.items() if row["status"] == OPEN]
            raise BusinessError(
                f"{business.name}: there is no recommendation {chosen}; open: "
                f"{', '.join(still) or 'none'}"
            )
        row, day = there[chosen], tables.days.newest()
        before = measured(tables, row["measured_by"], until=day or dt.date.max)
    if row["status"] in (APPLIED, SKIPPED):
        raise BusinessError(
            f"{business.name}: recommendation {chosen} was {row['status']} on {row['decided_on']}"
        )
    seen = change_seen(business, row)
    if reason is None and decision == SKIP:
        raise BusinessError("--skip: wanted: --reason, why not")
    if reason is None and not seen:
        raise BusinessError(
            f"{business.name}: recommendation {chosen}, {row['advice']}: no change is seen since "
            f"{row['since']}; make it first, or say with --reason where it was made"
        )
    evidence = {
        "kind": row["kind"], "subject": row["subject"], "advice": row["advice"],
        "reason": row["reason"], "since": str(row["since"]), "change_seen": seen,
        "declared_before": row["declared"], "declared": business.files_hash(),
        "measured_by": row["measured_by"], "measured": before,
    }  # fmt: skip
    line = ledger.append(
        business.state, f"recommendation {chosen}", decision, reason or f"done: {seen}", MANUAL,
        evidence, decided_on=str(day), asked_by="churn recommendations",
    )  # fmt: skip
    words = f"recommendation {chosen}, {row['advice']}: {STATUS[decision]}, decision "
    return line, f"{words}{line['sequence']} of the ledger"


def change_seen(business: Business, row: Mapping[str, Any]) -> str | None:
    """What is seen of the change that a recommendation wants; None: nothing."""
    if row["kind"] == RETRAIN:
        trained = [
            line
            for line in ledger.read(business.state)
            if line["subject"] == row["subject"]
            and line["decision"] in (PROMOTE, KEEP, REFUSE)
            and line["decided_on"] >= str(row["since"])
        ]
        return f"trained, decision {trained[-1]['sequence']} of the ledger" if trained else None
    now = business.files_hash()
    return None if now == row["declared"] else f"the files are {now}, and were {row['declared']}"
