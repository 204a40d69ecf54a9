"""What cannot be a feature is told by file and line, before anything is computed."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from churn_orchestration.business import BusinessError, line_of
from churn_orchestration.churn.features.declared import Category, EventSource, Measure
from churn_orchestration.components.features.fitness import Place, require_columns, require_rows
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.shop import FEATURES, JAN

ORDERS = EventSource(
    "orders", "silver.orders", "customer_id", "order", (), (Measure("amount", "amount_usd"),),
    (Category("item", "item"),),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "defs.yaml").write_text(FEATURES)
    return partial(line_of, tmp_path / "defs.yaml")


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with Warehouse.of(tmp_path).open() as opened:
        yield opened


def refused(tables: Tables, place: Place, **changed: str) -> str:
    """What is told of orders of one day with a changed column."""
    columns = {
        "customer_id": "'ann'", "day": f"date '{JAN[5]}'", "_partition": f"date '{JAN[5]}'",
        "amount_usd": "1.5", "item": "'a'",
    } | changed  # fmt: skip
    listed = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    tables.db.execute(
        f"create or replace table silver.orders as select {listed} from range(1000000) as t(n)"
    )
    with pytest.raises(BusinessError) as message:
        require_columns(tables, ORDERS, place)
        require_rows(tables, ORDERS, [JAN[5]], JAN[1], place)
    return str(message.value)


def test_a_measure_that_is_text(tables: Tables, place: Place) -> None:
    message = refused(tables, place, amount_usd="'1,50'")
    assert "defs.yaml:11: measure amount of orders: silver.orders.amount_usd is varchar" in message


def test_a_category_of_a_million_values(tables: Tables, place: Place) -> None:
    message = refused(tables, place, item="n::varchar")
    assert "category item of orders has about" in message
    assert "that names single events" in message


def test_amounts_beyond_64_bits(tables: Tables, place: Place) -> None:
    message = refused(
        tables, place, amount_usd="(case when n = 7 then -1e15 else 1 end)::decimal(18, 0)"
    )
    assert (
        "defs.yaml:11: measure amount of orders: 1 amounts of silver.orders.amount_usd lie beyond"
        in message
    )
    assert "e.g. -9999999999999999:" in message


def test_a_key_that_rows_of_one_day_share(tables: Tables, place: Place) -> None:
    """Lines of a basket: without a word one line of each would count, and which, a later row
    decides.
    """
    tables.db.execute(
        f"""create or replace table silver.orders as select 'ann' as customer_id,
          n // 2 as order_id,
          n % 2 as line, 1.5 as amount_usd, 'a' as item, date '{JAN[5]}' as day, day as known_on,
          day as _partition from range(10) as t(n)"""
    )
    lines = replace(ORDERS, key=("order_id",))
    with pytest.raises(BusinessError) as message:
        require_rows(tables, lines, [JAN[5]], JAN[1], place)
    assert (
        "defs.yaml:6: order_id is no key of silver.orders: 10 rows share it with another that"
        in str(message.value)
    )
    assert "unique would be `key: [order_id, line]`; or `group by order_id` in the SQL" in str(
        message.value
    )
    require_rows(tables, replace(ORDERS, key=("order_id", "line")), [JAN[5]], JAN[1], place)


def test_events_before_the_start_of_the_business(tables: Tables, place: Place) -> None:
    message = refused(tables, place, day="date '2023-12-31' - (n % 2)::int")
    assert (
        "1,000,000 events of silver.orders lie before 2024-01-01, the first on 2023-12-30"
        in message
    )


def test_a_line_is_that_of_the_inner_block(place: Place) -> None:
    assert place("orders").endswith("defs.yaml:6")
    assert place("orders", "amount").endswith("defs.yaml:11")
    assert place("visits").endswith("defs.yaml:1")
