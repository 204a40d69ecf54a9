"""A user's select of a day, over what was known at its end and nothing else.

The day is written ``$as_of``. Every table that the select names is put behind a view of the rows
that were known by then, so that no select can read a later day, whatever it says.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from churn_orchestration.churn.rows.user_sql import nodes_of, statement
from churn_orchestration.churn.sql import identifier, identifiers, literal, quoted


def view_of(table: str) -> str:
    """The view, quoted, that holds what is known of a table, ``layer.table``."""
    return quoted(f"known {table}")


def known_rows(
    rows: str,
    columns: Iterable[str],
    key: Iterable[str],
    as_of: dt.date,
    day: str,
    *,
    since_landing: bool = True,
) -> str:
    """SQL: the rows of a table that were known at the end of ``as_of``, of a key the last version.

    Parameters
    ----------
    rows : SQL that can be selected from
    columns : of the table
    key : columns that identify a row; of rows that share it, that which was known last; empty: all
    day : the column by which the table is kept: ``_partition`` of what landed, whose rows say since
        when each is known; else ``as_of`` or ``measured_on``, the day of all that a row says
    since_landing : whether nothing is known of what landed before it did; if not, a history that
        landed at once is known by its rows' ``known_on``

    >>> known_rows("silver.orders", ["id", "known_on", "_partition"], ["id"],
    ...            dt.date(2024, 1, 2), "_partition")
    "from silver.orders where _partition <= date '2024-01-02' and known_on <= date '2024-01-02'
    qualify row_number() over (partition by id order by known_on desc, _partition desc) = 1"
    """
    landed = ("known_on", "_partition") if day == "_partition" else ()
    there = [name for name in landed if name in columns] or [day]
    bounding = there if since_landing else [name for name in there if name != "_partition"]
    bounds = " and ".join(f"{name} <= {literal(as_of)}" for name in reversed(bounding))
    result = f"from {rows} where {bounds}"
    if named := list(key):
        newest = ", ".join(f"{name} desc" for name in there)
        over = f"partition by {identifiers(named)} order by {newest}"
        result += f" qualify row_number() over ({over}) = 1"
    if landed and "day" in columns:
        # The version is chosen before anything else is read of it: a correction may move its event.
        return f"from ({result}) where day <= {literal(as_of)}"
    return result


def of_day(select: str, as_of: dt.date, place: str, known: Callable[[str], str] = view_of) -> str:
    """The select of a day: ``$as_of`` is that day, and each table is what ``known`` says of its
    name: its view, or a select in brackets.

    Raises
    ------
    ValueError : ``place`` and what of it is not SQL, or a parameter that there is not

    >>> of_day("select max(x) as x from silver.orders where y < $as_of", dt.date(2024, 1, 2), "x")
    'select max(x) as x from "known silver.orders" as orders where y < (date \\'2024-01-02\\')'
    """
    text, day = select.encode(), f"({literal(as_of)})".encode()
    tree = nodes_of(statement(select, place))
    parts = {int(node["query_location"]): node for node in tree if _is_replaced(node)}
    for start, node in sorted(parts.items(), reverse=True):
        if "table_name" in node:
            table = f"{node['schema_name']}.{node['table_name']}"
            named = "" if node["alias"] else f" as {identifier(node['table_name'])}"
            text = _replaced(text, start, _TABLE, f"{known(table.lower())}{named}".encode(), place)
        elif node["identifier"] != "as_of":
            raise ValueError(f"{place}: there is no ${node['identifier']}; the day is $as_of")
        else:
            text = _replaced(text, start, rb"\$as_of\b", day, place)
    return text.decode()


def _is_replaced(node: Mapping[str, Any]) -> bool:
    is_table = node.get("type") == "BASE_TABLE" and bool(node["schema_name"])  # else a CTE
    return is_table or node.get("class") == "PARAMETER"


_NAME = rb'(?:"(?:[^"]|"")+"|[^\W\d]\w*)'
_TABLE = _NAME + rb"\s*\.\s*" + _NAME


def _replaced(text: bytes, start: int, pattern: bytes, by: bytes, place: str) -> bytes:
    """A text in which what ``pattern`` matches at ``start`` is replaced."""
    result = re.compile(pattern).match(text, start) if start < len(text) else None
    if result is None:
        raise ValueError(
            f"{place}: a table is named in another way than `from layer.table`: write it so"
        )
    return text[:start] + by + text[result.end() :]
