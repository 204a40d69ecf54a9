"""Where the features of a table come from: which columns they read, and whether landing proves
their rows.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sqlglot
from sqlglot import exp

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    EventSource,
    FeatureSet,
    Flag,
    Mart,
    UserTable,
)
from churn_orchestration.churn.features.recorded import PART, read_by
from churn_orchestration.churn.rows.user_sql import columns_of
from churn_orchestration.churn.sql import identifier

_TIME = {"day", "known_on", "_partition"}
_Table: TypeAlias = EventSource | AttributeTable | UserTable


@dataclass(frozen=True)
class Origin:
    """Where one feature comes from.

    Parameters
    ----------
    family : of features that say nearly the same
    columns : that it reads, as layer.table.column; none where it only counts and dates events
    landed : it only counts and dates events, and landing proves that these had arrived by as_of
    """

    family: str
    columns: frozenset[str] = frozenset()
    landed: bool = False


def origins(declared: FeatureSet, landed: Collection[str] = ()) -> dict[str, Origin]:
    """The origin of every feature of the catalogue; ``landed``: the tables whose rows came in files
    by day.

    >>> from churn_orchestration.churn.features.declared import Measure
    >>> fee = Measure("fee", "exit_fee")
    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order", measures=(fee,))
    >>> result = origins(FeatureSet("customer_id", (orders,), (30,), ()), ["silver.orders"])
    >>> result["orders_fee_max_all"]
    Origin(family='size', columns=frozenset({'silver.orders.exit_fee'}), landed=False)
    >>> result["orders_count_30d"]
    Origin(family='frequency', columns=frozenset(), landed=True)
    """
    result: dict[str, Origin] = {}
    tables: dict[str, Sequence[_Table]] = {
        "s": declared.sources, "a": declared.attributes, "u": declared.own,
    }  # fmt: skip
    proved = {source.name for source in declared.sources if source.table in landed}
    for feature in catalogue(declared):
        named = [
            (tables[row][int(number)], part) for row, number, part in PART.findall(feature.sql)
        ]
        columns = frozenset[str]().union(*(_columns(table, part) for table, part in named))
        if not named:  # among peers a feature is made of finished ones
            read = set(re.findall(r"\w+", feature.sql)) & result.keys()
            columns = columns.union(*(result[name].columns for name in read))
        is_landed = not columns and (
            all(result[name].landed for name in feature.made_of)
            if feature.made_of
            else feature.source in proved
        )
        result[feature.name] = Origin(feature.family, columns, is_landed)
    return result


def named_in(mart: Mart) -> list[str]:
    """Every column that the select of a mart names."""
    return columns_of(sqlglot.parse_one(mart.select, read="duckdb"))


def _columns(table: _Table, part: str) -> frozenset[str]:
    """The columns behind a part of a merged row; none of what counts and dates events."""
    if isinstance(table, UserTable):
        tree = sqlglot.parse_one(table.select, read="duckdb")
        assert isinstance(tree, exp.Query)  # as `own_features` has checked
        made = [projection for projection in tree.selects if projection.alias_or_name == part]
        read = {name for projection in made for name in columns_of(projection)} - {
            *_TIME,
            table.entity,
        }
        return frozenset(f"{upstream}.{name}" for upstream in table.reads for name in read)
    sql = _measured(table, part)
    if isinstance(table, AttributeTable) and table.mart:  # all that its select reads, of any table
        read = {
            name for name in named_in(table.mart) if name not in (*_TIME, "as_of", table.entity)
        }
        return frozenset(f"{upstream}.{name}" for upstream in table.reads for name in read)
    names = columns_of(sqlglot.parse_one(sql, read="duckdb")) if sql else []
    return frozenset(f"{table.table}.{name}" for name in names)


def _measured(table: EventSource | AttributeTable, part: str) -> str | None:
    """The SQL of the measure, category or flag that a part is made of; None of the rhythm of the
    events.
    """
    read = read_by(table, part)
    if read is None:
        return None
    return read.condition if isinstance(read, Flag) else identifier(read.column)


def landed_by_day(bronze: Collection[str], silver: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Of silver, the tables that read nothing but ``bronze``, the tables that land by day; and
    those.

    >>> silver = {"silver.a": ["bronze.orders"], "silver.b": ["silver.c"]}
    >>> sorted(landed_by_day(["bronze.orders"], silver))
    ['bronze.orders', 'silver.a']
    """
    result = set(bronze)
    while more := {
        name for name, read in silver.items() if name not in result and set(read) <= result
    }:
        result |= more
    return frozenset(result)
