"""The perturbation proof of a feature table, from the contracts and the SQL of its business."""

import datetime as dt
from collections.abc import Iterable, Mapping

import dagster as dg
import duckdb

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.features.parts import versions
from churn_orchestration.churn.features.perturbation import Ground, Pipeline, Proof, prove
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.rows.shapes import fault_message
from churn_orchestration.components.source.select import Select
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.storage.warehouse import Tables

POINT_IN_TIME = "point_in_time"


def proof_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that no row beyond as_of changes a feature."""
    return dg.AssetCheckSpec(
        POINT_IN_TIME,
        asset=key,
        blocking=True,
        description="For some entities, rows beyond as_of are removed, altered and added in every "
        "source, and all is made again, through silver and your own SQL: no feature "
        "may change. One that does is named with its source, and nothing is stored.",
    )


def proof_result(key: dg.AssetKey, proof: Proof | None) -> dg.AssetCheckResult:
    """The result of a proof, for the UI; None: no day was to be made."""
    if proof is None:
        return dg.AssetCheckResult(
            asset_key=key, check_name=POINT_IN_TIME, passed=True, description="no day was made"
        )
    unseen = f"; no feature reads {', '.join(proof.blind)}" if proof.blind else ""
    message = f"{proof.entities} entities, {proof.rows:,} rows as of {proof.as_of}{unseen}"
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=POINT_IN_TIME,
        passed=not proof.faults,
        description="; ".join(proof.faults) or message,
        metadata={
            "as_of": str(proof.as_of),
            "entities": proof.entities,
            "rows": proof.rows,
            "leaks": [str(leak) for leak in proof.leaks],
            "tables_that_move_no_feature": proof.blind,
            "features_that_nothing_moved": proof.unmoved,
        },
    )


def proved(tables: Tables, pipeline: Pipeline, as_of: dt.date, *, by_table: bool = True) -> Proof:
    """Run the proof on the warehouse, see `prove`. Raises BusinessError where the SQL of the
    business fails.
    """
    try:
        return prove(tables.db, pipeline, as_of, by_table=by_table)
    except duckdb.Error as error:
        message = fault_message(error)
        raise BusinessError(
            f"the point-in-time proof could not make the features: {message}"
        ) from None


def require_proved(tables: Tables, pipeline: Pipeline, table: str, as_of: dt.date) -> None:
    """Refuse to read features that rows beyond ``as_of`` change: a model of them would be graded
    too well.

    Raises
    ------
    BusinessError : names such a feature of ``table``, what changes it and the remedy
    """
    if faults := proved(tables, pipeline, as_of, by_table=False).faults:
        more = f" ({len(faults) - 1} more like it)" if faults[1:] else ""
        raise BusinessError(f"{table} as of {as_of} is not point in time: {faults[0]}{more}")


def pipeline_of(
    declared: FeatureSet,
    start: dt.date,
    sources: Iterable[SourceTable],
    selects: Mapping[str, Select],
) -> Pipeline:
    """The way from bronze to the features: ``selects`` are the silver tables by name."""
    parts = {source.days_table: source.table for source in declared.sources}
    between: dict[str, Select] = {}
    grounds: dict[str, None] = {}

    def climb(table: str) -> None:
        if table in selects and table not in between:
            for upstream in selects[table].upstream:
                climb(upstream)
            between[table] = selects[table]  # after those that it reads
        elif table not in selects:
            grounds[table] = None

    for table in declared.tables:
        climb(parts.get(table, table))
    keys = {f"bronze.{source.name}": tuple(source.key) for source in sources}
    names = {f"bronze.{s.name}": [c.name for c in s.columns if c.pii != "drop"] for s in sources}
    wanted = [declared.entity, *(table.entity for table in declared.inputs)]
    result = [
        Ground(
            table,
            keys.get(table, ()),
            next((name for name in wanted if name in names.get(table, ())), None),
        )
        for table in grounds
    ]

    def build(db: duckdb.DuckDBPyConnection) -> None:
        for name, table in between.items():
            db.execute(f"create or replace table {name} as {table.text}")
        for source in declared.sources:
            made = versions(source, declared.entity, start)
            db.execute(f"create or replace table {source.days_table} as {made}")

    return Pipeline(tuple(result), build, lambda as_of: features_at(declared, as_of))
