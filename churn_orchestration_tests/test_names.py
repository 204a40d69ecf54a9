"""Columns called as SQL calls its own words, from the landing file to the door."""

import datetime as dt

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Date,
    EventSource,
    FeatureSet,
    Measure,
)
from churn_orchestration.churn.features.origin import origins
from churn_orchestration.churn.features.parts import touched, versions
from churn_orchestration.churn.features.perturbation import Ground, Pipeline, prove
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.question.labels import Question, labelled
from churn_orchestration.churn.rows.contract import Column, Contract, bronze_rows, judged
from churn_orchestration_tests.support.daily_parts import make_parts
from churn_orchestration_tests.support.properties import examples

SOURCE = """\
type: churn_orchestration.components.SourceTable
attributes:
  name: order
  files: "orders_{day}.csv"
  columns:
    - {name: order, from: order_id, type: id, required: true}
    - {name: group, from: customer_id, type: id, required: true}
    - {name: end, from: ordered_at, type: timestamp, required: true}
    - {name: at, from: amount_usd, type: decimal, required: true}
    - {name: copy, from: order_id, type: text}
  event_time: end
  key: [order]
  where: {positive: '"at" > 0'}
  expectations: [{type: expect_column_values_to_not_be_null, column: group}]
"""
SQL = """\
-- One row per order.
select "order", "group", day, "at", copy, copy as "select", known_on, _partition from bronze."order"
"""
FEATURES = """\
type: churn_orchestration.components.FeatureTable
attributes:
  name: table
  entity: group
  windows: [3, 7]
  trends: [3]
  sql: [own.sql]
  sources:
    - name: orders
      table: silver.union
      noun: order
      key: [order]
      measures: [{name: at, column: at, slope: true}]
      categories: [{name: copy, column: copy}, {name: select, column: select}]
"""
OWN = """\
select "group", count(*) as "end" from silver."union" where day <= $as_of and known_on <= $as_of
group by all
"""
QUESTION = """\
type: churn_orchestration.components.ChurnModel
attributes:
  name: where
  features: table
  activity: orders
  horizon_days: 3
  value: orders_at_sum_7d
"""


def test_reserved_words_are_names_like_others_from_the_source_to_the_door(shop):
    (shop.folder / "silver/orders.sql").unlink()
    tables = "  tables: {union: {key: [order], relationships: {group: bronze.order.group}}}\n"
    for name, text in {
        "raw/defs.yaml": SOURCE, "silver/union.sql": SQL, "gold/defs.yaml": FEATURES,
        "gold/own.sql": OWN, "churn_90d/defs.yaml": QUESTION,
        "silver/defs.yaml": "type: churn_orchestration.components.SqlTables\n"
                             "attributes:\n" + tables,
    }.items():  # fmt: skip
        shop.write(name, text)
    shop.land_quiet_days(1, 10)
    done = shop.refresh(5, 10)
    assert (done.succeeded, done.refused, done.notes) == (True, {}, {})
    gold = 'select "group", orders_at_sum_3d, orders_select_distinct_all, own_end from gold.table '
    assert shop.published(f"{gold} where as_of = '2024-01-10'") == [("ann", 28.5, 10, 10.0)]
    assert shop.published('select distinct "group" from predictions.where') == [("ann",)]


def names(most: int) -> st.SearchStrategy[list[str]]:
    """Names that differ in more than case: words of SQL, and whatever letters there are."""
    with duckdb.connect() as db:
        words = [
            word for (word,) in db.execute("select keyword_name from duckdb_keywords()").fetchall()
        ]
    ours = ("day", "known_on", "_partition", "_file", "_line")
    odd = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
    name = st.one_of(st.sampled_from(words), odd).filter(
        lambda n: n.strip() == n and n.lower() not in ours and not n.startswith("_")
    )
    return st.lists(name, min_size=most, max_size=most, unique_by=lambda n: n.casefold())


@settings(max_examples=examples(15), deadline=None)
@given(names(5))
def test_whatever_the_columns_are_called_features_labels_and_the_proof_are_the_same(given_names):
    assert answers(given_names) == answers(["who", "number", "moment", "amount", "kind"])


def answers(called: list[str]) -> list[tuple]:
    """What the raw rows of two customers come to, whatever their columns are called."""
    who, number, moment, amount, kind = called
    contract = Contract(
        (
            Column(who, who, "id", required=True), Column(number, number, "id"),
            Column(moment, moment, "date"), Column(amount, amount, "decimal"), Column(kind, kind),
        ),
        moment, (number,),
    )  # fmt: skip
    source = EventSource(
        "orders", "bronze.orders", who, "order", (number,),
        (Measure("amount", amount, slope=True, answered=True, change="sum"),),
        (Category("kind", kind, ("a",), True), Category("any", kind, repeated=True)),
    )  # fmt: skip
    declared, as_of = FeatureSet(who, (source,), (3, 7), (3,)), dt.date(2024, 1, 5)
    with duckdb.connect() as db:
        db.execute("create schema raw; create schema bronze; create schema silver")
        columns = ", ".join('"' + name.replace('"', '""') + '" varchar' for name in called)
        db.execute(
            f"create table raw.orders ({columns}, _file varchar, _line bigint, _error varchar, "
            "known_on date, _partition date)"
        )
        for row in (
            ("ann", "1", "2024-01-02", "5", "a"), ("ann", "2", "2024-01-04", "7", "b"),
            ("bob", "3", "2024-01-05", "1", "a"), ("bob", "4", "2024-01-07", "1", "a"),
        ):  # fmt: skip
            place = ["f", int(row[1]), None, row[2], row[2]]
            db.execute(f"insert into raw.orders values ({', '.join('?' * 10)})", [*row, *place])
        db.execute(f"create table judged as {judged(contract, 'raw.orders', called, 'true')}")
        db.execute(f"create table bronze.orders as {bronze_rows(contract, 'judged')}")
        make_parts(db, declared)
        db.execute(touched(source, who, [as_of]))
        db.execute(f"create table gold as {features_at(declared, as_of)}")
        question = Question("q", "inactivity", declared, source, Horizon(2))
        result = db.execute(labelled(question, "gold", as_of, dt.date(2024, 1, 7))).fetchall()

        def build(proof: duckdb.DuckDBPyConnection) -> None:
            parts = versions(source, who, dt.date.min)
            proof.execute(f"create or replace table {source.days_table} as {parts}")

        grounds = (Ground("bronze.orders", (number,), who),)
        proof = prove(db, Pipeline(grounds, build, lambda day: features_at(declared, day)), as_of)
    assert (proof.faults, proof.moves) == ([], True)
    return result


def test_what_a_feature_reads_is_named_whatever_its_column_is_called():
    table = AttributeTable(
        "a", "silver.a", "group", measures=(Measure("m", "order"),),
        categories=(Category("c", "end", ("x",)),), dates=(Date("d", "at"),),
    )  # fmt: skip
    source = EventSource("s", "silver.s", "group", "order", measures=(Measure("m", "select"),))
    result = origins(FeatureSet("group", (source,), (30,), (30,), (table,)))
    features = ("a_m", "a_c_is_x", "a_days_since_d", "s_m_sum_30d")
    assert {name: sorted(result[name].columns) for name in features} == {
        "a_m": ["silver.a.order"], "a_c_is_x": ["silver.a.end"], "a_days_since_d": ["silver.a.at"],
        "s_m_sum_30d": ["silver.s.select"],
    }  # fmt: skip
