"""What may be seen at an as_of: the events, the last row of each entity, the daily parts; all as
SQL.
"""

import datetime as dt
from collections.abc import Iterable

from churn_orchestration.churn.features.declared import AttributeTable, EventSource
from churn_orchestration.churn.sql import identifier, identifiers, literal


def read_from(source: EventSource | AttributeTable) -> list[str]:
    """Every expression that the features of a table read from one of its rows."""
    return [
        *(identifier(m.column) for m in source.measures),
        *(identifier(c.column) for c in source.categories),
        *(flag.condition for flag in source.flags),
        *(
            identifier(date.column)
            for date in (source.dates if isinstance(source, AttributeTable) else ())
        ),
    ]


def visible(source: EventSource, as_of: dt.date, columns: str = "*") -> str:
    """SQL: the events of a source that may be seen at ``as_of``, inclusive; the last known version
    of each.

    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order")
    >>> visible(orders, dt.date(2024, 1, 31), "day")
    "select day from silver.orders where known_on <= date '2024-01-31'
    and day <= date '2024-01-31' and customer_id is not null"
    """
    until = literal(as_of)
    seen = f"day <= {until} and {identifier(source.entity)} is not null"
    if not source.key:
        return f"select {columns} from {source.table} where known_on <= {until} and {seen}"
    # The version is chosen before anything else is read of it: a correction may move or void its
    # event.
    order = ", ".join(
        ["known_on desc", "_partition desc", identifier(source.entity), "day", *read_from(source)]
    )
    version = f"row_number() over (partition by {identifiers(source.key)} order by {order}) = 1"
    return (
        f"select {columns} from (select * from {source.table} where known_on <= {until} qualify "
        f"{version}) where {seen}"
    )


def visible_parts(as_of: dt.date) -> str:
    """SQL condition: the daily parts that may be seen at ``as_of``, inclusive; those of no event
    too.
    """
    until = literal(as_of)
    return f"day <= {until} and known_on <= {until} and superseded_on > {until}"


def last_known(table: AttributeTable, as_of: dt.date) -> str:
    """SQL: the row of each entity that counts at ``as_of``, inclusive; of a mart, its one row then,
    and an error where it has two.
    """
    if table.mart is None:
        return latest(table.table, table.entity, read_from(table), as_of, table.by_day)
    entity = identifier(table.entity)
    twice = (
        f"{table.table} has several rows of one {table.entity} at {as_of}, and features want one: "
        f"group by {table.entity} in {table.mart.file}"
    )
    return (
        f"select * from (select *, count(*) over (partition by {entity}) as _rows "
        f"from {table.mart.at(as_of)}) where {entity} is not null "
        f"and case when _rows > 1 then error({literal(twice)}) else true end"
    )


def latest(
    table: str, entity: str, used: Iterable[str], as_of: dt.date, by_day: bool = False
) -> str:
    """SQL: of each entity, the row of a table that was known last by ``as_of``, inclusive.

    ``by_day``: the row of the latest day instead, of those known by then. ``used`` are the
    expressions that are read from that row: of two rows equally late they decide, so that the order
    of storage never does.
    """
    until, entity = literal(as_of), identifier(entity)
    clocks = ["day desc", "known_on desc"] if by_day else ["known_on desc", "day desc"]
    order = ", ".join([*clocks, "_partition desc", *(f"({sql})" for sql in used)])
    return (
        f"select * from {table} where known_on <= {until} and day <= {until} and {entity} is not "
        f"null qualify row_number() over (partition by {entity} order by {order}) = 1"
    )
