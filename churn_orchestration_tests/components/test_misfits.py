import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    EventSource,
    Measure,
)
from churn_orchestration.components.features.misfits import as_declared_result
from churn_orchestration.storage.warehouse import Tables

START, NEXT = dt.date(2024, 1, 5), dt.date(2024, 1, 6)


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    """Ten customers of the plan basic, ten of Pro, ten each of a plan of their own; tiny fees."""
    with duckdb.connect() as db:
        db.execute(
            """create schema bronze; create table bronze.customers as
            select n as customer_id, 0.00005::double as fee, date '2024-01-05' as _partition,
              date '2024-01-05' as known_on,
              case when n < 10 then 'basic' when n < 20 then 'Pro' else n || '@x.org' end as plan
            from range(30) as t(n)"""
        )
        db.execute(
            """insert into bronze.customers
            select n, 12.5, date '2024-01-06', date '2024-01-06', 'trial'
            from range(100, 112) as t(n)"""
        )
        yield Tables(db, Path())


def message(tables: Tables, *days: dt.date, decimals: int = 4) -> str | None:
    source = AttributeTable(
        "c",
        "bronze.customers",
        "customer_id",
        measures=(Measure("fee", "fee", decimals=decimals),),
        categories=(Category("plan", "plan", ("basic", "pro")),),
    )
    return as_declared_result(tables, dg.AssetKey("f"), [source], START, list(days)).description


def test_values_that_no_row_has_and_values_that_nobody_declared_are_told_with_their_rows(tables):
    assert message(tables, START, decimals=6) == (
        "category plan of c: pro in no row; not declared: Pro (10 rows), 10 more values (10 rows)"
    )


def test_a_later_day_tells_only_of_values_that_are_new_on_it(tables):
    assert message(tables, NEXT) == "category plan of c: not declared: trial (12 rows)"


def test_a_key_that_is_used_again_for_another_event_is_told_and_a_correction_is_not(tables):
    tables.db.execute(
        """create or replace table bronze.receipts as select * from (values
          (1, 'ann', date '2024-01-03', date '2024-01-03', date '2024-01-05'),
          (1, 'bob', date '2024-01-05', date '2024-01-05', date '2024-01-05'),
          (2, 'ann', date '2024-01-03', date '2024-01-03', date '2024-01-05'),
          (2, 'ann', date '2024-01-03', date '2024-01-05', date '2024-01-05'))
        as t(number, customer_id, day, known_on, _partition)"""
    )
    source = EventSource("r", "bronze.receipts", "customer_id", "receipt", key=("number",))
    message = as_declared_result(tables, dg.AssetKey("f"), [source], START, [START]).description
    assert message == (
        "1 values of number stand for receipts of several days, each known on its own day, and the "
        "last alone counts: is number really the key of bronze.receipts?"
    )


def test_an_entity_with_two_attributes_of_one_day_is_told(tables):
    tables.db.execute(
        """create or replace table bronze.plans as select *, date '2024-01-05' as _partition
          from (values
          ('ann', 'a', date '2024-01-05'), ('ann', 'b', date '2024-01-05'),
          ('bob', 'a', date '2024-01-05'), ('bob', 'b', date '2024-01-04'),
            ('bob', 'a', date '2024-01-05'))
        as t(customer_id, plan, known_on)"""
    )
    source = AttributeTable(
        "p", "bronze.plans", "customer_id", categories=(Category("plan", "plan"),)
    )
    message = as_declared_result(tables, dg.AssetKey("f"), [source], START, [START]).description
    assert str(message).startswith("1 values of customer_id have several rows in bronze.plans")


def test_a_measure_that_its_decimals_take_away_is_told(tables):
    assert "measure fee of c: at 4 decimals 30 of 30 values lose more than a hundredth" in str(
        message(tables, START)
    )
