"""Marts: a user's own tables over what was known at the end of a day."""

import hashlib

import dagster as dg
import pytest

from churn_orchestration import pictures
from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.source_rows import source_rows
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.features.proof import proved
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.components.tree import component_tree
from churn_orchestration.definitions import definitions_of
from churn_orchestration.runs import at_work
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES, metadata, why_not_loaded

LAYERS = (*UP_TO_FEATURES, "marts")
DECLARED = """\
type: churn_orchestration.components.SqlTables
attributes:
  layer: marts
  tables:
    SPENT: {key: [customer_id]}
""".replace("SPENT", "spent")
SPENT = """\
-- One row per customer. spent_usd: so far, US dollars.
select customer_id, sum(amount_usd) as spent_usd, count(*) as orders
from silver.orders
group by customer_id
"""
COHORTS = (
    "select date '2024-01-01' as cohort, 0 as month, sum(amount_usd) as spent_usd, 7.5 as age "
    "from silver.orders\n"
)
DRAWN = "cohorts: {key: [cohort, month], cohorts: [spent_usd, age]}"


def with_mart(shop, select=SPENT, declared=DECLARED):
    shop.write("silver/defs.yaml", shop_silver("key: [order_id]"))
    shop.write("marts/defs.yaml", declared)
    shop.write("marts/spent.sql", select)
    return shop


def shop_silver(spec):
    return (
        "type: churn_orchestration.components.SqlTables\nattributes:\n  layer: silver\n"
        f"  tables:\n    orders: {{{spec}}}\n"
    )


def refused(shop, first, last):
    with pytest.raises(BusinessError) as refusal:
        shop.refresh(first, last, layers=LAYERS)
    return str(refusal.value)


def spent(shop):
    return shop.published(
        "select as_of, customer_id, spent_usd::double, orders from marts.spent order by all"
    )


def test_a_day_of_a_mart_holds_what_was_known_at_its_end_and_stays_so_when_more_comes(shop):
    with_mart(shop).land_quiet_days(1, 6)
    shop.refresh(5, 6, layers=LAYERS)
    assert spent(shop) == [(JAN[5], "ann", 17.5, 5), (JAN[6], "ann", 24.0, 6)]
    shop.land_orders(7, f"o7,bob,{JAN[7]} 10:00,7.5", f"late,ann,{JAN[2]} 10:00,100")
    shop.refresh(7, layers=LAYERS)
    files = [path.read_bytes() for path in sorted(shop.business.state.glob("marts/spent/*"))]
    assert spent(shop) == [
        (JAN[5], "ann", 17.5, 5),
        (JAN[6], "ann", 24.0, 6),
        (JAN[7], "ann", 124.0, 7),
        (JAN[7], "bob", 7.5, 1),
    ]
    shop.refresh(5, 7, layers=["marts"])  # again, now that later days are there
    again = [path.read_bytes() for path in sorted(shop.business.state.glob("marts/spent/*"))]
    assert [hashlib.sha256(file).hexdigest() for file in files] == [
        hashlib.sha256(file).hexdigest() for file in again
    ]


def test_of_an_order_that_is_corrected_a_mart_sees_the_version_that_was_known_last(shop):
    with_mart(shop).land_quiet_days(1, 6)
    shop.refresh(5, layers=LAYERS)
    shop.land_orders(6, f"o1,ann,{JAN[1]} 10:00,50")
    shop.refresh(6, layers=LAYERS)
    assert spent(shop) == [(JAN[5], "ann", 17.5, 5), (JAN[6], "ann", 66.0, 5)]


def test_without_a_declared_key_every_version_of_a_row_is_one(shop):
    with_mart(shop).land_quiet_days(1, 6)
    shop.write("silver/defs.yaml", shop_silver("key: []"))
    shop.land_orders(6, f"o1,ann,{JAN[1]} 10:00,50")
    shop.refresh(5, 6, layers=LAYERS)
    assert spent(shop)[-1] == (JAN[6], "ann", 67.5, 6)


