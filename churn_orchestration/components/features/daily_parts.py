"""silver/<source>_days: the daily parts of an event source as days land, and its checkpoints."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg

from churn_orchestration import stages
from churn_orchestration.business import Business, digest
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.features.parts import parts, touched, versions
from churn_orchestration.churn.features.rings import (
    Checkpoint,
    Checkpoints,
    merged_until,
    rhythm_until,
)
from churn_orchestration.churn.sql import identifier, within
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    blocked,
    daily,
    record_and_publish,
    require_initial_load,
    table_of,
    wanted,
)
from churn_orchestration.components.features.fitness import Place, require_columns, require_rows
from churn_orchestration.components.shown import look, platform
from churn_orchestration.storage import checkpoints as stored_checkpoints
from churn_orchestration.storage.checkpoints import StoredCheckpoint
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

WORTH_A_CHECKPOINT = 1_000_000
"""Daily parts older than every window, below which reading them is as quick."""
KEPT_DAYS, SETTLED_DAYS = 31, 31
"""How long a checkpoint serves; after how many days few late rows are to come, which would make it
void.
"""


def days_asset(
    business: Business, declared: FeatureSet, source: EventSource, place: Place
) -> dg.AssetsDefinition:
    """The asset of a source's daily parts."""
    key = dg.AssetKey(source.days_table.split("."))

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(source.table.split("."))],
        description=f"One row per {declared.entity}, day and known_on: what the {source.noun}s of "
        "that day come to, complete as known then. It is valid until superseded_on, "
        "when a late row or a correction makes another. All features of "
        f"{source.name} are merged from it.{look(business, key)}",
        check_specs=[accepted_spec(key)],
        code_version=_declaration(declared, source),
        **daily(business, key, {"duckdb"}, _columns(declared, source)),
    )
    def daily_parts(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        days = wanted(context)
        with warehouse.open() as tables:
            require_initial_load(tables, table_of(key), business, days)
            require_columns(tables, source, place)
            require_rows(tables, source, days, business.earliest_event, place)
            declaration = _declaration(declared, source)
            stale = tables.days.stale(source.days_table, declaration, [source.table], days)
            refused = blocked(tables, [source.table], days)
            rows = build(tables, declared, source, business.start, stale) if stale else {}
            yield from record_and_publish(
                context,
                tables,
                key,
                Computed(
                    declaration=declaration,
                    rows=rows,
                    refused=refused,
                    upstream=[source.table],
                    unchanged=[day for day in days if day not in stale],
                ),
            )

    return daily_parts


def build(
    tables: Tables, declared: FeatureSet, source: EventSource, start: dt.date, days: list[dt.date]
) -> dict[dt.date, int]:
    """Bring the daily parts up to what landed on ``days``; rows by day.

    Only what those days touch is computed; with ``start``, the initial load, among them,
    everything.
    """
    table, entity = source.days_table, declared.entity
    if start in days:
        tables.db.execute(f"create or replace table {table} as {versions(source, entity, start)}")
        forget_checkpoints(tables, source, dt.date.min)
    else:
        tables.db.execute(
            f"create or replace temp table _touched as {touched(source, entity, days)}"
        )
        tables.db.execute(
            "create or replace temp table _versions as "
            f"{versions(source, entity, start, '_touched')}"
        )
        with tables.transaction():
            same = f"d.{identifier(entity)} = t._entity and d.day = t._day"
            tables.db.execute(f"delete from {table} as d using _touched as t where {same}")
            tables.db.execute(f"insert into {table} by name from _versions")
            forget_checkpoints(tables, source, min(days))
        tables.db.execute("drop table _touched; drop table _versions")
    counted = (
        f"select _partition, count(*) from {table} where {within('_partition', days)} group by 1"
    )
    return dict.fromkeys(days, 0) | dict(tables.rows(counted))


def checkpoints(tables: Tables, declared: FeatureSet, as_of: dt.date) -> dict[str, Checkpoints]:
    """The checkpoints that serve ``as_of``, by source; recomputed where they are a month old.

    None where there is little to spare, and for an as_of before the one they were made at.
    """
    result = {
        source.name: _checkpoints_of(tables, declared, source, as_of) for source in declared.sources
    }
    return {name: those for name, those in result.items() if those}


def _checkpoints_of(
    tables: Tables, declared: FeatureSet, source: EventSource, as_of: dt.date
) -> Checkpoints | None:
    oldest_window = as_of - DAY * max(declared.rings)
    made = _kept(tables, declared, source)
    if made and as_of < made.merged.known_by:
        return None
    if made and made.merged.through <= oldest_window <= made.merged.through + DAY * KEPT_DAYS:
        return made
    old = f"select count(*) from {source.days_table} where day <= {literal(oldest_window)}"
    if tables.rows(old)[0][0] < WORTH_A_CHECKPOINT:
        return None
    return make_checkpoints(tables, declared, source, as_of)


def make_checkpoints(
    tables: Tables,
    declared: FeatureSet,
    source: EventSource,
    as_of: dt.date,
    settled_days: int = SETTLED_DAYS,
) -> Checkpoints:
    """Make the checkpoints of a source that serve from ``as_of`` on, in place of the earlier
    ones.
    """
    made = {}
    with tables.transaction():
        forget_checkpoints(tables, source, dt.date.min)
        for kind, rows_until, back in (
            ("merged", merged_until, max(declared.rings)), ("rhythm", rhythm_until, settled_days)
        ):  # fmt: skip
            checkpoint = StoredCheckpoint(
                days_table=source.days_table,
                kind=kind,
                relation=f"meta.{source.name}_{kind}",
                through=as_of - DAY * back,
                known_by=as_of,
                declaration=_kept_declaration(declared, source),
            )
            rows = rows_until(declared, source, checkpoint.through, as_of)
            stored_checkpoints.keep(tables, checkpoint, rows)
            made[kind] = Checkpoint(checkpoint.relation, checkpoint.through, as_of)
    return Checkpoints(**made)


def forget_checkpoints(tables: Tables, source: EventSource, day: dt.date) -> None:
    """Drop the checkpoints of a source that saw what landed on ``day``, for it has landed again."""
    stored_checkpoints.forget(tables, source.days_table, day)


def _kept(tables: Tables, declared: FeatureSet, source: EventSource) -> Checkpoints | None:
    stored = stored_checkpoints.kept(tables, source.days_table, _kept_declaration(declared, source))
    kept = {each.kind: Checkpoint(each.relation, each.through, each.known_by) for each in stored}
    return Checkpoints(**kept) if kept else None


def _declaration(declared: FeatureSet, source: EventSource) -> str:
    """What makes the daily parts what they are: their declaration, and the code that computes
    them.
    """
    declaration = digest(declared.entity, source.table, source.entity, source.key, parts(source))
    return stages.version(declaration, stages.DAYS)


def _kept_declaration(declared: FeatureSet, source: EventSource) -> str:
    """What makes the checkpoints what they are: the daily parts, and what they keep of them."""
    kept = [
        rows(declared, source, dt.date.min, dt.date.min) for rows in (merged_until, rhythm_until)
    ]
    return digest(_declaration(declared, source), *kept)


def _columns(declared: FeatureSet, source: EventSource) -> list[dg.TableColumn]:
    return [
        dg.TableColumn(declared.entity, "text", "whose day it is"),
        *platform("day", "known_on"),
        dg.TableColumn(
            "superseded_on", "date", "the day of the next version; 9999-12-31: none yet"
        ),
        *platform("_partition"),
        *(dg.TableColumn(part.name, part.type.lower(), part.meaning) for part in parts(source)),
    ]
