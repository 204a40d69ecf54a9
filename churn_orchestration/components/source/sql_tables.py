"""A silver table: a .sql file of one select, whose upstreams it names itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import yaml

from churn_orchestration import stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
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
from churn_orchestration.components.shown import look, selected
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.sql_contracts import (
    SqlTableSpec,
    declared_result,
    declared_spec,
    faults,
    unkeyed_message,
)
from churn_orchestration.components.source.sql_tests import (
    Keys,
    MadeBySql,
    Shapes,
    tested,
    tests_spec,
)
from churn_orchestration.storage.resources import Warehouse

PARTITION = "_partition"

TYPE = "churn_orchestration.components.SqlTables"
"""How YAML names the component of this module, wherever the module lies."""


def silver_select(path: Path) -> Select:
    """The select of a silver table, which is valid as it is and carries ``_partition`` through.

    That column is the whole convention: a day is refreshed by running ``select * from (file) where
    _partition in (those days)``, and DuckDB pushes the condition down to the tables below.

    Raises
    ------
    BusinessError : with file, line and remedy
    """
    select = Select.read(path)
    if select.columns and PARTITION not in select.columns:
        raise BusinessError(
            f"{path}: the select does not carry {PARTITION} through; add it, so that a day is its "
            "own"
        )
    return select


def made_of_landed(name: str, select: Select, _: Keys) -> MadeBySql:
    """A silver table as a select on a database that holds what it reads."""
    return MadeBySql(name, select.upstream, lambda *_: select.text)


def sql_tables_of(business: Business) -> dict[str, Select]:
    """The silver tables of a business by name, ``silver.orders``."""
    return {f"silver.{path.stem}": silver_select(path) for path in sql_paths_of(business, "silver")}


def sql_paths_of(business: Business, layer: str) -> list[Path]:
    """The .sql files of a layer, silver or marts."""
    folders = {path.parent for path, _ in _declared(business, layer)}
    return sorted(path for folder in folders for path in folder.glob("*.sql"))


def silver_keys(business: Business) -> dict[str, list[str]]:
    """By silver table, the columns that are declared to identify a row; of others nothing."""
    specs = [
        item
        for _, declared in _declared(business, "silver")
        for item in (declared.get("tables") or {}).items()
    ]
    return {
        f"silver.{name}": spec["key"]
        for name, spec in specs
        if isinstance(spec, dict) and spec.get("key")
    }


def _declared(business: Business, layer: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The blocks of this type, and of a layer: the YAML of each, and its attributes."""
    for path in business.files():
        text = path.read_text(encoding="utf-8") if path.name == "defs.yaml" else ""
        for block in yaml.safe_load_all(text) if TYPE in text else ():
            declared = (block and block.get("attributes")) or {}
            if block and block.get("type") == TYPE and declared.get("layer", "silver") == layer:
                yield path, declared


def silver_asset(
    business: Business,
    table: Select,
    known: Mapping[str, Mapping[str, dg.TableColumn]],
    spec: SqlTableSpec,
    place: Path,
    keys: Keys,
    shapes: Shapes,
) -> dg.AssetsDefinition:
    """The asset silver/<table>.

    Parameters
    ----------
    known : the described columns of the tables upstream, by table
    place : the YAML that declares ``spec``
    keys : of the tables upstream
    """
    upstream = {
        name: column for source in table.upstream for name, column in known.get(source, {}).items()
    }
    columns = selected(table.columns or list(upstream), table.description, upstream)
    key = dg.AssetKey(["silver", table.path.stem])
    declaration = digest(table.text, *([spec] if str(spec) != str(SqlTableSpec()) else []))
    declaration = stages.version(declaration, stages.SILVER)
    reads = sorted({*table.upstream, *spec.related})
    keys = {name: keys[name] for name in table.upstream if name in keys}

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(name.split(".")) for name in reads],
        description=f"{table.description}\n\n```sql\n{table.below_comment}\n```"
        f"{look(business, key)}",
        check_specs=[
            accepted_spec(key),
            declared_spec(key, place.name),
            *tests_spec(key, place.name, spec.tests),
        ],
        code_version=declaration,
        **daily(business, key, {"sql", "duckdb"}, columns, declared_in=str(table.path)),
    )
    def sql_table(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        name = table_of(key)
        yield from tested(key, made_of_landed(name, table, keys), spec.tests, place, shapes)
        with warehouse.open() as tables:
            days = due(context, tables, key)
            require_initial_load(tables, name, business, days)
            refused = blocked(tables, reads, days)
            good = [day for day in days if day not in refused]
            select = (
                f"select * from (\n{table.text}\n) where {within(PARTITION, good)} order by all"
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