def test_a_mart_reads_features_and_forecasts_of_its_day_and_other_marts(shop):
    select = (
        "-- One row per customer. band: of the forecast.\n"
        "select f.customer_id, f.orders_count_7d as orders, p.band, s.spent_usd, "
        "lag.n as days_so_far\n"
        "from gold.customer_features as f left join predictions.churn_90d as p "
        "using (customer_id, as_of)\n"
        "join marts.spent as s using (customer_id, as_of), "
        "(select count(distinct as_of) as n from gold.customer_features) as lag\n"
        "where as_of = $as_of\n"
    )
    with_mart(shop).land_quiet_days(1, 6)
    shop.write("marts/overview.sql", select)
    shop.write("marts/cohorts.sql", COHORTS)
    shop.change("marts/defs.yaml", "  tables:\n", f"  tables:\n    {DRAWN}\n")
    done = shop.refresh(5, 6, layers=(*UP_TO_FEATURES, "predictions", "marts"))
    assert done.refused == {}
    result = shop.published("from marts.overview order by as_of")
    assert [(row[0], row[1], row[2], row[4], row[5]) for row in result] == [
        (JAN[5], "ann", 5, 17.5, 1),
        (JAN[6], "ann", 6, 24.0, 2),
    ]
    assert all(row[3] in ("low", "medium", "high", "critical") for row in result)
    drawn = metadata(shop, "marts/cohorts", JAN[6])
    assert "marts.cohorts 2024-01-06: spent usd of 1 cohorts" in drawn["picture_spent_usd"].value
    assert "(7.5)" in (pictures.svg(drawn["picture_age"].value) or "")
    assert "picture_spent_usd" not in metadata(shop, "marts/cohorts", JAN[5])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("key: [cohort, month]", "key: [cohort]", "cohorts: pictures are drawn by a key of two"),
        (
            "[spent_usd, age]",
            "[spent]",
            'marts/defs.yaml:5: cohorts: no column "spent" in cohorts.sql',
        ),
    ],
)
def test_pictures_by_cohort_of_what_is_not_there_are_refused(shop, old, new, message):
    with_mart(shop)
    shop.write("marts/cohorts.sql", COHORTS)
    shop.change("marts/defs.yaml", "  tables:\n", f"  tables:\n    {DRAWN.replace(old, new)}\n")
    assert message in why_not_loaded(shop)


def test_a_silver_table_is_not_drawn(shop):
    shop.write("silver/defs.yaml", shop_silver("key: [order_id, day], cohorts: [amount_usd]"))
    assert "silver/defs.yaml:5: orders: cohorts: only a mart is drawn" in why_not_loaded(shop)


def test_what_is_drawn_by_cohort_is_a_number_of_periods_and_the_refusal_says_so(shop):
    with_mart(shop).land_quiet_days(1, 5)
    shop.write("marts/cohorts.sql", COHORTS.replace("0 as month", "'first' as month"))
    shop.change("marts/defs.yaml", "  tables:\n", f"  tables:\n    {DRAWN}\n")
    assert "month is a whole number of periods, and spent_usd, age are numbers" in refused(
        shop, 5, 5
    )


def test_a_mart_that_carries_rows_of_other_days_is_refused_and_says_what_to_write(shop):
    with_mart(shop, "select customer_id, as_of, orders_count_7d from gold.customer_features")
    shop.land_quiet_days(1, 6)
    message = refused(shop, 5, 6)
    assert "marts/spent.sql: marts.spent: a row of 2024-01-05 came with 2024-01-06" in message
    assert "`as_of = $as_of`" in message


def test_rows_without_a_day_are_refused(shop):
    late = "select customer_id, if(customer_id = 'ann', null, $as_of) as as_of from silver.orders"
    with_mart(shop, late).land_quiet_days(1, 5)
    assert "a row of no day came with 2024-01-05" in refused(shop, 5, 5)


def test_a_column_that_was_a_bare_null_may_have_a_type_later(shop):
    note = "select customer_id, {} as note from silver.orders where day = $as_of"
    with_mart(shop, note.format("null")).land_quiet_days(1, 6)
    shop.refresh(5, layers=LAYERS)
    shop.write("marts/spent.sql", note.format("if($as_of > date '2024-01-05', 'late', null)"))
    shop.refresh(6, layers=LAYERS)
    assert shop.published("select note from marts.spent order by as_of") == [(None,), ("late",)]


def test_two_rows_of_a_key_refuse_their_day_and_no_other(shop):
    select = "select customer_id, amount_usd from silver.orders where day = $as_of"
    with_mart(shop, select).land_quiet_days(1, 7)
    shop.land_orders(6, f"o6,ann,{JAN[6]} 10:00,1", f"o7,ann,{JAN[6]} 11:00,2")
    done = shop.refresh(5, 7, layers=LAYERS)
    assert list(done.refused) == ["marts.spent"]
    assert list(done.refused["marts.spent"]) == [str(JAN[6])]
    assert "2 rows share their key (customer_id)" in str(done.refused)
    assert shop.published("select distinct as_of from marts.spent order by 1") == [
        (JAN[5],),
        (JAN[7],),
    ]


def test_a_day_that_lacks_what_a_mart_reads_is_refused_and_comes_back_with_it(shop):
    with_mart(shop).land_quiet_days(1, 5)
    shop.land("orders_2024-01-06.csv", "no,such,header\n1,2,3\n")
    shop.land_quiet_days(7, 7)
    done = shop.refresh(5, 7, layers=LAYERS)
    assert list(done.refused["marts.spent"]) == [str(JAN[6]), str(JAN[7])]
    shop.land_quiet_days(6, 6)
    assert shop.refresh(6, 7, layers=LAYERS).refused == {}
    assert [row[3] for row in spent(shop)] == [5, 6, 7]


