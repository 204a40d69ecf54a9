import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from churn_orchestration.churn.features.declared import AttributeTable, Category, Measure
from churn_orchestration.components.misfits import as_declared_result
from churn_orchestration.warehouse import Tables

START, NEXT = dt.date(2024, 1, 5), dt.date(2024, 1, 6)


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    """Ten customers of the plan basic, ten of Pro, ten each of a plan of their own; tiny fees."""
    with duckdb.connect() as db:
        db.execute(
            """create schema bronze; create table bronze.customers as
            select n as customer_id, 0.00005::double as fee, date '2024-01-05' as _partition,
              case when n < 10 then 'basic' when n < 20 then 'Pro' else n || '@x.org' end as plan
            from range(30) as t(n)"""
        )
        db.execute(
            """insert into bronze.customers
            select n, 12.5, date '2024-01-06', 'trial' from range(100, 112) as t(n)"""
        )
        yield Tables(db, Path())


def told(tables: Tables, *days: dt.date, decimals: int = 4) -> str | None:
    source = AttributeTable(
        "c",
        "bronze.customers",
        "customer_id",
        measures=(Measure("fee", "fee", decimals=decimals),),
        categories=(Category("plan", "plan", ("basic", "pro")),),
    )
    return as_declared_result(tables, dg.AssetKey("f"), [source], START, list(days)).description


def test_values_that_no_row_has_and_values_that_nobody_declared_are_told_with_their_rows(tables):
    assert told(tables, START, decimals=6) == (
        "category plan of c: pro in no row; not declared: Pro (10 rows), 10 more values (10 rows)"
    )


def test_a_later_day_tells_only_of_values_that_are_new_on_it(tables):
    assert told(tables, NEXT) == "category plan of c: not declared: trial (12 rows)"


def test_a_measure_that_its_decimals_take_away_is_told(tables):
    assert "measure fee of c: at 4 decimals 30 of 30 values lose more than a hundredth" in str(
        told(tables, START)
    )
