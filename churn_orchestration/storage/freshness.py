"""What stands, what was refused, and what waits for it; from the state of all days at the door."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from churn_orchestration.storage.day_state import Fault
from churn_orchestration.storage.layers import PARQUET_LAYERS
from churn_orchestration.storage.warehouse import Tables

LAYER_ORDER = (
    "raw", "bronze", "quarantine", "silver", "gold", "snapshots", "predictions", "monitoring",
    "measures", "values", "segments", "offers", "actions", "marts",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Missing:
    """A day that a table does not have; ``reason`` where it was refused, None where it was not made
    yet.

    ``cause``: the table whose fault refused it, where that is another one; ``is_held``: it is held
    back for what changed in it.
    """

    day: dt.date
    table: str
    reason: str | None = None
    cause: str | None = None
    is_held: bool = False


def by_layer(name: str) -> tuple[int, str]:
    """The place of a table in the flow of the data."""
    return LAYER_ORDER.index(name.split(".")[0]), name


def causes(
    missing: Sequence[Missing], ancestors: Mapping[str, set[str]]
) -> tuple[dict[Missing, list[Missing]], list[Missing]]:
    """The refusals that others wait for, each with those, and what waits for nothing but a run.

    A refusal whose cause is a table above it is no root. A day waits for a refusal above it on the
    same day; one of gold or predictions reads earlier days as well. Of several, it waits for the
    first.

    >>> bad = Missing(dt.date(2024, 1, 7), "bronze.orders", "no column")
    >>> gold = Missing(dt.date(2024, 1, 8), "gold.days", "it reads ...", "bronze.orders")
    >>> result, loose = causes([bad, gold], {"gold.days": {"bronze.orders"}})
    >>> result == {bad: [gold]}, loose
    (True, [])
    """
    roots = [
        item
        for item in sorted(missing)
        if item.reason and item.cause not in ancestors.get(item.table, set())
    ]
    result: dict[Missing, list[Missing]] = {root: [] for root in roots}
    loose: list[Missing] = []
    for item in sorted(set(missing) - set(roots)):
        root = next((root for root in roots if _waits(item, root, ancestors)), None)
        (result[root] if root else loose).append(item)
    return result, loose


def _waits(item: Missing, root: Missing, ancestors: Mapping[str, set[str]]) -> bool:
    reads_earlier = item.table.split(".")[0] in PARQUET_LAYERS
    in_reach = root.day <= item.day if reads_earlier else root.day == item.day
    return in_reach and root.table in ancestors.get(item.table, ())


def missing(tables: Tables) -> list[Missing]:
    """Every day that some table has and another one lacks, refused or not made yet; not what was
    waived.
    """
    return [Missing(*row) for row in tables.rows(_MISSING)]


_MISSING = """
with wanted as (
  select table_name, day
  from (select table_name, min(day) as first from meta.days group by 1), \
(select distinct day from meta.days)
  where day >= first)
select day, table_name, reason, cause_table, held.day is not null
from wanted left join meta.days using (table_name, day)
left join (select distinct table_name, day from meta.changes where held) as held
  using (table_name, day)
anti join meta.waivers using (table_name, day)
where status is distinct from 'stored' order by 1, 2"""


def ancestors(tables: Tables) -> dict[str, set[str]]:
    """All that each table descends from."""
    result: dict[str, set[str]] = {}
    for table, upstream in tables.rows(_ANCESTORS):
        result.setdefault(table, set()).add(upstream)
    return result


_ANCESTORS = """
with recursive above as (
  select table_name, upstream from meta.lineage
  union select a.table_name, l.upstream \
from above as a join meta.lineage as l on l.table_name = a.upstream)
from above"""


def states(tables: Tables) -> dict[str, dict[str, Any]]:
    """Each table in the order of the flow: days, newest day, rows, and why it is not up to date, if
    so.
    """
    result = sorted(tables.rows(_STATES), key=lambda row: by_layer(row[0]))
    last = max((day for *_, day in result), default=None)
    return {
        name: {
            "days": days, "newest": newest, "rows": rows,
            "fault": _as_record(tables.days.fault(name, first, last)) if last else None,
        }
        for name, days, newest, rows, first, _ in result
    }  # fmt: skip


_STATES = """
select table_name, count(*) filter (status = 'stored'), max(day) filter (status = 'stored'),
  sum(rows)::bigint, min(day), max(day)