def test_an_expectation_that_does_not_hold_refuses_the_day(shop):
    expectation = "{type: expect_column_values_to_be_between, column: spent_usd, max_value: 20}"
    declared = DECLARED.replace(
        "key: [customer_id]", f"key: [customer_id], expectations: [{expectation}]"
    )
    with_mart(shop, declared=declared).land_quiet_days(1, 6)
    assert list(shop.refresh(5, 6, layers=LAYERS).refused["marts.spent"]) == [str(JAN[6])]


def test_the_ui_shows_the_columns_with_their_types_and_the_words_of_the_comment(shop):
    with_mart(shop).land_quiet_days(1, 5)
    shop.refresh(5, layers=LAYERS)
    schema = metadata(shop, "marts/spent", JAN[5])["dagster/column_schema"].value
    assert [(column.name, column.type) for column in schema.columns] == [
        ("as_of", "date"),
        ("customer_id", "varchar"),
        ("spent_usd", "decimal(38,4)"),
        ("orders", "bigint"),
    ]
    assert schema.columns[2].description == "so far, US dollars"


def test_a_changed_select_makes_its_days_stale_and_an_edited_test_does_not(shop):
    with_mart(shop).land_quiet_days(1, 6)
    shop.layers = LAYERS
    shop.refresh(5, 6)
    assert shop.first_stale(6) is None
    test = "{name: none, as_of: 2024-01-05, given: {silver.orders: []}, expect: []}"
    shop.change("marts/defs.yaml", "[customer_id]", f"[customer_id], tests: [{test}]")
    assert shop.first_stale(6) is None
    shop.change("marts/spent.sql", "count(*)", "count(distinct day)")
    assert shop.first_stale(6) == JAN[5]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("select x from raw.orders", "spent.sql: reads raw.orders; there lies what is declared"),
        ("select x from orders", "spent.sql: reads orders; name tables with their layer"),
        ("select now() as x from silver.orders", "spent.sql: now() would give another answer"),
        ("select x from silver.orders where day = $day", "there is no $day; the day is $as_of"),
        ("select customer_id from silver.nothing", "reads silver.nothing, which nothing makes"),
        ("select x\nform silver.orders", "spent.sql:2:"),
        ("select orders from silver.orders", 'no column "customer_id" in spent.sql (orders)'),
    ],
)  # fmt: skip
def test_a_select_that_is_none_of_a_mart_is_refused_by_its_file(shop, select, message):
    with_mart(shop, select)
    assert message in why_not_loaded(shop)


def test_a_column_that_there_is_not_is_refused_by_the_file_of_the_mart(shop):
    with_mart(shop, "select customer_id, no_such as spent_usd from silver.orders")
    shop.land_quiet_days(1, 5)
    assert 'marts/spent.sql: Binder Error: Referenced column "no_such"' in refused(shop, 5, 5)


SO_FAR = """\
  attributes:
    - name: so_far
      table: marts.spent
      measures: [{name: spent, column: spent_usd}]
      flags: {often: orders > 6}
  windows:"""


def with_features_of_a_mart(shop, select=SPENT, declared=DECLARED):
    with_mart(shop, select, declared)
    shop.change("gold/defs.yaml", "  windows:", SO_FAR)
    shop.change(
        "churn_90d/defs.yaml",
        "horizon_days: 90",
        "horizon_days: 5\n  snapshots: {min_history_days: 3, every: 2, as_ofs: 4}",
    )
    shop.land_quiet_days(1, 11)
    shop.layers = LAYERS
    return shop


CLUSTERS = """\
type: churn_orchestration.components.Axes
attributes:
  name: habits
  features: customer_features
  axes: [{name: spent, features: [so_far_spent]}]
  changes: {activity: orders, days: 1}
"""


