"""Whether a feature table's declaration fits its rows: values of categories, decimals of
measures.
"""

import datetime as dt
from collections.abc import Iterable, Iterator

import dagster as dg

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    Measure,
)
from churn_orchestration.churn.sql import within
from churn_orchestration.storage.warehouse import Tables, literal, quoted

AS_DECLARED = "as_declared"
SHOWN, HARMLESS = 5, 10
"""Values named in a message; a value that so many entities have names a group, and nobody."""
_LOST = 0.01  # of its value, before the decimals of a measure are a fault


def as_declared_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that names what does not fit; it refuses nothing."""
    return dg.AssetCheckSpec(
        AS_DECLARED,
        asset=key,
        description="Every declared value of a category occurs, every value that occurs is "
        "declared, no key is used again for another event, and no measure "
        "loses its value to its `decimals`.",
    )


def as_declared_result(
    tables: Tables,
    key: dg.AssetKey,
    inputs: Iterable[EventSource | AttributeTable],
    start: dt.date,
    days: list[dt.date],
) -> dg.AssetCheckResult:
    """What ``days`` brought that does not fit; with ``start``, the initial load, all that does not
    fit.
    """
    misfits = [message for source in inputs for message in _misfits(tables, source, start, days)]
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=AS_DECLARED,
        passed=not misfits,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(misfits) or None,
    )


def _misfits(
    tables: Tables, source: EventSource | AttributeTable, start: dt.date, days: list[dt.date]
) -> Iterator[str]:
    if not tables.columns(source.table) or (isinstance(source, AttributeTable) and source.mart):
        return  # what a mart makes of rows that landed is not what landed
    for category in source.categories:
        if category.values and (message := _strange_values(tables, source, category, start, days)):
            yield f"category {category.name} of {source.name}: {message}"
    if isinstance(source, EventSource) and source.key:
        yield from _reused_keys(tables, source, days)
    if isinstance(source, AttributeTable):
        yield from _ambiguous(tables, source, days)
    for measure in source.measures:
        yield from _lost(tables, source, measure, days)


def _strange_values(
    tables: Tables,
    source: EventSource | AttributeTable,
    category: Category,
    start: dt.date,
    days: list[dt.date],
) -> str:
    column = quoted(category.column)
    met = tables.rows(
        f"select cast({column} as varchar), count(*), count(distinct {quoted(source.entity)}), "
        f"min(_partition) from {source.table} where {column} is not null "
        f"and _partition <= {literal(max(days))} group by 1 order by 2 desc, 1"
    )
    absent = [value for value in category.values if value not in {value for value, *_ in met}]
    parts = (
        [f"{', '.join(absent[:SHOWN])}{_more(absent)} in no row"]
        if absent and met and start in days
        else []
    )
    others = [row for row in met if row[0] not in category.values and row[3] >= min(days)]
    shown = [row for row in others if row[2] >= HARMLESS][:SHOWN]
    rest = [row for row in others if row not in shown]
    named = [f"{value} ({rows:,} rows)" for value, rows, *_ in shown]
    if rest:
        more = "more " if shown else ""
        named.append(f"{len(rest):,} {more}values ({sum(rows for _, rows, *_ in rest):,} rows)")
    if named:
        parts.append(f"not declared: {', '.join(named)}")
    return "; ".join(parts)


def _more(values: list[str]) -> str:
    return f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""


def _reused_keys(tables: Tables, source: EventSource, days: list[dt.date]) -> Iterator[str]:
    """A correction is known after its event's day; rows that are each known on their own are two
    events.
    """
    keys = ", ".join(map(quoted, source.key))
    landed = f"select {keys} from {source.table} where {within('_partition', days)}"
    [(reused,)] = tables.rows(
        f"select count(*) from (select {keys} from {source.table} semi join ({landed}) using "
        f"({keys}) where known_on = day and _partition <= {literal(max(days))} "
        "group by all having count(distinct day) > 1)"
    )
    if reused:
        named = ", ".join(source.key)
        yield (
            f"{reused:,} values of {named} stand for {source.noun}s of several days, each known on "
            f"its own day, and the last alone counts: is {named} really the key of {source.table}?"
        )


def _ambiguous(tables: Tables, source: AttributeTable, days: list[dt.date]) -> Iterator[str]:
    """Rows of one entity of which neither is the later one."""
    used = [quoted(m.column) for m in source.measures] + [
        quoted(c.column) for c in source.categories
    ]
    used += [quoted(date.column) for date in source.dates]
    if not used:
        return
    entity, version = quoted(source.entity), "known_on, day" if source.by_day else "known_on"
    [(entities,)] = tables.rows(
        f"select count(distinct {entity}) from (select {entity} from {source.table} "
        f"where {within('_partition', days)} group by {entity}, {version} "
        f"having count(distinct ({', '.join(used)})) > 1)"
    )
    if entities:
        yield (
            f"{entities:,} values of {source.entity} have several rows in {source.table} that "
            "became known on one day and differ, and one of them alone counts: `group by "
            f"{source.entity}` in SQL"
        )


def _lost(
    tables: Tables, source: EventSource | AttributeTable, measure: Measure, days: list[dt.date]
) -> Iterator[str]:
    number = f"cast({quoted(measure.column)} as double)"
    kept = f"cast(try_cast({quoted(measure.column)} as decimal(38, {measure.decimals})) as double)"
    [(lost, filled)] = tables.rows(
        f"select count(*) filter (abs({number} - {kept}) > {_LOST} * abs({number})), "
        f"count({number}) from {source.table} where {within('_partition', days)}"
    )
    if lost > 0.01 * filled:
        yield (
            f"measure {measure.name} of {source.name}: at {measure.decimals} decimals {lost:,} of "
            f"{filled:,} values lose more than a hundredth: give it more `decimals`"
        )
