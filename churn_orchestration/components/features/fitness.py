"""Whether a table can be read as a feature table declares, reported before anything is computed
from it.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator
from itertools import chain

import duckdb

from churn_orchestration.business import SETTINGS, BusinessError
from churn_orchestration.churn.features.declared import (
    CLOCKS,
    AttributeTable,
    EventSource,
    Measure,
)
from churn_orchestration.churn.rows.shapes import fault_message, shape
from churn_orchestration.churn.sql import identifier, within
from churn_orchestration.components.source.doubts import widened
from churn_orchestration.storage.warehouse import Tables, literal, quoted

MOST_VALUES = 100_000
"""Distinct values of a category in one landing; more are names of single events, and no
category.
"""
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
"""The types of a measure."""
AMOUNT = re.compile(r"FLOAT|DOUBLE|DECIMAL.*")
_OURS = ("known_on", "_partition", "_file", "_line")
Place = Callable[..., str]
"""From the names of a source and of what is in it to ``file:line``."""


def require_columns(tables: Tables, source: EventSource | AttributeTable, place: Place) -> None:
    """Refuse a column that its table has not, and a measure that is no number. Raises
    BusinessError.
    """
    there = {name.lower(): kind for name, kind in _columns_of(tables, source, place).items()}
    if not there:
        return
    used = {source.entity: "entity"} | {c.column: f"category {c.name}" for c in source.categories}
    used |= {m.column: f"measure {m.name}" for m in source.measures}
    dates = source.dates if isinstance(source, AttributeTable) else ()
    used |= {date.column: f"date {date.name}" for date in dates}
    if isinstance(source, EventSource):
        used |= dict.fromkeys(source.key, "key")
    if absent := [name for name in used if name.lower() not in there]:
        raise BusinessError(
            f'{place(source.name)}: the features read "{absent[0]}" ({source.name}: '
            f"{used[absent[0]]}), and "
            f"{source.table} has no such column (it has {', '.join(sorted(there))}): mend it here, "
            "or there"
        )
    for m in source.measures:
        kind = there[m.column.lower()]
        if not NUMBER.fullmatch(kind):
            raise BusinessError(
                f"{place(source.name, m.name)}: measure {m.name} of {source.name}: "
                f"{source.table}.{m.column} is {kind.lower()}; a measure is a number: declare its "
                "type in the contract, or cast it in the SQL"
            )
    for date in dates:
        kind = there[date.column.lower()]
        if kind != "DATE" and not kind.startswith("TIMESTAMP"):
            raise BusinessError(
                f"{place(source.name, date.name)}: date {date.name} of {source.name}: "
                f"{source.table}.{date.column} is {kind.lower()}: declare it as date or timestamp "
                "in the contract, or cast it in the SQL"
            )


def _columns_of(
    tables: Tables, source: EventSource | AttributeTable, place: Place
) -> dict[str, str]:
    """The columns of a table and their types; of a mart those of its select. None, where there are
    no rows yet that it could read.
    """
    if isinstance(source, EventSource) or source.mart is None:
        return tables.columns(source.table)
    for table in source.reads:
        columns = tables.columns(table)
        if not columns:
            return {}
        if absent := [name for name in CLOCKS if name not in columns]:
            raise BusinessError(
                f"{place(source.name)}: {source.table} reads {table}, which has no {absent[0]}: "
                "what of it was known on a day is not known; let its .sql carry it"
            )
    try:
        described = tables.rows(f"describe from {source.mart.at(dt.date(2000, 1, 1))}")
    except duckdb.Error as error:
        raise BusinessError(f"{source.mart.file}: {fault_message(error)}") from None
    return {name: kind for name, kind, *_ in described}


def require_rows(
    tables: Tables, source: EventSource, days: list[dt.date], earliest: dt.date, place: Place
) -> None:
    """Refuse what the rows that landed on ``days`` cannot be features of. Raises BusinessError."""
    landed = f"from {source.table} where {within('_partition', days)}"
    faults = chain(
        _too_early(tables, source, landed, earliest, place),
        _too_many(tables, source, landed, place),
        _shared_keys(tables, source, landed, place),
        *(_too_large(tables, source, m, landed, place) for m in source.measures),
    )
    if first := next(faults, None):
        raise BusinessError(first)


def _too_early(
    tables: Tables, source: EventSource, landed: str, earliest: dt.date, place: Place
) -> Iterator[str]:
    [(first, count)] = tables.rows(
        f"select min(day), count(*) {landed} and day < {literal(earliest)}"
    )
    if count:
        yield (
            f"{place(source.name)}: {count:,} events of {source.table} lie before {earliest}, the "
            f"first on {first}: the business begins with history_from in {SETTINGS}; move it back, "
            "or leave such rows out of the SQL"
        )


def _too_many(tables: Tables, source: EventSource, landed: str, place: Place) -> Iterator[str]:
    for category in source.categories:
        if not category.closed:
            [(values,)] = tables.rows(
                f"select approx_count_distinct({identifier(category.column)}) {landed}"
            )
            if values > MOST_VALUES:
                yield (
                    f"{place(source.name, category.name)}: category {category.name} of "
                    f"{source.name} has about {values:,} values in "
                    f"{source.table}.{category.column}: that names single events, and is no "
                    "category; take it out, or group its values in the SQL"
                )


def _shared_keys(tables: Tables, source: EventSource, landed: str, place: Place) -> Iterator[str]:
    if not source.key:
        return
    keys = ", ".join(map(quoted, source.key))
    shared = f"from (select * {landed} qualify count(*) over (partition by {keys}, known_on) > 1)"
    [(rows,)] = tables.rows(f"select count(*) {shared}")
    if rows:
        kinds = tables.columns(source.table).items()
        others = [name for name, kind in kinds if name not in _OURS and not AMOUNT.fullmatch(kind)]
        wider = widened(tables, source.key, others, shared)
        unique = f"; unique would be `key: [{', '.join(wider)}]`" if wider else ""
        yield (
            f"{place(source.name)}: {', '.join(source.key)} is no key of {source.table}: {rows:,} "
            "rows share it with another that became known on the same day, and one of them alone "
            f"would count{unique}; or `group by {', '.join(source.key)}` in the SQL, or leave "
            "`key` out where nothing is corrected"
        )


def _too_large(
    tables: Tables, source: EventSource, m: Measure, landed: str, place: Place
) -> Iterator[str]:
    most = (2**63 - 1) // 10**m.decimals
    column = identifier(m.column)
    largest = f"select {column}, count(*) over () {landed} and abs({column}) > {most}"
    for value, count in tables.rows(f"{largest} order by abs({column}) desc limit 1"):
        yield (
            f"{place(source.name, m.name)}: measure {m.name} of {source.name}: {count:,} amounts "
            f"of {source.table}.{m.column} lie beyond 64 bits at {m.decimals} decimals, e.g. "
            f"{shape(str(value))}: keep fewer `decimals`, or leave such rows out by a rule"
        )
