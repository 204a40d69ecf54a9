"""`churn recommend`: what to offer to customers, and how such lists came out."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.sql import literal, quoted
from churn_orchestration.report.text import command, counted, grid, plain
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import beside, shown
from churn_orchestration.storage.warehouse import Tables

PARTS = ("_pairs", "_due")
"""The ends of the tables beside a list."""
SHOWN = ("ndcg", "recall")


def recommend_report(
    business: Business,
    name: str | None,
    segment: str | None,
    day: dt.date | None,
    customers: int,
    products: int,
) -> tuple[dict[str, Any], str]:
    """The offers of the first customers of a day: those with the highest probability to buy.

    Parameters
    ----------
    name : the block of offers; None: the only one
    segment : ``set:name``, or a name that one set has; None: all customers
    day : None: the newest

    Raises
    ------
    BusinessError : there are no such offers, no such segment, or no such day
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        table = _chosen(business, tables, name)
        refuse_damaged(db, table)
        day = _day(tables, table, day)
        key = tables.rows(f"describe {table}")[0][0]
        of = _segment(tables, table, segment, day) if segment else None
        facts = _facts(tables, table, key, day, of, customers, products)
    return facts, plain(*_shown(facts, segment))


def _chosen(business: Business, tables: Tables, name: str | None) -> str:
    every = shown(tables, "offers")
    parts = {name + part for name in every for part in PARTS}
    there = [name for name in every if name not in parts]
    if not there:
        raise BusinessError(
            f"{business.name}: nothing is offered: declare an `Offers` block, then "
            f"{command(business, 'run')}"
        )
    if name is None and len(there) == 1:
        name = there[0]
    if name not in there:
        but = f', not "{name}"' if name else ""
        raise BusinessError(f"--offers: one of {', '.join(there)}{but}")
    return f"offers.{name}"


def _day(tables: Tables, table: str, day: dt.date | None) -> dt.date:
    days = [d for (d,) in tables.rows(f"select distinct as_of from {table} order by 1")]
    if not days or (day is not None and day not in days):
        reach = f"there are {days[0]} to {days[-1]}" if days else "no day has a row yet"
        raise BusinessError(f"{table}: no {day or 'day'}; {reach}")
    return day or days[-1]


def _segment(tables: Tables, table: str, segment: str, day: dt.date) -> tuple[str, str]:
    """The set and the name of a segment of the customers of a table; its set is looked up where it
    is not given.
    """
    there = beside(tables, "segments", table)
    given, _, name = segment.rpartition(":")
    if given and given not in there:
        raise BusinessError(
            f'--segment: no set of segments "{given}" ({", ".join(there) or "none at all"})'
        )
    names = {}
    for each in [given] if given else there:
        refuse_damaged(tables.db, f"segments.{each}")
        rows = tables.rows(
            f"select distinct segment from segments.{each} where as_of = ? order by 1", [day]
        )
        names[each] = [each_name for (each_name,) in rows]
    having = [each for each in names if name in names[each]]
    if not having:
        listed = "; ".join(f"{each}: {', '.join(of)}" for each, of in names.items() if of)
        raise BusinessError(
            f'--segment: nobody is in a segment "{name}" on {day} ({listed or "there is none"})'
        )
    if len(having) > 1:
        either = " or ".join(f"{each}:{name}" for each in having)
        raise BusinessError(f"--segment: {name} is in several sets: {either}")
    return having[0], name


def _facts(
    tables: Tables, table: str, key: str, day: dt.date, of: tuple[str, str] | None,
    customers: int, products: int,
) -> dict[str, Any]:  # fmt: skip
    where, parameters = "as_of = ?", list[object]([day])
    if of:
        where += (
            f" and {quoted(key)} in (select {quoted(key)} from segments.{of[0]} "
            "where as_of = ? and segment = ?)"
        )
        parameters += [day, of[1]]
    rows = tables.rows(
        f"with lists as (from {table} where {where}), "
        f"best as (select {quoted(key)}, max(buy_probability) as best from lists where rank <= ? "
        f"group by 1 order by best desc nulls last, {quoted(key)} limit ?) "
        f"select {quoted(key)}, rank, item, score, buy_probability, why, is_cold, method "
        f"from lists join best using ({quoted(key)}) where rank <= ? "
        f"order by best desc nulls last, {quoted(key)}, rank",
        [*parameters, products, customers, products],
    )
    names = [key, "rank", "item", "score", "buy_probability", "why", "is_cold", "method"]
    [(of_all,)] = tables.rows(
        f"select count(distinct {quoted(key)}) from {table} where {where}", parameters
    )
    return {
        "offers": table.removeprefix("offers."), "day": day, "key": key,
        "segment": ":".join(of) if of else None, "customers": of_all,
        "rows": [dict(zip(names, row, strict=True)) for row in rows],
        "quality": _quality(tables, table, day),
    }  # fmt: skip


def _quality(tables: Tables, table: str, day: dt.date) -> list[dict[str, Any]]:
    """How each method came out, of the newest day on which all were compared."""
    quality = f"monitoring.{table.removeprefix('offers.')}_offers"
    there = tables.rows(
        "select 1 from duckdb_views() where schema_name || '.' || view_name = ?", [quality]
    )
    if not there:
        return []
    refuse_damaged(tables.db, quality)
    return tables.records(
        f"select as_of, method, metric, value, customers, is_used from {quality} "
        f"where measured_on = {literal(day)} and method <> 'served' and as_of = (select max(as_of) "
        f"from {quality} where measured_on = {literal(day)} and method <> 'served') "
        "order by method, metric"
    )


def _shown(facts: Mapping[str, Any], segment: str | None) -> list[str | Table]:
    rows, quality, key = facts["rows"], facts["quality"], facts["key"]
    which = f"of {facts['segment']}" if segment else "in all"
    table = grid(
        f"{facts['offers']} on {facts['day']}: {counted(facts['customers'], 'customer')} {which}",
        key, "rank", "item", "score", "probability", "why",
    )  # fmt: skip
    table.columns[-1].justify = "left"
    last = None
    for row in rows:
        table.add_row(
            str(row[key]) if row[key] != last else "", str(row["rank"]), row["item"],
            f"{row['score']:.3f}",
            "-" if row["buy_probability"] is None else f"{row['buy_probability']:.1%}",
            row["why"] + (" (nothing is known of the customer)" if row["is_cold"] else ""),
        )  # fmt: skip
        last = row[key]
    if not quality:
        return [table, "", "no outcome of a list is known yet", ""]
    graded = grid(
        f"How the first items came out that each method would have offered on "
        f"{quality[0]['as_of']}, {counted(quality[0]['customers'], 'customer')}",
        "", *SHOWN, "",
    )  # fmt: skip
    methods = sorted({row["method"] for row in quality})
    known = {(row["method"], row["metric"]): row for row in quality}
    for method in sorted(methods, key=lambda name: -known[name, "ndcg"]["value"]):
        figures = [f"{known[method, metric]['value']:.3f}" for metric in SHOWN]
        used = known[method, "ndcg"]["is_used"]
        graded.add_row(method, *figures, "orders the lists" if used else "")
    return [table, "", graded, ""]
