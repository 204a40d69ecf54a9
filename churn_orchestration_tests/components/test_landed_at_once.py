import pytest

from churn_orchestration.components.features.feature_specs import AttributeTableSpec
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.source.landed_at_once import dated_back
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_tables import sql_tables_of
from churn_orchestration.components.tree import component_tree
from churn_orchestration_tests.support.shop import JAN, UP_TO_FEATURES

CUSTOMERS = """\
---
type: churn_orchestration.components.SourceTable
attributes:
  name: customers
  files: customers.csv
  columns:
    - {name: customer_id, type: id, required: true}
    - {name: signed_up_on, type: date, required: true}
    - {name: country}
    - {name: nps, type: integer}
  event_time: signed_up_on
  key: [customer_id]
"""
ATTRIBUTES = """\
  attributes:
    - name: customer
      table: bronze.customers
      measures: [{name: nps, column: nps, decimals: 0}]
      categories: [{name: country, column: country, values: [FR]}]
      flags: {fond: nps > 8 and country = 'FR'}
"""


@pytest.fixture
def shop_with_customers(features_shop):
    """Customers in one file, as they are today, dated by their sign-up."""
    shop = features_shop
    orders = (shop.folder / "raw/defs.yaml").read_text()
    shop.write("raw/defs.yaml", orders + CUSTOMERS)
    shop.write("gold/defs.yaml", (shop.folder / "gold/defs.yaml").read_text() + ATTRIBUTES)
    shop.land("customers.csv", "customer_id,signed_up_on,country,nps\nann,2024-01-02,FR,9\n")
    shop.land_quiet_days(1, 5)
    return shop


def late_of(shop) -> list[str]:
    [table] = component_tree(shop.business).get_all_components(of_type=FeatureTable)
    [attributes] = table.declared().attributes
    return attributes.known_late


def test_attributes_of_a_file_dated_by_sign_up_are_known_from_its_landing_and_the_run_says_so(
    shop_with_customers,
):
    shop = shop_with_customers
    note = shop.refresh(5, layers=UP_TO_FEATURES).notes["gold.customer_features"]
    assert note.startswith(
        "no value before 2024-01-05: customer_nps, customer_country_is_fr, customer_fond, "
    )
    assert "say in customer which columns never change: `fixed: [column]`, or `fixed: []`" in note
    result = (
        "select feature, available_from from gold.customer_features_catalogue "
        "where source = 'customer'"
    )
    assert {day for _, day in shop.published(result)} == {JAN[5]}


def test_a_ratio_of_what_is_known_late_is_known_as_late(shop_with_customers):
    shop = shop_with_customers
    ratio = "ratios: [{name: orders_per_nps, top: orders_count_3d, bottom: customer_nps}]"
    shop.change("gold/defs.yaml", "  windows:", f"  {ratio}\n  windows:")
    note = shop.refresh(5, layers=UP_TO_FEATURES).notes["gold.customer_features"]
    assert "orders_per_nps" in note
    assert shop.published("select orders_per_nps from gold.customer_features") == [(3 / 9,)]
    assert shop.published(
        "select source, available_from from gold.customer_features_catalogue "
        "where feature = 'orders_per_nps'"
    ) == [("orders / customer", JAN[5])]


def test_a_mart_of_what_landed_at_once_is_known_from_the_landing_too(shop_with_customers):
    shop = shop_with_customers
    shop.write(
        "marts/defs.yaml",
        "type: churn_orchestration.components.SqlTables\nattributes: {layer: marts}\n",
    )
    shop.write("marts/fond.sql", "select customer_id, nps, country from bronze.customers\n")
    shop.change("gold/defs.yaml", "table: bronze.customers", "table: marts.fond")
    assert late_of(shop) == ["customer_nps", "customer_country", "customer_fond"]
    done = shop.refresh(5, layers=(*UP_TO_FEATURES, "marts"))
    assert done.refused == {}
    assert "gold.customer_features" not in done.notes  # there is no `fixed` to ask for
    assert shop.published(
        "select distinct available_from from gold.customer_features_catalogue "
        "where source = 'customer'"
    ) == [(JAN[5],)]


def test_what_is_declared_fixed_is_known_with_its_row(shop_with_customers):
    shop = shop_with_customers
    assert late_of(shop) == ["customer_nps", "customer_country", "customer_fond"]
    for fixed, late in (
        ("[country]", ["customer_nps", "customer_fond"]),
        ("[country, nps]", []),
        ("true", []),
        ("[]", ["customer_nps", "customer_country", "customer_fond"]),
    ):
        shop.write(
            "gold/defs.yaml", features_of_orders(shop) + ATTRIBUTES + f"      fixed: {fixed}\n"
        )
        assert late_of(shop) == late, fixed


def features_of_orders(shop) -> str:
    return (
        (shop.folder / "gold/defs.yaml")
        .read_text()
        .partition("  attributes:\n    - name: customer")[0]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "files: customers.csv",
            "files: 'customers_{day}.csv'",
        ),  # each file is known on its own day
        ("  event_time: signed_up_on\n", ""),  # rows have the day of their landing
    ],
)
def test_attributes_that_land_on_their_days_are_known_with_their_rows(
    shop_with_customers, old, new
):
    shop_with_customers.change("raw/defs.yaml", old, new)
    assert late_of(shop_with_customers) == []


def test_a_history_of_states_is_known_with_its_rows(shop_with_customers):
    shop_with_customers.change(
        "gold/defs.yaml", "table: bronze.customers", "table: bronze.customers\n      latest: day"
    )
    assert late_of(shop_with_customers) == []


def test_a_silver_table_of_rows_that_are_dated_back_is_dated_back_too(shop_with_customers):
    shop = shop_with_customers
    shop.write(
        "silver/people.sql", "select customer_id, day, known_on, _partition from bronze.customers"
    )
    shop.write("silver/friends.sql", "from silver.people")
    sources = component_tree(shop.business).get_all_components(of_type=SourceTable)
    assert dated_back(sources, sql_tables_of(shop.business)) == {
        "bronze.customers", "silver.people", "silver.friends",
    }  # fmt: skip


def test_a_fixed_column_that_is_not_read_is_named():
    with pytest.raises(
        ValueError, match=r'customer: fixed names "county", which is no column .* \(nps\)'
    ):
        AttributeTableSpec(
            name="customer", table="bronze.customers", measures=[{"name": "nps", "column": "nps"}],
            fixed=["county"],
        )  # fmt: skip
