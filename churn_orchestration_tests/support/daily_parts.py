"""Daily parts in a bare DuckDB, for tests of what reads them."""

import datetime as dt

import duckdb

from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.features.parts import versions


def make_parts(
    db: duckdb.DuckDBPyConnection, declared: FeatureSet, start: dt.date = dt.date.min
) -> None:
    """The table of daily parts of every source, from its events."""
    for source in declared.sources:
        db.execute(
            f"create or replace table {source.days_table} as "
            f"{versions(source, declared.entity, start)}"
        )
