"""What users' SQL may say: it parses, reads tables of its layers, and calls functions of values
alone.

DuckDB's own parser decides, since it is the one that runs the text: where another parser sees a
column, ``"current_date"`` is today's date to DuckDB.
"""

import atexit
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from churn_orchestration.churn.sql import connect

_CLOCK = re.compile(
    r"now|today|ago|current_(?!setting).*|get_current.*|local_?time.*|transaction_.*|random|setseed|nextval|currval"
    r"|.*uuid.*"
)
_CLOCK_COLUMNS = (
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
)
"""What DuckDB takes for the clock without brackets, even quoted, where no table has such a
column.
"""
_TABLE_FUNCTIONS = ("unnest", "range", "generate_series", "json_each", "json_tree")
_OTHER_SQL = re.compile(r"json_.*serialize.*|__.*")
"""Functions that read SQL from a text, and those of DuckDB's own use."""


def parsed(condition: str, place: str) -> exp.Expr:
    """An SQL expression over the columns of a row, as a tree.

    Raises
    ------
    ValueError : it does not parse, reads the clock, chance or a table, or calls what is no function
        of values

    >>> parsed("day < current_date", "orders: rule recent")
    Traceback (most recent call last):
    ValueError: orders: rule recent: current_date would give another answer tomorrow; \
days come from the data
    """
    try:
        tree = sqlglot.parse_one(f"({condition})", read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        fault = str(error).splitlines()[0]
        with suppress(sqlglot.errors.SqlglotError):
            sqlglot.parse_one(f"({condition}\n)", read="duckdb")
            fault = "its comment hides what comes after it; comments of YAML begin with #"
        raise ValueError(f"{place}: not valid SQL: {condition} ({fault})") from None
    if read := tables_read_by(f"select (\n{condition}\n)", place):
        raise ValueError(f"{place}: reads {read[0]}; a condition reads the columns of its own row")
    return tree


def columns_of(tree: exp.Expr) -> list[str]:
    """The columns that an expression names."""
    return [column.name for column in tree.find_all(exp.Column)]


def tables_read_by(
    select: str, place: str, layers: tuple[str, ...] = ("bronze", "silver")
) -> list[str]:
    """The tables, ``layer.table``, that one select reads.

    Raises
    ------
    ValueError : a table is of none of the layers, or it reads the clock, chance, files, settings or
        other SQL

    >>> tables_read_by("select content from read_text('/etc/hosts')", "silver/hosts.sql")
    Traceback (most recent call last):
    ValueError: silver/hosts.sql: read_text() is not allowed: a select reads tables by name and \
calls functions of values; files, settings and other SQL are out of its reach
    """
    nodes = list(nodes_of(statement(select, place)))
    within = {
        entry["key"].lower() for node in nodes for entry in node.get("cte_map", {}).get("map", [])
    }
    for node in nodes:
        if changing := _changing(node):
            raise ValueError(
                f"{place}: {changing} would give another answer tomorrow; days come from the data"
            )
        if function := _out_of_reach(node):
            raise ValueError(
                f"{place}: {function} is not allowed: a select reads tables by name and calls "
                "functions of values; files, settings and other SQL are out of its reach"
            )
    tables = {_table(node) for node in nodes if node.get("type") == "BASE_TABLE"} - within
    for table in sorted(tables):
        if table.partition(".")[0] not in layers or table.count(".") != 1:
            raise ValueError(f"{place}: reads {table}; {_remedy(table, layers)}")
    return sorted(tables)


def statement(select: str, place: str) -> dict[str, Any]:
    """One select as DuckDB's own tree. Raises ValueError for anything else, with the remedy."""
    with closing(_duckdb().cursor()) as db:
        [(text,)] = db.execute("select json_serialize_sql($1)", [select]).fetchall()
    result = json.loads(text)
    if result["error"]:
        if (
            result["error_type"] == "not implemented"
        ):  # also a pivot that has to look for its columns
            raise ValueError(
                f"{place}: wanted one select; a pivot lists its values: `on kind in ('a', 'b')`"
            )
        raise ValueError(f"{place}: not valid SQL: {str(result['error_message']).splitlines()[0]}")
    [statement, *more] = result["statements"]
    if more:
        raise ValueError(f"{place}: wanted one select, got {1 + len(more)} statements")
    return dict(statement)


def nodes_of(value: Any) -> Iterator[dict[str, Any]]:
    """The parts of a tree of DuckDB's, itself first, to be read or changed in place."""
    if isinstance(value, dict):
        yield value
    for below in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from nodes_of(below)


def _table(node: dict[str, Any]) -> str:
    names = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
    return ".".join(name for name in names if name).lower()


def _remedy(table: str, layers: tuple[str, ...]) -> str:
    if table.startswith(("raw.", "quarantine.")):
        return (
            f"there lies what is declared `pii` as it came: read bronze.{table.partition('.')[2]}"
        )
    return f"name tables with their layer ({', '.join(layers)}), such as bronze.orders"


def _changing(node: dict[str, Any]) -> str | None:
    """What of a part of a select gives another answer tomorrow: the clock, chance, a sample."""
    if node.get("sample"):
        return "a sample"
    if name := str(node.get("function_name", "")).lower():
        lone_age = name == "age" and len(node.get("arguments", [])) < 2
        return f"{name}()" if lone_age or _CLOCK.fullmatch(name) else None
    columns = [column.lower() for column in node.get("column_names") or []]
    return columns[0] if len(columns) == 1 and columns[0] in _CLOCK_COLUMNS else None


def _out_of_reach(node: dict[str, Any]) -> str | None:
    """The function that a part of a select calls, where it is none of values."""
    if node.get("type") == "SHOW_REF":
        return "describe()"
    name = str(node.get("function_name", "")).lower()
    if node.get("type") == "TABLE_FUNCTION":
        name = str(node["function"]["function_name"]).lower()
        return None if name in _TABLE_FUNCTIONS else f"{name}()"
    allowed = not name or name in _functions_of_values() or name in _TABLE_FUNCTIONS
    return None if allowed else f"{name}()"


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """A database without tables, which parses; opening one takes longer than parsing."""
    atexit.register(_duckdb.cache_clear)  # a connection that outlives Python is reported as a leak
    return connect()


@cache
def _functions_of_values() -> frozenset[str]:
    """DuckDB's functions whose answer depends on what they are given alone, and its macros made of
    them.
    """
    with closing(_duckdb().cursor()) as db:
        steady = db.execute(
            "select distinct lower(function_name) from duckdb_functions() where stability = "
            "'CONSISTENT'"
        ).fetchall()
        macros = db.execute(
            "select lower(function_name), json_serialize_sql('select ' || macro_definition) "
            "from duckdb_functions() where function_type = 'macro'"
        ).fetchall()
    known = {name for (name,) in steady if not _OTHER_SQL.fullmatch(name)} | {"unnest", "grouping"}
    made_of = {
        name: list(nodes_of(json.loads(definition)))
        for name, definition in macros
        if name not in known
    }
    while made := {name for name, nodes in made_of.items() if _is_made_of(nodes, known)} - known:
        known |= made
    return frozenset(known)


def _is_made_of(nodes: list[dict[str, Any]], known: set[str]) -> bool:
    calls = {str(node["function_name"]).lower() for node in nodes if "function_name" in node}
    columns = {name for node in nodes for name in node.get("column_names") or []}
    reads = any(node.get("type") == "BASE_TABLE" for node in nodes)
    return calls <= known and not reads and not columns & set(_CLOCK_COLUMNS)
