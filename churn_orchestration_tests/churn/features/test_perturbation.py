"""The proof catches every planted leak by feature, table and rule, and says nothing of the clean
twins.
"""

import datetime as dt
from collections.abc import Iterator

import duckdb
import pytest

from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Cohort,
    EventSource,
    FeatureRatio,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.perturbation import Ground, Pipeline, Proof, prove
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.planted_leaks import GROUNDS, PLANTED, Planted

AS_OF = dt.date(2024, 6, 30)

STORE = """
create schema bronze; create schema silver;
create table bronze.orders as select 'o' || n as order_id, 'c' || (hash(n) % 40) as customer_id,

    date '2024-07-20' - (hash(n * 3) % 200)::int as day,
    day + (case when n % 9 = 0 then n % 25 else 0 end)::int as known_on,
    known_on as _partition, (hash(n * 7) % 9000 / 100)::decimal(18, 4) as amount_usd,
    ['web', 'store', 'app'][(1 + hash(n * 5) % 3)::int] as channel from range(900) as t(n);
create table bronze.customers as select 'c' || (n % 40) as customer_id,
date '2024-01-01' + (n * 2)::int as day,
    day as known_on, day as _partition, ['big', 'small'][(1 + hash(n) % 2)::int] as segment
    from range(100) as t(n);
create table bronze.plans as select 'c' || (n % 40) as customer_id,
  date '2024-01-01' + (n * 2)::int as day,
    day as known_on, day as _partition, ['paid', 'free'][(1 + hash(n + 1) % 2)::int] as plan
    from range(100) as t(n);
create table bronze.users as select 'u' || (n % 60) as user_id,
  'c' || (hash(n) % 40) as customer_id,
    date '2024-01-01' + (n % 200)::int as day, day as known_on, day as _partition
      from range(60) as t(n);
create table bronze.tickets as select 't' || n as ticket_id, 'u' || (n % 60) as user_id,
    date '2024-01-01' + (hash(n) % 200)::int as day, day as known_on, day as _partition
    from range(400) as t(n);
"""


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(STORE)
        yield connection


def proof(
    db: duckdb.DuckDBPyConnection,
    select: str,
    silver: str = "",
    grounds: tuple[Ground, ...] = GROUNDS,
) -> Proof:
    def build(trial: duckdb.DuckDBPyConnection) -> None:
        if silver:
            trial.execute(f"create or replace table silver.joined as {silver}")

    return prove(
        db, Pipeline(grounds, build, lambda day: select.replace("$as_of", f"date '{day}'")), AS_OF
    )


