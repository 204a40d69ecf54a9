"""What every daily asset shares: which days a run requests, which are valid, and which are refused
and why.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.components.shown import about, freshness
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.layers import PARQUET_LAYERS, POOL
from churn_orchestration.storage.warehouse import Tables

ACCEPTED, REFUSED = "accepted", "refused"
STALE_TAG = "churn/stale"
"""The tag of a run that computes of each table only the days that are stale; see ``due``."""
FULL_TAG = "churn/full"
"""The tag of a run that computes every table of its days again, whatever is there."""
DAY_TAG = "dagster/partition"
FIRST_DAY_TAG, LAST_DAY_TAG = (
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)


def range_tags(first: dt.date, last: dt.date) -> dict[str, str]:
    """The tags by which Dagster knows that one run is for all days from ``first`` to ``last``."""
    return {FIRST_DAY_TAG: first.isoformat(), LAST_DAY_TAG: last.isoformat()}


def shown_in(
    business: Business,
    key: dg.AssetKey,
    kinds: set[str],
    columns: Iterable[dg.TableColumn],
    **metadata: str,
) -> dict[str, Any]:
    """How the UI shows a daily table: group, owners, kinds, partitions, columns, freshness."""
    return {
        "group_name": key.path[0],
        "owners": business.settings.owners,
        "kinds": kinds,
        "partitions_def": business.days,
        "metadata": about(business, key, columns) | metadata,
        "freshness_policy": freshness(business),
    }


def daily(
    business: Business,
    key: dg.AssetKey,
    kinds: set[str],
    columns: Iterable[dg.TableColumn],
    **metadata: str,
) -> dict[str, Any]:
    """The options of a daily asset: one run for a range of days, one writer at a time."""
    return shown_in(business, key, kinds, columns, **metadata) | {
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "pool": POOL,
    }


def accepted_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that names the days a table refused."""
    return dg.AssetCheckSpec(
        ACCEPTED,
        asset=key,
        description="Every day of the run is valid; refused days are named. Mend the file of a "
        "refused day and run it again, or waive it: `churn waive`.",
    )


def wanted(context: dg.AssetExecutionContext) -> list[dt.date]:
    """The days that the run requests."""
    return sorted(dt.date.fromisoformat(key) for key in context.partition_keys)


def due(context: dg.AssetExecutionContext, tables: Tables, key: dg.AssetKey) -> list[dt.date]:
    """The days of a table that the run computes: all of its days; with STALE_TAG, the stale
    ones.
    """
    days = wanted(context)
    if STALE_TAG not in context.run.tags:
        return days
    declared = context.assets_def
    upstream = [table_of(parent) for parent in declared.asset_deps[key]]
    return tables.days.stale(
        table_of(key), declared.code_versions_by_key[key] or "", upstream, days
    )


def table_of(key: dg.AssetKey) -> str:
    """``layer/table`` as ``layer.table``."""
    return ".".join(key.path)


def require_initial_load(
    tables: Tables, table: str, business: Business, days: list[dt.date]
) -> None:
    """A later day without the initial load would take all of history in as if it had come on that
    day.

    Nor may the initial load move: what an earlier one took in would be taken in a second time.
    """
    first = tables.days.first_day(table)
    if first and first != business.start:
        raise dg.Failure(
            f"{table} begins with the initial load of {first}, and start_date is {business.start} "
            f"now: put {first} back and let end_date move on; or give the business a new `name` in "
            "business.yaml, which begins a new state",
            allow_retries=False,
        )
    started = business.start in tables.days.stored(table) or tables.days.is_waived(
        table, business.start
    )
    if business.start not in days and not started:
        raise dg.Failure(
            f"{table}: the initial load, partition {business.start}, comes first: `churn run`",
            allow_retries=False,
        )


def blocked(tables: Tables, upstream: list[str], days: list[dt.date]) -> dict[dt.date, Refusal]:
    """Those of ``days`` on which a table upstream is not valid, with its fault."""
    result: dict[dt.date, Refusal] = {}
    for table in upstream if days else ():
        result |= tables.days.faults(table, min(days), max(days))
    return {day: result[day] for day in days if day in result}


