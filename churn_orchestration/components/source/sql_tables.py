"""Every .sql next to the YAML is a table of that layer: one select, whose upstreams it names
itself.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import duckdb
import sqlglot
from pydantic import Field
from sqlglot import exp

from churn_orchestration import stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
from churn_orchestration.churn.rows.user_sql import tables_read_by
from churn_orchestration.churn.sql import within
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    blocked,
    daily,
    due,
    record_and_publish,
    require_initial_load,
    table_of,
)
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import look, selected
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_contracts import (
    SqlTableSpec,
    declared_result,
    declared_spec,
    faults,
    unkeyed_message,
)
from churn_orchestration.storage.resources import Warehouse

NAME = r"^[a-z][a-z0-9_]*$"
PARTITION = "_partition"

TYPE = "churn_orchestration.components.SqlTables"
"""How YAML names the component of this module, wherever the module lies."""


@dataclass(frozen=True)
class Select:
    """A .sql file of one select: its text, its tree, the opening comment, the tables that it
    names.
    """

    path: Path
    text: str
    tree: exp.Query
    description: str
    upstream: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Select":
        """Read and check a .sql file. Raises BusinessError with file, line and remedy."""
        text = path.read_text(encoding="utf-8")
        try:
            statements = [tree for tree in sqlglot.parse(text, read="duckdb") if tree is not None]
        except sqlglot.errors.ParseError as error:
            first = error.errors[0]
            place = f"{path}:{first['line']}:{first['col']}"
            near = first["highlight"]
            raise BusinessError(
                f'{place}: not valid SQL near "{near}": {first["description"]}'
            ) from None
        except sqlglot.errors.TokenError as error:
            raise BusinessError(f"{path}: not valid SQL: {error}") from None
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            raise BusinessError(f"{path}: wanted one select, got {len(statements)} statements")
        tree = statements[0]
        try:
            upstream = tables_read_by(text, str(path))
        except ValueError as error:
            raise BusinessError(str(error)) from None
        if not upstream:
            raise BusinessError(
                f"{path}: reads no table; name upstreams with their layer, such as bronze.orders"
            )
        return cls(path, text.rstrip().rstrip(";"), tree, _opening_comment(text), tuple(upstream))


@dataclass(frozen=True)
class SqlTable:
    """One .sql file: a select that is valid as it is and carries ``_partition`` through.

    That column is the whole convention: a day is refreshed by running ``select * from (file) where
    _partition in (those days)``, and DuckDB pushes the condition down to the tables below.
    """

    path: Path
    select: str
    description: str
    upstream: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "SqlTable":
        """Read and check a .sql file. Raises BusinessError with file, line and remedy."""
        if not re.fullmatch(NAME, path.stem):
            raise BusinessError(f"{path}: the file names its table: name it with a-z, 0-9 and _")
        select = Select.read(path)
        carried = select.tree.named_selects
        if PARTITION not in carried and "*" not in carried:
            raise BusinessError(
                f"{path}: the select does not carry {PARTITION} through; add it, so that a day is "
                "its own"
            )
        columns = (
            () if "*" in carried else tuple(carried)
        )  # of a star, those of the tables it names
        return cls(path, select.text, select.description, select.upstream, columns)


def sql_tables_of(business: Business) -> dict[str, SqlTable]:
    """The silver tables of a business by name, ``silver.orders``."""
    folders = {
        path.parent for path in business.files() if path.name == "defs.yaml" and _is_of_tables(path)
    }
    paths = sorted(path for folder in folders for path in folder.glob("*.sql"))
    return {f"silver.{path.stem}": SqlTable.read(path) for path in paths}


def _is_of_tables(path: Path) -> bool:
    return TYPE in path.read_text(encoding="utf-8")


def _opening_comment(text: str) -> str:
    lines = []
    for line in text.lstrip().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return "\n".join(lines)


def _below_comment(select: str) -> str:
    return "\n".join(
        itertools.dropwhile(lambda line: line.startswith("--"), select.lstrip().splitlines())
    )


@dg.scaffold_with(example(named=False, layer="silver"))
class SqlTables(dg.Component, dg.Model, dg.Resolvable):
    """The .sql files next to this YAML, each a daily table of the layer."""

    layer: Literal["silver"] = Field(
        "silver", description="schema of the tables and group in the UI"
    )
    tables: dict[str, SqlTableSpec] = Field(
        {},
        description=(
            "by name of a .sql file: its key and what else is checked by day, "
            "e.g. {key: [order_id]}"
        ),
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per .sql file, named after it."""
        business = Business.holding(context.path)
        tables = [SqlTable.read(path) for path in sorted(context.path.glob("*.sql"))]
        sources = context.component_tree.get_all_components(of_type=SourceTable)
        known = {
            f"bronze.{s.name}": {column.name: column for column in s.bronze_columns()}
            for s in sources
        }
        keys = {f"bronze.{source.name}": source.key for source in sources}
        place = Path(context.path) / "defs.yaml"
        self._require_columns(tables, place)
        return dg.Definitions(
            assets=[
                _asset(
                    business,
                    table,
                    known,
                    self.tables.get(table.path.stem, SqlTableSpec()),
                    place,
                    keys,
                )
                for table in tables
            ]
        )

    def _require_columns(self, tables: list[SqlTable], place: Path) -> None:
        """Refuse a contract of no table, or of columns that its select has not. Raises
        BusinessError.
        """
        columns = {table.path.stem: table.columns for table in tables}
        for name, spec in self.tables.items():
            if name not in columns:
                there = ", ".join(columns) or "none at all"
                raise BusinessError(f"{place}: tables: there is no {name}.sql next to it ({there})")
            has = columns[name]  # not known of a star
            if unknown := [column for column in spec.columns if has and column not in has]:
                raise BusinessError(
                    f'{place}: {name}: no column "{unknown[0]}" in {name}.sql ({", ".join(has)})'
                )