@pytest.mark.parametrize("planted", PLANTED, ids=[planted.name for planted in PLANTED])
def test_a_planted_leak_is_caught_and_named(
    db: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    result = proof(db, planted.leaks, planted.silver).leaks
    assert {leak.feature for leak in result} & {"x", "*"}
    assert {leak.table for leak in result} & set(planted.tables)
    assert all(str(leak.entities) in str(leak) and leak.rule in str(leak) for leak in result)


@pytest.mark.parametrize("planted", PLANTED, ids=[planted.name for planted in PLANTED])
def test_its_clean_twin_is_not(db: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    result = proof(db, planted.clean, planted.clean_silver)
    assert [str(leak) for leak in result.leaks] == []
    assert result.rows > 0
    assert "x" not in result.unmoved


@pytest.mark.parametrize("by_table", [True, False])
def test_a_proof_that_sees_nothing_is_a_fault_whether_tables_are_altered_apart_or_at_once(
    db: duckdb.DuckDBPyConnection, *, by_table: bool
) -> None:
    def judged(select: str) -> Proof:
        pipeline = Pipeline(GROUNDS, lambda _: None, lambda _: select)
        return prove(db, pipeline, AS_OF, by_table=by_table)

    seeing = "select customer_id, count(*) as x from bronze.orders where known_on <= date '{}' "
    assert judged(seeing.format(AS_OF) + f"and day <= date '{AS_OF}' group by 1").faults == []
    [fault] = judged("select 1 as customer_id, 1 as x").faults
    assert "the proof sees nothing" in fault


def test_there_are_twelve_kinds_and_more() -> None:
    assert len({planted.name for planted in PLANTED}) >= 12


DECLARED = FeatureSet(
    "customer_id",
    (
        EventSource(
            "orders", "bronze.orders", "customer_id", "order", ("order_id",),
            (Measure("amount", "amount_usd", "usd", slope=True, answered=True,
                     change="sum"),),
            (Category("channel", "channel", ("web", "store"), counts=True, mostly=True,
              repeated=True),),
            (Flag("large", "amount_usd > 50", counts=True),),
            thirds=True, recency_ratio=True, active_days_per_month=True,
        ),
    ),
    attributes=(
        AttributeTable(
            "customers", "bronze.customers", "customer_id", flags=(Flag("big", "segment = 'big'"),)
        ),
    ),
    velocity=(30,), momentum=(30,), calendar=True,
    cohort=Cohort("orders", ("orders_amount_sum_30d",), ("ratio", "difference", "z")),
    ratios=(FeatureRatio("amount_per_order", "orders_amount_sum", "orders_count"),),
)  # fmt: skip


def test_the_declared_features_pass_and_the_control_sees_each_of_them(
    db: duckdb.DuckDBPyConnection,
) -> None:
    result = prove(
        db,
        Pipeline(
            GROUNDS[:2],
            lambda trial: make_parts(trial, DECLARED),
            lambda day: features_at(DECLARED, day),
        ),
        AS_OF,
    )
    assert (result.leaks, result.blind) == ([], [])
    assert [name for name in result.unmoved if not name.startswith("calendar_")] == []


def test_a_key_may_hold_a_date_or_a_truth_value(db: duckdb.DuckDBPyConnection) -> None:
    """A price by product and day on which it begins; that day moves with the rows that are
    added.
    """
    db.execute(
        "create or replace table bronze.prices as select 'c' || (n % 40) as customer_id, "
        "date '2024-01-01' + (n * 2)::int as day, day as valid_from, n % 2 = 0 as web, day as "
        "known_on, day as _partition, (hash(n) % 900)::decimal(18, 2) as price_usd from range(100) "
        "as t(n)"
    )
    grounds = (Ground("bronze.prices", ("customer_id", "valid_from", "web"), "customer_id"),)
    seen = (
        "select customer_id, arg_max(price_usd, valid_from) as x from bronze.prices where {} "
        "group by 1"
    )
    assert (
        proof(db, seen.format("valid_from <= $as_of and known_on <= $as_of"), "", grounds).faults
        == []
    )
    leaks = proof(db, seen.format("known_on <= $as_of"), "", grounds).leaks
    assert "x" in {leak.feature for leak in leaks}
    assert {(leak.table, leak.rule) for leak in leaks} == {("bronze.prices", "dated ahead")}
    db.execute("drop table bronze.prices")


def test_a_table_that_no_feature_reacts_to_is_told_as_blind(db: duckdb.DuckDBPyConnection) -> None:
    result = proof(
        db,
        "select distinct customer_id, 1 as x from bronze.orders where day <= $as_of and known_on "
        "<= $as_of",
    )
    assert "bronze.tickets" in result.blind
    assert result.unmoved == []  # whole rows appear


def test_the_warehouse_is_as_it_was(db: duckdb.DuckDBPyConnection) -> None:
    tables = (
        "select database_name, schema_name, table_name, estimated_size from duckdb_tables() "
        "order by all"
    )
    before = db.execute(tables).fetchall()
    proof(db, PLANTED[0].leaks)
    with pytest.raises(duckdb.Error):
        proof(db, "select customer_id, no_such_column as x from bronze.orders")
    assert db.execute(tables).fetchall() == before
    assert db.execute("select current_database()").fetchall() == [("memory",)]


def test_the_sample_is_bounded_and_always_the_same(db: duckdb.DuckDBPyConnection) -> None:
    pipeline = Pipeline(
        GROUNDS, lambda _: None, lambda day: PLANTED[1].leaks.replace("$as_of", f"date '{day}'")
    )
    few = [prove(db, pipeline, AS_OF, most_entities=5) for _ in range(2)]
    assert few[0] == few[1]
    assert few[0].entities == 5
    assert few[0].leaks


def test_an_entity_of_very_many_rows_is_thinned_and_its_leak_is_seen_all_the_same(
    db: duckdb.DuckDBPyConnection,
) -> None:
    pipeline = Pipeline(
        GROUNDS, lambda _: None, lambda day: PLANTED[1].leaks.replace("$as_of", f"date '{day}'")
    )
    whole, thin = (
        prove(db, pipeline, AS_OF, most_entities=5, most_rows=most) for most in (10_000, 40)
    )
    assert 0 < thin.rows < whole.rows
    assert {leak.feature for leak in thin.leaks} == {leak.feature for leak in whole.leaks}
