"""The tests of a .sql table: rows that its select is given, and the rows that it has to make."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from churn_orchestration.business import BusinessError, line_of
from churn_orchestration.churn.sql import connect, identifier, identifiers
from churn_orchestration.components.source.sql_contracts import SqlTestSpec

TESTS = "tests"
FLOATS = ("DOUBLE", "FLOAT")
DECIMALS = 9  # to which floating numbers are compared: the order of a sum shows in the last ones
WIDEST = 60


@dataclass(frozen=True)
class MadeBySql:
    """A table that a select makes of others.

    Parameters
    ----------
    name : ``layer.table``
    upstream : the tables that it reads
    select : the select to run on a database that holds those, for a day or, of silver, for none
    """

    name: str
    upstream: Sequence[str]
    select: Callable[[duckdb.DuckDBPyConnection, dt.date | None], str]


Keys = Mapping[str, Sequence[str]]
"""By table: the columns that identify a row of it, among those that became known at once."""

Shapes = Callable[[str], Mapping[str, str]]
"""Columns and types of a table by its name, as the business declares it; empty: none such."""


def shape_of(
    table: str,
    made: Mapping[str, MadeBySql],
    declared: Callable[[], dg.Definitions],
    types: Mapping[str, str],
) -> dict[str, str]:
    """The columns of a table and their types, from the declarations of a business alone.

    Parameters
    ----------
    made : the tables that a select makes; their types are those of its result
    declared : the definitions, of which all others' columns are
    types : of columns that name an entity, which definitions call a text whatever they are

    Raises
    ------
    BusinessError : a select on the way fails
    """
    if table in made:
        with closing(connect()) as db:
            of = made[table]
            try:
                for upstream in of.upstream:
                    _create(db, upstream, shape_of(upstream, made, declared, types))
                result = db.execute(f"describe {of.select(db, dt.date(2000, 1, 1))}").fetchall()
            except duckdb.Error as error:
                raise BusinessError(f"{table}: {str(error).splitlines()[0]}") from None
            return {name: kind for name, kind, *_ in result}
    assets = [a for a in declared().assets or [] if isinstance(a, dg.AssetsDefinition)]
    specs = {".".join(spec.key.path): spec for asset in assets for spec in asset.specs}
    columns = specs[table].metadata["dagster/column_schema"].columns if table in specs else []
    return {column.name: types.get(column.name, column.type) for column in columns}


def fault(table: MadeBySql, test: SqlTestSpec, place: str, shapes: Shapes) -> str | None:
    """How the rows that a table's select makes differ from those of a test; None: they are the
    same.

    Raises
    ------
    BusinessError : the test names a table or column that there is not, or its select fails
    """
    said = f'{place}: test "{test.name}"'
    if strangers := sorted(set(test.given) - set(table.upstream)):
        raise BusinessError(
            f"{said}: {table.name} does not read {strangers[0]} ({', '.join(table.upstream)})"
        )
    with closing(connect()) as db:
        for upstream in table.upstream:
            columns = shapes(upstream)
            if not columns:
                raise BusinessError(f"{said}: {table.name} reads {upstream}, which nothing makes")
            _create(db, upstream, columns)
            rows = [_dated(row, columns, test.day) for row in test.given.get(upstream, [])]
            _insert(db, upstream, columns, rows, f"{said}: given: {upstream}")
        try:
            db.execute(f"create table made as {table.select(db, test.day)}")
        except duckdb.Error as error:
            raise BusinessError(f"{said}: {str(error).splitlines()[0]}") from None
        return _difference(db, test, f"{said}: expect")


def _create(db: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> None:
    typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
    db.execute(f"create schema if not exists {table.partition('.')[0]}")
    db.execute(f"create table {table} ({typed})")


def _dated(
    row: Mapping[str, Any], columns: Mapping[str, str], as_of: dt.date | None
) -> dict[str, Any]:
    """A row with what the platform would say of it, where the test does not."""
    known = row.get("known_on", row.get("day", as_of))
    about = {"known_on": known, "_partition": known, "as_of": as_of, "measured_on": as_of}
    return {name: value for name, value in about.items() if name in columns} | dict(row)


def _insert(
    db: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    place: str,
) -> None:
    for number, row in enumerate(rows, 1):
        if unknown := [name for name in row if name not in columns]:
            raise BusinessError(
                f'{place}: row {number}: no column "{unknown[0]}" ({", ".join(columns)})'
            )
        values = ", ".join(f"cast(? as {columns[name]})" for name in row)
        try:
            statement = f"insert into {table} ({identifiers(row)}) values ({values})"
            db.execute(statement, list(row.values()))
        except duckdb.Error as error:
            message = str(error).splitlines()[0]
            raise BusinessError(f"{place}: row {number}: {message}") from None


def _difference(db: duckdb.DuckDBPyConnection, test: SqlTestSpec, place: str) -> str | None:
    """The rows that are missing and those that are too many, as a table; None: there are none."""
    columns = {name: kind for name, kind, *_ in db.execute("describe made").fetchall()}
    compared = list(test.expect[0]) if test.expect else list(columns)
    for number, row in enumerate(test.expect, 1):
        if set(row) != set(compared):
            raise BusinessError(
                f"{place}: row {number} names {', '.join(row)}, and the first row "
                f"{', '.join(compared)}: name the same columns in every row"
            )
    db.execute("create table expected as from made limit 0")
    _insert(db, "expected", columns, test.expect, place)
    shown = ", ".join(
        f"round({identifier(name)}, {DECIMALS}) as {identifier(name)}"
        if columns[name] in FLOATS
        else identifier(name)
        for name in compared
    )
    both = {"-": ("expected", "made"), "+": ("made", "expected")}
    lines = [
        (sign, *("null" if value is None else str(value) for value in row))
        for sign, (these, those) in both.items()
        for row in db.execute(
            f"select {shown} from {these} except all select {shown} from {those} order by all"
        ).fetchall()
    ]
    if not lines:
        return None
    table = [("", *compared), *lines]
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*table, strict=True)]
    written = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    missing = sum(sign == "-" for sign, *_ in lines)
    return "\n".join(
        [f"{missing} expected rows are not made (-), {len(lines) - missing} made rows are not "
         "expected (+)", *written]
    )  # fmt: skip


def tests_spec(
    key: dg.AssetKey, place: str, tests: Sequence[SqlTestSpec]
) -> list[dg.AssetCheckSpec]:
    """The check of the tests of a table; of a table without, none."""
    says = f"Of the rows that each test of {place} gives it, the select makes the rows it expects."
    return [dg.AssetCheckSpec(TESTS, asset=key, description=says, blocking=True)] if tests else []


def tested(
    key: dg.AssetKey, table: MadeBySql, tests: Sequence[SqlTestSpec], place: Path, shapes: Shapes
) -> Iterator[Any]:
    """The result of the tests of a table, before it computes a row.

    Raises
    ------
    dagster.Failure : one fails; nothing is computed
    BusinessError : as ``fault``
    """
    if not tests:
        return
    faults = {test.name: fault(table, test, place_of(place, test), shapes) for test in tests}
    failed = {name: difference for name, difference in faults.items() if difference}
    words = "\n".join(f"{name}: {difference}" for name, difference in failed.items())
    if failed:
        about = {"failed": dg.MetadataValue.md(f"```\n{words}\n```")}
        yield dg.AssetCheckEvaluation(key, TESTS, False, about, description=words)
        raise dg.Failure(f"{table.name}: a test of its SQL fails: {words}", allow_retries=False)
    yield dg.AssetCheckResult(
        asset_key=key, check_name=TESTS, passed=True, metadata={"tests": len(tests)}
    )


def place_of(path: Path, test: SqlTestSpec) -> str:
    """``file:line`` of a test."""
    return line_of(path, test.name)