def test_features_of_a_mart_are_the_same_in_training_and_scoring_and_before_its_first_day(shop):
    declared = DECLARED.replace("[customer_id]}", "[customer_id], required: [spent_usd]}")
    only_small = SPENT.replace("sum(amount_usd)", "nullif(sum(amount_usd), 1072)")
    with_features_of_a_mart(shop, only_small, declared)
    shop.land_orders(9, f"o9,bob,{JAN[9]} 10:00,9.5", f"late,ann,{JAN[2]} 10:00,100")
    shop.land_orders(10, f"o10,ann,{JAN[10]} 10:00,10.5", f"o3,ann,{JAN[3]} 10:00,50")
    shop.land_orders(12, f"o12,bob,{JAN[12]} 10:00,1062.5")
    shop.write("segments/defs.yaml", CLUSTERS)
    done = shop.refresh(5, 12, layers=(*LAYERS, "segments"))
    assert shop.published(
        "select h.customer_id, c.customer_id from segments.habits as h join "
        "segments.habits_changes as c using (customer_id, as_of) "
        f"where as_of = date '{JAN[11]}' order by 1"
    ) == [("ann", "ann"), ("bob", "bob")]
    both = "from gold.customer_features as g full join marts.spent as m using (customer_id, as_of)"
    equal = "so_far_spent = spent_usd::double and so_far_often = (orders > 6)::int"
    assert shop.published(f"select count(*), count(*) filter ({equal}) {both}") == [(10, 10)]
    # A day of the mart that breaks its contract is not read over.
    refusal = done.refused["gold.customer_features"][str(JAN[12])]
    assert "marts.spent" in refusal and done.refused["marts.spent"][str(JAN[12])] in refusal

    graph = definitions_of(shop.business).resolve_asset_graph()
    reads = graph.get(dg.AssetKey(["gold", "customer_features"])).parent_keys
    assert {dg.AssetKey(["marts", "spent"]), dg.AssetKey(["silver", "orders"])} <= reads

    with at_work(shop.business) as work, work.warehouse.open() as tables:
        settings = work.questions()["churn_90d"]
        manifest = snapshots.build(tables, work.business, settings, JAN[11])
        same = snapshots.differing_rows(tables, settings.question, settings.gold, manifest)
        assert same == {str(JAN[6]): 0}
        about = {"feature": "so_far_spent", "source": "so_far", "family": "attribute", "window": ""}
        rows = source_rows(settings.question.features, about, JAN[6])
        assert rows and [row[:3] for row in tables.db.execute(rows.sql, ["ann"]).fetchall()] == [
            ("ann", 24, 6)
        ]
        file = settings.store.snapshot_files(tables.state) / manifest["file"]
        trained = tables.rows(
            f"select as_of, so_far_spent, so_far_often from '{file}' order by as_of"
        )
    # The mart has no stored day before JAN[5]; its select gives the row of then all the same.
    assert trained == [(JAN[4], 12.0, 0), (JAN[6], 24.0, 0)]


def test_a_leak_below_a_mart_is_refused_by_the_features_that_read_it(shop):
    with_features_of_a_mart(shop, SPENT.replace("silver.orders", "silver.lifetimes"))
    shop.write(
        "silver/lifetimes.sql",
        "select order_id, customer_id, day, known_on, _partition, "
        "sum(amount_usd) over (partition by customer_id) as amount_usd from bronze.orders",
    )
    shop.take_in_days(JAN[1:8])
    tree = component_tree(shop.business)
    [table] = tree.get_all_components(of_type=FeatureTable)
    with shop.tables() as tables:
        first, *_ = proved(tables, table.pipeline(tree, shop.business), JAN[6]).faults
    assert first.startswith("so_far_spent: changed by rows of bronze.orders beyond as_of")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("marts/spent.sql", "from silver.orders", "from gold.customer_features",
         "gold/defs.yaml:13: customer_features: so_far: marts.spent ({folder}/marts/spent.sql) "
         "reads gold.customer_features, which is made of features, or may be: they would be made "
         "of themselves; let a mart of its own read what features are made of"),
        ("marts/spent.sql", "silver.orders", "predictions.churn_90d",
         "reads predictions.churn_90d, which is made of features"),
        ("marts/spent.sql", "silver.orders", "marts.other",
         "reads marts.other, which is made of features, or may be: they would be made of "
         "themselves; write its select into a `with` of spent.sql"),
        ("marts/spent.sql", "customer_id, sum", "customer_id as who, sum",
         "so_far: {folder}/marts/spent.sql has no column customer_id, whose features they are"),
        ("gold/defs.yaml", "marts.spent", "marts.spend",
         "gold/defs.yaml:13: customer_features: so_far: there is no marts.spend (marts.spent)"),
        ("gold/defs.yaml", "marts.spent", "segments.tiers",
         "so_far: segments.tiers: features read bronze, silver, and marts of these"),
        ("gold/defs.yaml", "table: silver.orders", "table: marts.spent",
         "gold/defs.yaml:6: customer_features: orders: marts.spent says what holds at the end of a "
         "day, and has no events: name it under `attributes`"),
        ("gold/defs.yaml", "table: marts.spent", "table: marts.spent\n      latest: day",
         "so_far: `latest` is of rows that land, and a mart has one row at as_of: take it out"),
    ],
)  # fmt: skip
def test_a_table_that_features_cannot_read_is_refused_by_file_and_line(
    shop, file, old, new, message
):
    with_mart(shop)
    shop.change("gold/defs.yaml", "  windows:", SO_FAR)
    shop.change(file, old, new)
    assert message.format(folder=shop.folder) in why_not_loaded(shop)
