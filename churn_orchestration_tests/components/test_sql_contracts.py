import datetime as dt
import re

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.components.source.sql_contracts import (
    SqlTableSpec,
    faults,
    unkeyed_message,
)
from churn_orchestration.definitions import definitions_of
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES

ONE, TWO = (dt.date(2024, 1, day) for day in (1, 2))
SQL_TABLES = "type: churn_orchestration.components.SqlTables\nattributes:\n  tables: {}\n"
UP_TO_SILVER = UP_TO_FEATURES[:-1]
DOUBLED = """\
-- One row per order, doubled by a join of two rows.
select o.order_id, o.customer_id, o.day, o.amount_usd, o.known_on, o._partition
from bronze.orders as o cross join (values (1), (2)) as t(n)
"""


@pytest.fixture
def tables(tmp_path):
    """``silver.orders``: o1 is corrected on day two; on day two o2 is there twice, and o3 has no
    amount.
    """
    with Warehouse.of(tmp_path).open() as opened:
        opened.db.execute(
            """create table silver.orders as select * from (values
              ('o1', 'ann', 5, date '2024-01-01', date '2024-01-01'),
              ('o1', 'ann', 6, date '2024-01-02', date '2024-01-02'),
              ('o2', 'bob', 7, date '2024-01-02', date '2024-01-02'),
              ('o2', 'bob', 7, date '2024-01-02', date '2024-01-02'),
              ('o3', 'cid', null, date '2024-01-02', date '2024-01-02'))
              as t(order_id, customer_id, amount, known_on, _partition);
            create table bronze.customers as select * from (values
              ('ann', date '2024-01-01'), ('bob', date '2024-01-02'), ('cid', date '2024-01-03'))
              as t(customer_id, _partition)"""
        )
        yield opened


def broken(tables, **contract) -> dict[dt.date, str]:
    return faults(tables, "silver.orders", SqlTableSpec(**contract), [ONE, TWO])


def test_two_rows_that_share_a_key_in_one_landing_break_their_day_and_a_correction_does_not(tables):
    assert broken(tables, key=["order_id"]) == {
        TWO: "2 rows share their key (order_id) with another: does a join multiply them? Group "
        "them, or name in `key` what distinguishes them"
    }
    assert broken(tables, key=["order_id", "amount"])[TWO].endswith("; 1 rows have no amount")
    assert broken(tables, key=[]) == {}


def test_a_required_column_that_is_null_breaks_its_day(tables):
    assert broken(tables, required=["amount", "customer_id"]) == {TWO: "1 rows have no amount"}


def test_a_value_that_the_related_table_has_not_landed_by_then_breaks_its_day(tables):
    assert broken(tables, relationships={"customer_id": "bronze.customers.customer_id"}) == {
        TWO: (
            "1 rows have a customer_id that bronze.customers.customer_id has not"
        )  # cid lands on day three
    }


def test_an_expectation_that_does_not_hold_breaks_its_day(tables):
    expectation = {"type": "expect_column_values_to_be_between", "column": "amount", "max_value": 5}
    assert list(broken(tables, expectations=[expectation])) == [TWO]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {},
            "no key is declared, so rows that a join multiplies are not seen: in x.yaml, `tables: "
            "{orders: ",
        ),
        (
            {"bronze.orders": ["order_id"]},
            "2 rows share order_id, the key of bronze.orders, with another; no key",
        ),
        (
            {"bronze.orders": ["order_id"], "bronze.lines": ["order_id", "amount", "customer_id"]},
            "2 rows share order_id",
        ),
        (
            {"bronze.orders": ["order_id"], "bronze.days": ["known_on", "order_id"]},
            "2 rows share order_id",
        ),
    ],
)
def test_where_no_key_is_declared_rows_that_share_the_key_of_what_they_are_made_of_are_counted(
    tables, keys, message
):
    assert unkeyed_message(tables, "silver.orders", "x.yaml", keys, [ONE, TWO]).startswith(message)


def test_where_no_key_is_declared_one_that_would_do_is_named(tables):
    keys = {"bronze.orders": ["order_id"], "bronze.customers": ["customer_id"]}
    message = unkeyed_message(tables, "silver.orders", "x.yaml", keys, [ONE])
    assert message.endswith("in x.yaml, `tables: {orders: {key: [order_id]}}`")


def test_a_join_that_doubles_every_order_is_refused_by_its_declared_key_and_a_good_day_stays(shop):
    shop.land_quiet_days(1, 6)
    shop.write("silver/defs.yaml", SQL_TABLES.format("{orders: {key: [order_id]}}"))
    shop.write(
        "silver/orders.sql",
        DOUBLED.replace("cross join", "join") + "on n = 1 or day = '2024-01-06'",
    )
    done = shop.refresh(5, 6, layers=UP_TO_SILVER)
    assert list(done.refused) == ["silver.orders", "silver.orders_days"]
    assert list(done.refused["silver.orders"]) == [str(JAN[6])]
    assert "2 rows share their key (order_id)" in done.refused["silver.orders"][str(JAN[6])]
    assert shop.rows("select count(*), max(_partition) from silver.orders") == [(5, JAN[5])]


def test_a_join_that_doubles_every_order_is_noted_where_no_key_is_declared(shop):
    shop.land_quiet_days(1, 5)
    shop.write("silver/orders.sql", DOUBLED)
    shop.change(
        "gold/defs.yaml", "      key: [order_id]\n", ""
    )  # features refuse the key by themselves
    note = shop.refresh(5, layers=UP_TO_SILVER).notes["silver.orders"]
    assert note.startswith(
        "10 rows share order_id, the key of bronze.orders, with another; no key is declared"
    )


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            "{ordres: {key: [order_id]}}",
            r"silver/defs.yaml:3: ordres: there is no ordres.sql next to it \(orders\)",
        ),
        (
            "{orders: {key: [id]}}",
            r'silver/defs.yaml:3: orders: no column "id" in orders.sql \(order_id, ',
        ),
    ],
)
def test_a_contract_that_fits_no_table_is_refused_with_its_place(shop, tables, message):
    shop.write("silver/defs.yaml", SQL_TABLES.format(tables))
    with pytest.raises(Exception, match="silver") as refusal:
        definitions_of(shop.business)
    assert isinstance(refusal.value.__cause__, BusinessError)
    assert re.search(message, str(refusal.value.__cause__))


def test_a_relationship_names_layer_table_and_column():
    with pytest.raises(
        ValueError, match="wanted layer.table.column, such as bronze.customers.customer_id"
    ):
        SqlTableSpec(relationships={"customer_id": "customers"})
