"""`churn segments`: the customers of each segment, what is at stake, and who moved."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.sql import literal, quoted
from churn_orchestration.report.text import command, counted, grid, plain
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import beside, shown, shown_upstream
from churn_orchestration.storage.warehouse import Tables

MOST_ROWS, MOST_FLOWS = 20, 8
CHANGES = (
    "distance", "rose", "fell", "usual_distance", "unusual_from", "is_unusual", "history",
    "confidence", "compared_with",
)  # fmt: skip
"""Columns of a set that says how far customers moved."""
EXPORTED = {
    "distance": "round(distance, 2)", "rose": "rose", "fell": "fell", "is_unusual": "is_unusual",
    "history": "history", "confidence": "round(confidence, 2)",
}  # fmt: skip
"""Those of a list for people, as SQL."""


def of_entity(
    tables: Tables, table: str, key: str, entity: object, day: dt.date
) -> list[dict[str, Any]]:
    """A customer's segment on a day in each set, and since when, and how far it moved; ``table``:
    of forecasts.
    """
    result = []
    for name in beside(tables, "segments", table):
        refuse_damaged(tables.db, f"segments.{name}")
        more = "".join(f", {column}" for column in _changes(tables, name))
        rows = tables.records(
            f"select as_of, segment, action, priority{more} from segments.{name} "
            f"where {quoted(key)} = {literal(entity)} and as_of <= {literal(day)} order by as_of"
        )
        if rows and rows[-1]["as_of"] == day:
            now, since = rows[-1], day
            for row in reversed(rows):
                if row["segment"] != now["segment"]:
                    break
                since = row["as_of"]
            result.append({"set": name, **now, "since": since})
    return result


def joined(tables: Tables, table: str, key: str, select: str, day: dt.date) -> str:
    """SQL: the rows of a select on customers, with the segment of each in every set, as
    ``segment_<set>``, and how far it moved; ``table``: of their forecasts.
    """
    for name in beside(tables, "segments", table):
        refuse_damaged(tables.db, f"segments.{name}")
        is_changes = bool(_changes(tables, name))
        more = "".join(
            f", {sql} as {quoted(f'{name}_{column}')}"
            for column, sql in EXPORTED.items()
            if is_changes
        )
        of_day = (
            f"select {quoted(key)}, segment as {quoted(f'segment_{name}')}{more} "
            f"from segments.{name} where as_of = {literal(day)}"
        )
        select = f"from ({select}) left join ({of_day}) using ({quoted(key)})"
    return select


def _changes(tables: Tables, name: str) -> tuple[str, ...]:
    """The columns of a set that say how far customers moved; none of another set."""
    there = {column for column, *_ in tables.rows(f"describe segments.{name}")}
    return CHANGES if there.issuperset(CHANGES) else ()


def segments_report(
    business: Business, name: str | None, day: dt.date | None, since: dt.date | None
) -> tuple[dict[str, Any], str]:
    """Of each set, or of one: its segments on a day, and who moved since another.

    Parameters
    ----------
    day : None: the newest
    since : None: the stored day before it

    Raises
    ------
    BusinessError : there is no such set, or no such day
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        there = shown(tables, "segments")
        if not there or name not in (None, *there):
            message = f'no set of segments "{name}", but {", ".join(there)}'
            if not there:
                message = (
                    "there are no segments: declare a `Segments` block, then "
                    f"{command(business, 'run')}"
                )
            raise BusinessError(f"{business.name}: {message}")
        facts = {each: _of_set(tables, each, day, since) for each in there if name in (None, each)}
    parts = [part for each, result in facts.items() for part in _shown(each, result)]
    return {"segments": facts}, plain(*parts)


def _of_set(
    tables: Tables, name: str, day: dt.date | None, since: dt.date | None
) -> dict[str, Any]:
    table = f"segments.{name}"
    refuse_damaged(tables.db, table)
    days = [d for (d,) in tables.rows(f"select distinct as_of from {table} order by 1")]
    if not days:
        raise BusinessError(f"{table}: no day has a row yet")
    day = day or days[-1]
    if missing := [each for each in (day, since) if each and each not in days]:
        raise BusinessError(f"{table}: no {missing[0]}; there are {days[0]} to {days[-1]}")
    since = since or max((each for each in days if each < day), default=None)
    key = tables.rows(f"describe {table}")[0][0]
    forecasts = shown_upstream(tables, table, "predictions")
    forecast = (
        f"(select {quoted(key)}, churn_probability, recent_value from {forecasts[0]} "
        f"where as_of = {literal(day)} and not backtest)"
        if forecasts
        else f"(select {quoted(key)}, null::double as churn_probability, "
        f"null::double as recent_value from {table} limit 0)"
    )
    rows = tables.records(
        "select segment, any_value(priority) as priority, any_value(action) as action, "
        "count(*) as customers, avg(churn_probability) as churn_probability, "
        "sum(churn_probability * recent_value) as at_stake "
        f"from (from {table} where as_of = {literal(day)}) left join {forecast} "
        f"using ({quoted(key)}) group by 1 order by priority nulls last, at_stake desc nulls last, "
        "customers desc, segment"
    )
    flows = tables.records(
        "select was.segment as was, now.segment as now, count(*) as customers "
        f"from (from {table} where as_of = {literal(since)}) as was "
        f"join (from {table} where as_of = {literal(day)}) as now using ({quoted(key)}) "
        "where was.segment <> now.segment group by all order by customers desc, was, now"
    )
    return {"day": day, "since": since, "segments": rows, "flows": flows}


def _shown(name: str, facts: Mapping[str, Any]) -> list[str | Table]:
    rows, flows = facts["segments"], facts["flows"]
    total = sum(row["customers"] for row in rows)
    table = grid(
        f"{name} on {facts['day']}: {counted(total, 'customer')}",
        "segment", "customers", "share", "came", "left", "churn", "at stake", "priority", "action",
    )  # fmt: skip
    table.columns[-1].justify = "left"
    for row in rows[:MOST_ROWS]:
        came, left = (_sum(flows, end, row["segment"]) for end in ("now", "was"))
        table.add_row(
            row["segment"], f"{row['customers']:,}", f"{row['customers'] / total:.1%}",
            f"+{came:,}", f"-{left:,}", _number(row["churn_probability"], ".0%"),
            _number(row["at_stake"], ",.0f"), _number(row["priority"], "d"), row["action"] or "-",
        )  # fmt: skip
    more = [f"and {len(rows) - MOST_ROWS} more segments"] if len(rows) > MOST_ROWS else []
    moved = sum(flow["customers"] for flow in flows)
    lines = [f"since {facts['since']}: {counted(moved, 'customer')} moved"]
    lines += [
        f"  {flow['was']} -> {flow['now']}: {flow['customers']:,}" for flow in flows[:MOST_FLOWS]
    ]
    lines += [f"  and {len(flows) - MOST_FLOWS} more pairs"] if len(flows) > MOST_FLOWS else []
    return [table, *more, *(lines if facts["since"] else []), ""]


def _sum(flows: Sequence[Mapping[str, Any]], end: str, segment: str) -> int:
    return sum(flow["customers"] for flow in flows if flow[end] == segment)


def _number(value: float | None, shape: str) -> str:
    return "-" if value is None else format(value, shape)
