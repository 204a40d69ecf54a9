"""Whether a feature table's declaration fits its rows: values of categories, decimals of measures."""

import datetime as dt
from collections.abc import Iterable, Iterator

import dagster as dg

from churn_orchestration.churn.features.declared import AttributeTable, Category, EventSource, Measure
from churn_orchestration.warehouse import Tables, literal, within

AS_DECLARED = "as_declared"
SHOWN, HARMLESS = 5, 10
"""Values named in a message; a value that so many entities have names a group, and nobody."""
_LOST = 0.01  # of its value, before the decimals of a measure are a fault


def as_declared_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that says what of a declaration no row fits, and the other way round."""
    return dg.AssetCheckSpec(
        AS_DECLARED,
        asset=key,
        description="Every declared value of a category occurs, every value that occurs is declared, and no "
        "measure loses its value to its `decimals`.",
    )


def as_declared_result(
    tables: Tables,
    key: dg.AssetKey,
    inputs: Iterable[EventSource | AttributeTable],
    start: dt.date,
    days: list[dt.date],
) -> dg.AssetCheckResult:
    """What ``days`` brought that does not fit; with ``start``, the initial load, all that does not fit."""
    misfits = [told for source in inputs for told in _misfits(tables, source, start, days)]
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
    if not tables.columns(source.table):
        return
    for category in source.categories:
        if category.values and (told := _strange_values(tables, source, category, start, days)):
            yield f"category {category.name} of {source.name}: {told}"
    for measure in source.measures:
        yield from _lost(tables, source, measure, days)


def _strange_values(
    tables: Tables,
    source: EventSource | AttributeTable,
    category: Category,
    start: dt.date,
    days: list[dt.date],
) -> str:
    met = tables.rows(
        f"select cast({category.column} as varchar), count(*), count(distinct {source.entity}), "
        f"min(_partition) from {source.table} where {category.column} is not null "
        f"and _partition <= {literal(max(days))} group by 1 order by 2 desc, 1"
    )
    absent = [value for value in category.values if value not in {value for value, *_ in met}]
    told = (
        [f"{', '.join(absent[:SHOWN])}{_more(absent)} in no row"] if absent and met and start in days else []
    )
    others = [row for row in met if row[0] not in category.values and row[3] >= min(days)]
    shown = [row for row in others if row[2] >= HARMLESS][:SHOWN]
    rest = [row for row in others if row not in shown]
    named = [f"{value} ({rows:,} rows)" for value, rows, *_ in shown]
    if rest:
        more = "more " if shown else ""
        named.append(f"{len(rest):,} {more}values ({sum(rows for _, rows, *_ in rest):,} rows)")
    if named:
        told.append(f"not declared: {', '.join(named)}")
    return "; ".join(told)


def _more(values: list[str]) -> str:
    return f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""


def _lost(
    tables: Tables, source: EventSource | AttributeTable, measure: Measure, days: list[dt.date]
) -> Iterator[str]:
    number = f"cast({measure.column} as double)"
    kept = f"cast(try_cast({measure.column} as decimal(38, {measure.decimals})) as double)"
    [(lost, filled)] = tables.rows(
        f"select count(*) filter (abs({number} - {kept}) > {_LOST} * abs({number})), count({measure.column}) "
        f"from {source.table} where {within('_partition', days)}"
    )
    if lost > 0.01 * filled:
        yield (
            f"measure {measure.name} of {source.name}: at {measure.decimals} decimals {lost:,} of {filled:,} "
            f"values lose more than a hundredth: give it more `decimals`"
        )
