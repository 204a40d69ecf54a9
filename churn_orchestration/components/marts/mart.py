"""A mart: a .sql file of one select over what was known at the end of a day, stored by day."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn.rows.known_rows import known_rows, of_day, view_of
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    blocked,
    blocked_since,
    daily,
    due,
    record_and_publish,
    table_of,
)
from churn_orchestration.components.shown import look, selected
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.sql_contracts import (
    SqlTableSpec,
    declared_result,
    declared_spec,
    faults,
)
from churn_orchestration.components.source.sql_tests import (
    Keys,
    MadeBySql,
    Shapes,
    tested,
    tests_spec,
)
from churn_orchestration.storage.door import rows_of
from churn_orchestration.storage.layers import PARQUET_LAYERS, day_column
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.session import Session, StrangerError, WarehouseError
from churn_orchestration.storage.warehouse import Tables

READ = (
    "bronze",
    "silver",
    "gold",
    "predictions",
    "monitoring",
    "measures",
    "values",
    "segments",
    "offers",
    "actions",
    "marts",
)
"""The layers of which a mart may read."""
DAY = "as_of"


def mart_select(path: Path) -> Select:
    """The select of a mart. Raises BusinessError with file, line and remedy."""
    select = Select.read(path, READ)
    try:
        of_day(select.text, dt.date(2000, 1, 1), str(path))
    except ValueError as error:
        raise BusinessError(str(error)) from None
    return select


def made_of_day(name: str, select: Select, keys: Keys) -> MadeBySql:
    """A mart as a select on a database that holds what it reads."""

    def rows_of_day(db: duckdb.DuckDBPyConnection, as_of: dt.date | None) -> str:
        if as_of is None:
            raise BusinessError(
                f"{name} is by day: give its test the day, such as as_of: 2024-01-31"
            )
        for table in select.upstream:
            _show(Session(db, Path()), table, table, keys, as_of)
        return _of_day(db, select, as_of)

    return MadeBySql(name, select.upstream, rows_of_day)


def mart_asset(
    business: Business,
    select: Select,
    known: Mapping[str, Mapping[str, dg.TableColumn]],
    spec: SqlTableSpec,
    place: Path,
    keys: Keys,
    shapes: Shapes,
) -> dg.AssetsDefinition:
    """The asset marts/<table>, one partition a day.

    Parameters
    ----------
    known : the described columns of the tables upstream, by table
    place : the YAML that declares ``spec``
    keys : of the tables upstream
    """
    key = dg.AssetKey(["marts", select.path.stem])
    reads = sorted({*select.upstream, *spec.related})
    upstream = {
        name: column for table in select.upstream for name, column in known.get(table, {}).items()
    }
    upstream |= {DAY: dg.TableColumn(DAY, "date", "the day at whose end this was known")}
    names = select.columns and dict.fromkeys([DAY, *select.columns])
    contract = [spec] if str(spec) != str(SqlTableSpec()) else []
    identified = sorted((name, tuple(keys[name])) for name in select.upstream if keys.get(name))
    declaration = digest(select.text, identified, *contract)
    declaration = stages.version(declaration, stages.MARTS)

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(name.split(".")) for name in reads],
        description=f"{select.description}\n\nBy day: `$as_of` is the day, and every table is what "
        f"was known at its end.\n\n```sql\n{select.below_comment}\n```{look(business, key)}",
        check_specs=[
            accepted_spec(key),
            declared_spec(key, place.name),
            *tests_spec(key, place.name, spec.tests),
        ],
        code_version=declaration,
        **daily(
            business,
            key,
            {"sql", "parquet"},
            selected(names or list(upstream), select.description, upstream),
            declared_in=str(select.path),
        ),
    )
    def mart(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        name = table_of(key)
        yield from tested(key, made_of_day(name, select, keys), spec.tests, place, shapes)
        with warehouse.open() as tables:
            days = due(context, tables, key)
            refused = _on_invalid_ground(tables, name, reads, business.start, days)
            good = [day for day in days if day not in refused]
            rows = {day: _store(tables, name, select, keys, day) for day in good}
            broken = _broken(tables, name, select, spec, good)
            for day in {**refused, **broken}:
                tables.drop_day(name, day)
            made = tables.columns(name) if rows else {}
            shown = dg.TableSchema(selected(made, select.description, upstream, made))
            stored = [day for day in good if day not in broken]
            silent = "no key is declared, so rows that a join multiplies are not seen: in "
            silent += f"{place.name}, `tables: {{{select.path.stem}: {{key: [...]}}}}`, or []"
            yield from record_and_publish(
                context,
                tables,
                key,
                Computed(
                    declaration=declaration,
                    rows=rows,
                    refused=refused | broken,
                    upstream=reads,
                    metadata={max(stored): {"dagster/column_schema": shown}} if stored else {},
                    pictures=_pictures(tables, name, select, spec, max(stored)) if stored else {},
                    checks=[declared_result(key, broken, silent if spec.key is None else None)],
                ),
            )

    return mart


def _on_invalid_ground(
    tables: Tables, name: str, reads: Sequence[str], start: dt.date, days: list[dt.date]
) -> dict[dt.date, Any]:
    """The days that read a table whose rows are not valid: of what landed, of any day up to it."""
    published = [table for table in reads if table.split(".")[0] in PARQUET_LAYERS]
    for table in published:
        tables.days.look_back_as(name, table)
    landed = [table for table in reads if table not in published]
    refused = blocked(tables, published, days) | blocked_since(tables, landed, start, days)
    for table in published:
        first = tables.first_file_day(table)
        without = [day for day in days if first is None or day < first]
        refused |= {
            day: f"{table} has no rows up to {day}" for day in without if day not in refused
        }
    return refused


def _store(tables: Tables, name: str, select: Select, keys: Keys, day: dt.date) -> int:
    """Compute and store a day; its rows."""
    try:
        for table in select.upstream:
            _show(tables, table, _rows(tables, table, day), keys, day)
        return tables.put_day(name, day, f"from ({_of_day(tables.db, select, day)}) order by all")
    except (duckdb.BinderException, duckdb.CatalogException, *DATA_FAULTS) as error:
        raise BusinessError(f"{select.path}: {fault_message(error)}") from None
    except StrangerError as error:
        raise BusinessError(
            f"{select.path}: {error}; where a table has a row a day, say which: `as_of = $as_of`, "
            "and carry no as_of of an outer join"
        ) from None
    except WarehouseError as error:
        raise BusinessError(f"{select.path}: {error}") from None


def _rows(tables: Tables, table: str, day: dt.date) -> str:
    """SQL that the rows of a table are selected from; of a Parquet table, the days up to one."""
    if table.split(".")[0] not in PARQUET_LAYERS:
        return table
    return rows_of(tables.day_files(table, day).values())


def _show(session: Session, table: str, rows: str, keys: Keys, as_of: dt.date) -> None:
    """Make the view of what is known of a table."""
    columns = [name for name, *_ in session.rows(f"describe from {rows}")]
    known = known_rows(rows, columns, keys.get(table, ()), as_of, day_column(table))
    session.db.execute(f"create or replace temp view {view_of(table)} as {known}")


def _of_day(db: duckdb.DuckDBPyConnection, select: Select, as_of: dt.date) -> str:
    """The select of a day, with the day as its first column, where it does not carry it."""
    text = of_day(select.text, as_of, str(select.path))
    carried = [name for name, *_ in db.execute(f"describe {text}").fetchall()]
    first = "" if DAY in carried else f"{literal(as_of)} as {DAY}, "
    return f"select {first}* from (\n{text}\n)"


def _pictures(
    tables: Tables, name: str, select: Select, spec: SqlTableSpec, day: dt.date
) -> dict[str, str | None]:
    """What is declared to be drawn by cohort, of a day."""
    if not spec.cohorts:
        return {}
    cohort, age = map(identifier, spec.key or ())
    values = ", ".join(f"{identifier(each)}::double" for each in spec.cohorts)
    try:
        rows = tables.rows(
            f"select {cohort}, {age}::bigint, {values} "
            f"from {literal(tables.day_file(name, day))} "
            f"where {cohort} is not null and {age} is not null order by all"
        )
    except DATA_FAULTS as error:
        raise BusinessError(
            f"{select.path}: cohorts: {fault_message(error)}: {age} is a whole number of periods, "
            f"and {', '.join(spec.cohorts)} are numbers"
        ) from None
    return {
        f"picture_{each}": pictures.cohorts(
            name, each, spec.key or (), day, [(cohort, age, of[n]) for cohort, age, *of in rows]
        )
        for n, each in enumerate(spec.cohorts)
    }


def _broken(
    tables: Tables, name: str, select: Select, spec: SqlTableSpec, days: list[dt.date]
) -> dict[dt.date, str]:
    """The days that break the contract, with what is broken."""
    if not days:
        return {}
    tables.show(name)
    try:
        return faults(tables, name, spec, days)
    except (duckdb.BinderException, *DATA_FAULTS) as error:
        raise BusinessError(f"{select.path}: {fault_message(error)}") from None
