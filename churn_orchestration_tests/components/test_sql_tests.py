"""Tests of .sql tables, declared beside them."""

import json

import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.report.sql_tests import sql_tests
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, why_not_loaded

TESTED = """\
type: churn_orchestration.components.SqlTables
attributes:
  tables:
    orders:
      key: [order_id]
      tests:
        - name: an order keeps its amount
          given:
            bronze.orders:
              - {order_id: o1, customer_id: ann, day: 2024-01-02, amount_usd: 9.5}
              - {order_id: o2, customer_id: bob, day: 2024-01-03}
          expect:
            - {order_id: o2, amount_usd: null, known_on: 2024-01-03}
            - {order_id: o1, amount_usd: 9.50, known_on: 2024-01-02}
"""


@pytest.fixture
def tested(shop):
    shop.write("silver/defs.yaml", TESTED)
    return shop


def test_rows_are_compared_by_the_columns_that_are_expected_in_any_order(tested):
    facts, text, passed = sql_tests(tested.business)
    assert passed
    assert facts == {
        "tests": [
            {
                "table": "silver.orders",
                "test": "an order keeps its amount",
                "passed": True,
                "difference": None,
            }
        ],
        "failed": 0,
    }
    assert text.endswith("1 tests, 0 failed")


def test_a_test_that_fails_prints_the_rows_that_differ(tested):
    tested.change("silver/orders.sql", "day, amount_usd,", "day, amount_usd * 2 as amount_usd,")
    facts, text, passed = sql_tests(tested.business)
    assert not passed
    assert facts["failed"] == 1
    assert json.dumps(facts)
    assert (
        text
        == """\
FAILED  silver.orders: an order keeps its amount
  1 expected rows are not made (-), 1 made rows are not expected (+)
     order_id  amount_usd  known_on
  -  o1        9.5000      2024-01-02
  +  o1        19.0000     2024-01-02
1 tests, 1 failed"""
    )


def test_a_row_that_is_made_twice_is_one_too_many(tested):
    tested.write(
        "silver/orders.sql",
        "select o.* from bronze.orders as o cross join (values (1), (2)) as t(n)",
    )
    assert "0 expected rows are not made (-), 2 made rows are not" in sql_tests(tested.business)[1]


def test_a_run_computes_nothing_of_a_table_whose_test_fails_and_says_how_its_rows_differ(tested):
    tested.land_quiet_days(1, 5)
    tested.change("silver/orders.sql", "day, amount_usd,", "day, amount_usd * 2 as amount_usd,")
    with pytest.raises(BusinessError, match="a test of its SQL fails: .* 1 expected rows are not"):
        tested.refresh(5, layers=UP_TO_FEATURES)
    assert tested.rows("select count(*) from duckdb_tables() where table_name = 'orders' "
                       "and schema_name = 'silver'") == [(0,)]  # fmt: skip
    tested.change("silver/orders.sql", "amount_usd * 2 as amount_usd", "amount_usd")
    tested.refresh(5, layers=UP_TO_FEATURES)
    assert tested.rows("select count(*) from silver.orders") == [(5,)]


def test_a_mart_over_marts_features_and_forecasts_is_tested_without_any_data(tested):
    tested.write(
        "marts/defs.yaml",
        """\
type: churn_orchestration.components.SqlTables
attributes:
  layer: marts
  tables:
    spent: {}
    leaving:
      tests:
        - name: spent is joined to the forecast of the day
          as_of: 2024-01-05
          given:
            marts.spent: [{customer_id: ann, spent_usd: 5.25}]
            gold.customer_features: [{customer_id: ann, orders_count_7d: 3}]
            predictions.churn_90d:
              - {customer_id: ann, churn_probability: 0.1, as_of: 2024-01-04}
              - {customer_id: ann, churn_probability: 0.9, reasons: [a, b]}
          expect:
            - {customer_id: ann, lost: 4.725, orders: 3, first_reason: a, as_of: 2024-01-05}
""",
    )
    tested.write(
        "marts/spent.sql",
        "select customer_id, sum(amount_usd) as spent_usd from silver.orders group by all",
    )
    tested.write(
        "marts/leaving.sql",
        "select customer_id, spent_usd * churn_probability as lost, orders_count_7d as orders, "
        "reasons[1] as first_reason from marts.spent join predictions.churn_90d "
        "using (customer_id, as_of) join gold.customer_features using (customer_id, as_of) "
        "where as_of = $as_of",
    )
    _, text, passed = sql_tests(tested.business)
    assert passed, text