def _asset(
    business: Business,
    table: SqlTable,
    known: Mapping[str, Mapping[str, dg.TableColumn]],
    spec: SqlTableSpec,
    place: Path,
    keys: Mapping[str, list[str]],
) -> dg.AssetsDefinition:
    upstream = {
        name: column for source in table.upstream for name, column in known.get(source, {}).items()
    }
    columns = selected(table.columns or list(upstream), table.description, upstream)
    key = dg.AssetKey(["silver", table.path.stem])
    declaration = digest(table.select, *([spec] if spec != SqlTableSpec() else []))
    declaration = stages.version(declaration, stages.SILVER)
    reads = sorted({*table.upstream, *spec.related})
    keys = {name: keys[name] for name in table.upstream if name in keys}

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(name.split(".")) for name in reads],
        description=f"{table.description}\n\n```sql\n{_below_comment(table.select)}\n```"
        f"{look(business, key)}",
        check_specs=[accepted_spec(key), declared_spec(key, place.name)],
        code_version=declaration,
        **daily(business, key, {"sql", "duckdb"}, columns, declared_in=str(table.path)),
    )
    def sql_table(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        with warehouse.open() as tables:
            name, days = table_of(key), due(context, tables, key)
            require_initial_load(tables, name, business, days)
            refused = blocked(tables, reads, days)
            good = [day for day in days if day not in refused]
            select = (
                f"select * from (\n{table.select}\n) where {within(PARTITION, good)} order by all"
            )
            try:
                rows = tables.replace_days(name, good, select) if good else {}
                broken = faults(tables, name, spec, good) if good else {}
            except (duckdb.BinderException, duckdb.CatalogException, *DATA_FAULTS) as error:
                raise BusinessError(f"{table.path}: {fault_message(error)}") from None
            refused |= broken
            if refused and tables.columns(name):
                tables.replace_days(name, refused, f"from {name} limit 0")
            silent = spec.key is None and bool(good)
            unkeyed = unkeyed_message(tables, name, str(place), keys, good) if silent else None
            made = dg.TableSchema(
                selected(tables.columns(name), table.description, upstream, tables.columns(name))
            )
            stored = [day for day in rows if day not in refused]
            about = {max(stored): {"dagster/column_schema": made}} if stored else {}
            checks = [declared_result(key, broken, unkeyed)]
            yield from record_and_publish(
                context,
                tables,
                key,
                Computed(
                    declaration=declaration,
                    rows=rows,
                    refused=refused,
                    upstream=reads,
                    metadata=about,
                    checks=checks,
                ),
            )

    return sql_table
