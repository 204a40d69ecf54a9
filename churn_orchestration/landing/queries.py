"""What a query gives becomes raw rows, every value as text."""

import datetime as dt
import os
import re
from contextlib import closing
from pathlib import Path

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, without_values
from churn_orchestration.churn.sql import close_off, connect, literal, quoted
from churn_orchestration.landing.event_days import beyond, split_sql
from churn_orchestration.landing.source_landing import Landed, SourceLanding
from churn_orchestration.storage.masking import database_secrets, masked

_Answer = tuple[list[str], list[tuple[str | None, ...]]]
"""Column names and rows, as text."""


def land_query(landing: SourceLanding, url_variable: str, sql: str) -> Landed:
    """Take in what a query gives for the days of a landing.

    The query may use ``:first_day`` and ``:last_day``. A row belongs to the day of its event; one
    of an earlier day, or without a readable day, came late: it belongs to the first of the days. In
    the initial load ``:first_day`` is ``history_from``, or 1900-01-01 where none is declared.

    Raises
    ------
    BusinessError : the environment variable is not set, the source has no event time, or the query
        failed
    """
    tables, days = landing.tables, landing.days
    _keep_answer(landing, *_answer(landing, url_variable, sql))
    came = (
        f"(select *, null::varchar as _error, {literal(url_variable)} as _file, "
        f"{literal(days[0])} as known_on, {literal(days[0])} as _partition from _queried)"
    )
    arrived = split_sql(landing.contract, days[0], days, came)
    if days[0] != landing.start:  # what comes late is known on the day that saw it
        arrived = f"select * replace (_partition as known_on) from ({arrived})"
    place = f"the query on {url_variable}"
    note = beyond(tables, landing.contract, place, "(from _queried)", days[-1])
    with tables.transaction():
        stored = tables.replace_days(
            landing.raw, days, f"from ({arrived}) order by _partition, _file, _line"
        )
    return Landed(rows=stored, beyond=note)


def _answer(landing: SourceLanding, url_variable: str, sql: str) -> _Answer:
    address = os.environ.get(url_variable)
    if not address:
        raise BusinessError(
            f"{landing.name}: the environment variable {url_variable} is not set; it names the "
            "database"
        )
    if landing.contract.event_time is None:
        raise BusinessError(
            f'{landing.name}: the rows of a query are split by event day: give "event_time"'
        )
    days = landing.days
    first = landing.business.earliest_event if days[0] == landing.start else days[0]
    try:
        return _query(address, sql, {"first_day": first, "last_day": days[-1]})
    except Exception as error:  # whatever the driver raises, reported with source and variable
        message = str(error).strip().splitlines()[0]
        # DataError: SQLAlchemy's name for it.
        if isinstance(error, DATA_FAULTS) or type(error).__name__ == "DataError":
            message = without_values(error)
        message = masked(message, *database_secrets(address))
        # From None: Dagster's log keeps what an error comes from.
        raise BusinessError(
            f"{landing.name}: the query on {url_variable} failed: {message}"
        ) from None


def _keep_answer(
    landing: SourceLanding, names: list[str], rows: list[tuple[str | None, ...]]
) -> None:
    """Make the temporary table ``_queried`` of an answer; ``_line`` counts its rows from 1."""
    db = landing.tables.db
    columns = ", ".join(f"{quoted(column)} varchar" for column in names)
    db.execute(f"create or replace temp table _queried ({columns}, _line bigint)")
    if rows:
        marks = ", ".join("?" * (len(names) + 1))
        db.executemany(
            f"insert into _queried values ({marks})", [[*r, n] for n, r in enumerate(rows, 1)]
        )


def _query(address: str, sql: str, parameters: dict[str, dt.date]) -> _Answer:
    if "://" not in address:
        with closing(connect(address, read_only=True)) as connection:
            close_off(connection, [Path(address).resolve().parent])  # views may read files there
            bound = {name: value for name, value in parameters.items() if f":{name}" in sql}
            query = re.sub(r"(?<!:):(first_day|last_day)", r"$\1", sql.strip().rstrip(";"))
            cursor = connection.execute(f"select cast(columns(*) as varchar) from ({query})", bound)
            return [column[0] for column in cursor.description], cursor.fetchall()
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    try:
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(sql), parameters)
            return list(result.keys()), [
                tuple(None if v is None else str(v) for v in row) for row in result
            ]
    finally:
        engine.dispose()