def test_a_mart_over_segments_with_columns_of_their_own_is_tested_by_their_types(tested):
    tested.write(
        "segments/defs.yaml",
        """\
type: churn_orchestration.components.Segments
attributes:
  name: tiers
  features: customer_features
  columns: {spent: "coalesce(orders_amount_sum_7d, 0)"}
  segments: [{name: large, when: spent > 20}]
""",
    )
    tested.write(
        "marts/defs.yaml",
        """\
type: churn_orchestration.components.SqlTables
attributes:
  layer: marts
  tables:
    large:
      tests:
        - name: what the large have spent
          as_of: 2024-01-05
          given:
            segments.tiers:
              - {customer_id: ann, segment: large, spent: 21.5}
              - {customer_id: bob, segment: others, spent: 2}
          expect: [{spent: 21.5}]
""",
    )
    tested.write(
        "marts/large.sql",
        "select sum(spent) as spent from segments.tiers where as_of = $as_of and segment = 'large'",
    )
    _, text, passed = sql_tests(tested.business)
    assert passed, text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bronze.orders:", "bronze.order:", "does not read bronze.order (bronze.orders)"),
        ("customer_id: bob", "customer: bob",
         'given: bronze.orders: row 2: no column "customer" (order_id, '),
        ("amount_usd: 9.5}", "amount_usd: much}", "given: bronze.orders: row 1: Conversion Error"),
        ("          expect:\n", "          expect:\n            - {no_such: 1}\n",
         'names order_id, amount_usd, known_on, and the first row no_such'),
        (", known_on: 2024-01-03}\n            - {order_id: o1, amount_usd: 9.50, known_on",
         ", known: 2024-01-03}\n            - {order_id: o1, amount_usd: 9.50, known",
         'expect: row 1: no column "known" ('),
        ("amount_usd: 9.50, known_on: 2024-01-02", "amount_usd: 9.50",
         "expect: row 2 names order_id, amount_usd, and the first row order_id, amount_usd, "
         "known_on: name the same columns in every row"),
    ],
)  # fmt: skip
def test_what_a_test_says_that_cannot_be_is_refused_by_file_line_and_test(
    tested, old, new, message
):
    tested.change("silver/defs.yaml", old, new)
    with pytest.raises(BusinessError) as refusal:
        sql_tests(tested.business)
    place = f'{tested.folder}/silver/defs.yaml:7: test "an order keeps its amount"'
    assert str(refusal.value).startswith(place)
    assert message in str(refusal.value)


def test_a_table_that_nothing_makes_is_named(tested):
    tested.write("silver/orders.sql", "select * from bronze.orders cross join silver.nothing")
    with pytest.raises(BusinessError, match=r"silver.orders reads silver.nothing, which nothing"):
        sql_tests(tested.business)


def test_a_test_without_expected_rows_is_refused(tested):
    text = TESTED[: TESTED.index("          expect:")]
    tested.write("silver/defs.yaml", text)
    message = why_not_loaded(tested)
    assert "expect" in message
    assert "Field required" in message


def test_a_test_of_a_mart_without_a_day_is_refused(tested):
    tested.write(
        "marts/defs.yaml",
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: marts\n  tables:\n"
        "    spent: {tests: [{name: none, given: {}, expect: []}]}\n",
    )
    tested.write("marts/spent.sql", "select customer_id from silver.orders")
    with pytest.raises(BusinessError, match="is by day: give its test the day"):
        sql_tests(tested.business)


def test_the_check_of_a_table_shows_that_its_tests_pass(tested):
    tested.land_quiet_days(1, 5)
    tested.refresh(5, layers=UP_TO_FEATURES)
    with at_work(tested.business) as work:
        [record] = work.instance.event_log_storage.get_asset_check_execution_history(
            check_key=_check_key(work), limit=1
        )
    evaluation = record.event.dagster_event.event_specific_data
    assert evaluation.passed
    assert evaluation.metadata["tests"].value == 1
    assert JAN[5] in [day for (day,) in tested.rows("select day from meta.days")]


def _check_key(work):
    return next(
        key
        for key in work.definitions.resolve_asset_graph().asset_check_keys
        if key.name == "tests"
    )
