"""Rows by the day of their event: where those of a history or a query belong, and what does not fit
the last day.
"""

import datetime as dt

from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.sql import literal, within
from churn_orchestration.storage.warehouse import Tables

LONG_SILENCE = 31  # days; sources with a row a month are common, with fewer they are worth a look


def _event_day_sql(contract: contracts.Contract) -> str:
    """SQL of the day of a raw row's event; null where the source has no event time."""
    if contract.event_time is None:
        return "null::date"
    column = next(c for c in contract.columns if c.name == contract.event_time)
    return contracts.day(contract, contracts.typed(column, contract.timezone))


def split_sql(
    contract: contracts.Contract, first: dt.date, days: list[dt.date], arrived: str
) -> str:
    """SQL of the rows of ``days``, each with the partition of its event's day; earlier ones, and
    those without a day, go to ``first``.
    """
    day = _event_day_sql(contract)
    known = f"coalesce(_day, {literal(first)})"
    partition = f"greatest({known}, {literal(first)})"
    return f"""
select * exclude (_day) replace ({known} as known_on, {partition} as _partition)
from (select *, {day} as _day from {arrived}) where {within(partition, days)}"""


def beyond(
    tables: Tables, contract: contracts.Contract, place: str, arrived: str, last: dt.date
) -> str | None:
    """What of a history does not fit the last day asked for: rows after it, or none for long before
    it.

    Rows after it are not lost, they wait for their day. ``arrived``: SQL of all its rows.
    """
    if contract.event_time is None:
        return None
    day, earliest = _event_day_sql(contract), contract.earliest_event or dt.date.min
    [(rows, first, newest)] = tables.rows(
        f"select count(*) filter (_day > {literal(last)}), min(_day) filter (_day > "
        f"{literal(last)}), max(_day) filter (_day between {literal(earliest)} and "
        f"{literal(last)}) from (select {day} as _day from ({arrived}))"
    )
    notes = (
        [f"{place} holds {rows} rows of days after {last}, from {first} on: not taken in yet"]
        if rows
        else []
    )
    if newest and (last - newest).days > LONG_SILENCE:
        notes.append(
            f"the newest row of {place} is of {newest}, {(last - newest).days} days before {last}: "
            "is that the last day of the data?"
        )
    return "; ".join(notes) or None