from meta.days group by 1"""


def _as_record(fault: Fault | None) -> dict[str, Any] | None:
    if fault is None:
        return None
    table, day, reason = fault.table, fault.day, fault.reason
    short = "is refused" if fault.kind == "refused" else reason
    return {"table": table, "day": day, "reason": reason, "short": f"{table} {day} {short}"}


def refusals(tables: Tables) -> list[tuple[str, dt.date, str]]:
    """Table, day and reason of every refused day, waived or not, by table."""
    return tables.rows(
        "select table_name, day, reason from meta.days where status = 'refused' order by 1, 2"
    )


def waivers(tables: Tables) -> list[tuple[str, dt.date, str]]:
    """Table, day and reason of every waiver in force, by day."""
    return tables.rows("select table_name, day, reason from meta.waivers order by day, table_name")


def rows_by_table(tables: Tables) -> dict[str, int]:
    """The stored rows of every table, in the order of the flow."""
    counted = tables.rows(
        "select table_name, sum(rows)::bigint from meta.days where status = 'stored' group by 1"
    )
    return dict(sorted(counted, key=lambda row: by_layer(row[0])))


def rows_by_source(tables: Tables) -> dict[str, list[int]]:
    """Where the raw rows of each source went: bronze, quarantine, exact duplicates, waiting in
    raw.
    """
    return {source: rest for source, *rest in tables.rows(_ROWS_BY_SOURCE)}


_ROWS_BY_SOURCE = """
select split_part(raw.table_name, '.', 2), coalesce(sum(bronze.rows), 0)::bigint,
  coalesce(sum(quarantine.rows), 0)::bigint,
  coalesce(sum(raw.rows - bronze.rows - quarantine.rows), 0)::bigint,
  coalesce(sum(raw.rows) filter (bronze.day is null), 0)::bigint
from meta.days as raw
left join meta.days as bronze on bronze.table_name = replace(raw.table_name, 'raw.', 'bronze.')
  and bronze.day = raw.day and bronze.status = 'stored'
left join meta.days as quarantine
  on quarantine.table_name = replace(raw.table_name, 'raw.', 'quarantine.')
  and quarantine.day = raw.day and bronze.day is not null
where raw.table_name like 'raw.%' and raw.status = 'stored' group by 1"""


def newest_quarantine(tables: Tables, source: str) -> tuple[dt.date, int, int] | None:
    """The newest day of a source that was judged, its quarantined rows and its raw rows."""
    result = tables.rows(_NEWEST_QUARANTINE, [source, source])
    return result[0] if result else None


_NEWEST_QUARANTINE = """
select day, q.rows, raw.rows
from meta.days as raw join meta.days as q using (day) join meta.days as b using (day)
where raw.table_name = 'raw.' || ? and q.table_name = replace(raw.table_name, 'raw.', 'quarantine.')
  and b.table_name = 'bronze.' || ? and b.status = 'stored' and raw.status = 'stored'
order by day desc limit 1"""


def shown(tables: Tables, layer: str) -> list[str]:
    """The tables of a layer of which the door has a view, by name."""
    there = tables.rows(
        "select view_name from duckdb_views() where schema_name = ? order by 1", [layer]
    )
    return [name for (name,) in there]


def beside(tables: Tables, layer: str, table: str) -> list[str]:
    """The tables of a layer at the door, by name, that are made of the same feature table as
    another one.
    """
    there = shown(tables, layer)
    gold = set(shown_upstream(tables, table, "gold")) if there else set()
    return [
        name
        for name in there
        if gold.intersection(shown_upstream(tables, f"{layer}.{name}", "gold"))
    ]


def shown_upstream(tables: Tables, table: str, layer: str) -> list[str]:
    """The tables of a layer that a table is made of, of which the door has a view."""
    result = tables.rows(_SHOWN_UPSTREAM, [table, layer])
    return [upstream for (upstream,) in result]


_SHOWN_UPSTREAM = """
select upstream from meta.lineage join duckdb_views() on upstream = schema_name || '.' || view_name
where table_name = ? and schema_name = ? order by 1"""