def blocked_since(
    tables: Tables, upstream: Iterable[str], start: dt.date, days: list[dt.date]
) -> dict[dt.date, Refusal]:
    """Those of ``days`` that would read over a day since ``start`` which is not valid, with its
    fault.
    """
    result: dict[dt.date, Refusal] = {}
    for table in upstream if days else ():
        if fault := tables.days.fault(table, start, max(days)):
            refusal = replace(fault, before="it reads days up to its own, and ")
            waiting = [day for day in days if day >= fault.day]
            result = {**dict.fromkeys(waiting, refusal), **result}
    return result


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What a run made of the days of a table.

    Parameters
    ----------
    declaration : what the days depend on, a ``stages.Version`` as text
    rows : of each day that was stored
    refused : of each day that was not, the reason
    upstream : the tables that it is made of
    metadata : of each day, for the UI
    pictures : Markdown by name; they are attached to the newest valid day alone, since each is kept
        for ever
    unchanged : valid days that were not computed again, as those of the run that were not ``due``
        are: they are reported, not recorded
    checks : the table's others that can fail for a refused day
    note : ends the line in the log
    """

    declaration: str
    rows: Mapping[dt.date, int]
    refused: Mapping[dt.date, Refusal]
    upstream: Iterable[str] = ()
    metadata: Mapping[dt.date, Mapping[str, Any]] = field(default_factory=dict)
    pictures: Mapping[str, str | None] = field(default_factory=dict)
    unchanged: Iterable[dt.date] = ()
    checks: Iterable[dg.AssetCheckResult] = ()
    note: str = ""


def record_and_publish(
    context: dg.AssetExecutionContext, tables: Tables, key: dg.AssetKey, computed: Computed
) -> Iterator[Any]:
    """Record the days of a table and report them: rows of each day, and a check that names the
    refused ones.

    A run over many days keeps its good ones, so the check does not block: what reads a refused
    day refuses itself. Where not one day is valid, the step fails.
    """
    rows, refused = computed.rows, computed.refused
    table = table_of(key)
    good = {day: count for day, count in rows.items() if day not in refused}
    with tables.transaction():
        tables.days.descends(table, computed.upstream)
        tables.days.record(table, "stored", good, computed.declaration)
        for day, reason in refused.items():
            tables.days.record(table, "refused", {day: 0}, computed.declaration, reason)
            tables.withdraw(table, day)
    # Where there are tables that come later in a run, they publish what came before them too.
    if refused or key.path[0] in PARQUET_LAYERS or not tables.days.is_in_any(PARQUET_LAYERS):
        publish(tables)
    still_refused = {
        day: str(reason) for day, reason in refused.items() if not tables.days.is_waived(table, day)
    }
    kept = tables.days.rows_of(table, {*computed.unchanged, *wanted(context)} - {*rows, *refused})
    for day, count in (good | kept).items():
        report_day(context, key, day, count, computed.metadata.get(day, {}))
    if good:
        attach_pictures(context, key, max(good), computed.pictures)
    for day, reason in still_refused.items():
        context.add_asset_metadata({REFUSED: reason}, asset_key=key, partition_key=day.isoformat())
        context.log.error(f"{table} {day} refused: {reason}")
    accepted = dg.AssetCheckResult(
        asset_key=key,
        check_name=ACCEPTED,
        passed=not still_refused,
        metadata={
            "days": len({*rows, *kept}),
            "unchanged_days": len(kept),
            REFUSED: {str(day): reason for day, reason in still_refused.items()},
        },
        description="; ".join(f"{day}: {reason}" for day, reason in still_refused.items()) or None,
    )
    context.log.info(f"{table}: {_done(good, len(kept), len(still_refused), computed.note)}")
    fails = still_refused and not good and not kept
    for check in (*computed.checks, accepted):
        yield _of_no_materialization(key, check) if fails else check
    if fails:
        day, reason = next(iter(still_refused.items()))
        raise dg.Failure(
            f"{table} {day} refused: {reason}", {REFUSED: str(day)}, allow_retries=False
        )
    yield dg.MaterializeResult(asset_key=key)


def _done(rows: Mapping[dt.date, int], kept: int, refused: int, note: str) -> str:
    """What a step did, in a line.

    >>> _done({dt.date(2024, 1, 5): 1200, dt.date(2024, 1, 6): 3}, 1, 0, "2 files read")
    '1,203 rows on 2 days; 1 day unchanged; 2 files read'
    >>> _done({dt.date(2024, 1, 5): 1}, 0, 2, "")
    '1 row on 1 day; 2 days refused'
    """
    parts = [f"{_counted(sum(rows.values()), 'row')} on {_counted(len(rows), 'day')}"]
    parts += [f"{_counted(kept, 'day')} unchanged"] if kept else []
    parts += [f"{_counted(refused, 'day')} refused"] if refused else []
    return "; ".join([*parts, note] if note else parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _of_no_materialization(key: dg.AssetKey, check: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A check of a step that fails, so that the UI shows it.

    Dagster relates a check to the newest materialization of the run's own day, and calls it "Not
    Evaluated" where the table's newest is of another day. One that names none is shown if it came
    later than that.
    """
    return dg.AssetCheckEvaluation(
        key, str(check.check_name), check.passed, check.metadata,
        severity=check.severity, description=check.description,
    )  # fmt: skip


def report_day(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    day: dt.date,
    rows: int,
    more: Mapping[str, Any],
) -> None:
    """The numbers of one day, from which the UI draws its plots."""
    about = {"dagster/partition_row_count": rows, **more}
    context.add_asset_metadata(about, asset_key=key, partition_key=day.isoformat())


def attach_pictures(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    day: dt.date,
    pictures: Mapping[str, str | None],
) -> None:
    """Show pictures with one day of a table."""
    if drawn := shown_pictures(pictures):
        context.add_asset_metadata(drawn, asset_key=key, partition_key=day.isoformat())


def shown_pictures(pictures: Mapping[str, str | None]) -> dict[str, Any]:
    """Pictures as metadata; there is none where there was nothing to draw."""
    return {name: dg.MetadataValue.md(picture) for name, picture in pictures.items() if picture}
