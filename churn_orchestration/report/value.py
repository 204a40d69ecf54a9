"""`churn value`: what customers will spend, by tier, who will spend most, and how such forecasts
did.
"""

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

PEERS = {
    "served": "the forecast",
    "process": "the process alone",
    "tweedie": "a regression",
    "two_part": "whether, times how much",
    "last_period": "as in the period before",
    "mean_of_the_last": "the mean of that",
}


def of_entity(
    tables: Tables, table: str, key: str, entity: object, day: dt.date
) -> list[dict[str, Any]]:
    """What each value model says of a customer on a day; ``table``: of forecasts."""
    result = []
    for name in beside(tables, "values", table):
        refuse_damaged(tables.db, f"values.{name}")
        rows = tables.records(
            f"select * exclude ({quoted(key)}, as_of) from values.{name} "
            f"where {quoted(key)} = {literal(entity)} and as_of = {literal(day)}"
        )
        result += [{"model": name, **row} for row in rows]
    return result


def joined(tables: Tables, table: str, key: str, select: str, day: dt.date) -> str:
    """SQL: the rows of a select on customers, with what each value model expects of them:
    ``<model>``, ``<model>_low`` and ``<model>_high``; ``table``: of their forecasts.
    """
    for name in beside(tables, "values", table):
        refuse_damaged(tables.db, f"values.{name}")
        named = ", ".join(
            f"round({column}, 2) as {quoted(name + end)}"
            for column, end in (("expected_spend", ""), ("low", "_low"), ("high", "_high"))
        )
        of_day = f"select {quoted(key)}, {named} from values.{name} where as_of = {literal(day)}"
        select = f"from ({select}) left join ({of_day}) using ({quoted(key)})"
    return select


def value_report(
    business: Business, name: str | None, day: dt.date | None, most: int
) -> tuple[dict[str, Any], str]:
    """Of each value model, or of one: tiers and the largest of a day (None: the newest), and how
    earlier forecasts came out.

    Raises
    ------
    BusinessError : there is no such model, or no such day
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        there = shown(tables, "values")
        if not there or name not in (None, *there):
            message = f'no value model "{name}", but {", ".join(there)}'
            if not there:
                message = (
                    "nothing forecasts value: declare a `ValueModel` block, then "
                    f"{command(business, 'run')}"
                )
            raise BusinessError(f"{business.name}: {message}")
        facts = {each: _of_model(tables, each, day, most) for each in there if name in (None, each)}
    parts = [part for each, result in facts.items() for part in _shown(each, result)]
    return {"values": facts}, plain(*parts)


def _of_model(tables: Tables, name: str, day: dt.date | None, most: int) -> dict[str, Any]:
    table, quality = f"values.{name}", f"monitoring.{name}_value"
    refuse_damaged(tables.db, table, quality)
    days = [d for (d,) in tables.rows(f"select distinct as_of from {table} order by 1")]
    if not days or (day is not None and day not in days):
        reach = f"there are {days[0]} to {days[-1]}" if days else "no day has a forecast yet"
        raise BusinessError(f"{table}: no {day or 'day'}; {reach}")
    day = day or days[-1]
    key = tables.rows(f"describe {table}")[0][0]
    tiers = tables.records(
        "select tier, count(*) as customers, sum(expected_spend) as expected_spend, "
        "avg(expected_spend) as mean, avg(expected_purchases) as expected_purchases "
        f"from {table} where as_of = {literal(day)} group by 1 order by mean desc"
    )
    largest = tables.records(
        f"select * exclude (as_of) from {table} where as_of = {literal(day)} "
        f"order by expected_spend desc, {quoted(key)} limit {most}"
    )
    there = tables.rows(
        "select 1 from duckdb_views() where schema_name || '.' || view_name = ?", [quality]
    )
    measured = there and tables.records(
        f"select as_of, customers, forecaster, metric, value from {quality} where measured_on = "
        f"(select max(measured_on) from {quality} where measured_on <= {literal(day)})"
    )
    return {"day": day, "key": key, "tiers": tiers, "largest": largest, "quality": measured}


def _shown(name: str, facts: Mapping[str, Any]) -> list[str | Table]:
    tiers, quality = facts["tiers"], facts["quality"]
    total = sum(row["expected_spend"] for row in tiers)
    by_tier = grid(
        f"{name} on {facts['day']}: {total:,.0f} in all",
        "tier", "customers", "expected", "share", "mean", "purchase days",
    )  # fmt: skip
    for row in tiers:
        by_tier.add_row(
            row["tier"] or "-", f"{row['customers']:,}", f"{row['expected_spend']:,.0f}",
            f"{row['expected_spend'] / total:.0%}" if total else "-", f"{row['mean']:,.2f}",
            f"{row['expected_purchases']:.2f}",
        )  # fmt: skip
    futures = any(row["lifetime_value"] is not None for row in facts["largest"])
    columns = ["expected", "low", "high", "purchase days", "each"]
    largest = grid("The largest", facts["key"], *columns, *(["whole future"] if futures else []))
    for row in facts["largest"]:
        largest.add_row(
            str(row[facts["key"]]),
            *(_number(row[column]) for column in ("expected_spend", "low", "high")),
            f"{row['expected_purchases']:.1f}",
            f"{row['spend_per_purchase']:,.2f}",
            *([_number(row["lifetime_value"])] if futures else []),
        )
    if not quality:
        return [by_tier, "", largest, "", "no outcome is known yet: no interval, no quality", ""]
    known = {(row["forecaster"], row["metric"]): row["value"] for row in quality}
    metrics = ["rmse", "total_ratio", "spearman", "top_decile_capture", "coverage"]
    graded = grid(
        f"How the forecasts of {quality[0]['as_of']} came out, "
        f"{counted(quality[0]['customers'], 'customer')}",
        "",
        *(metric.replace("_", " ") for metric in metrics),
    )
    for peer, words in PEERS.items():
        if not any((peer, metric) in known for metric in metrics):
            continue
        graded.add_row(words, *(_number(known.get((peer, metric)), 3) for metric in metrics))
    return [by_tier, "", largest, "", graded, ""]


def _number(value: float | None, decimals: int = 0) -> str:
    if value is None:
        return "-"
    return f"{value:,.{0 if abs(value) >= 100 else decimals}f}"
