import pytest

from churn_orchestration.business import BusinessError
from churn_orchestration.components.source.sql_tables import silver_select, sql_tables_of
from churn_orchestration.definitions import definitions_of
from churn_orchestration_tests.support.shop import JAN, SILVER_ORDERS, metadata


def read(folder, text):
    path = folder / "table.sql"
    path.write_text(text)
    return silver_select(path)


def refused(folder, text):
    with pytest.raises(BusinessError) as refusal:
        read(folder, text)
    return str(refusal.value)


def test_the_opening_comment_is_the_description(tmp_path):
    table = read(
        tmp_path,
        "-- One row per order.\n-- Source: bronze.a.\nselect _partition from bronze.a -- not "
        "this\n",
    )
    assert table.description == "One row per order.\nSource: bronze.a."


@pytest.mark.parametrize(
    ("select", "upstream"),
    [
        ("select x, _partition from bronze.a", ("bronze.a",)),
        ("select x, _partition from bronze.a join silver.b using (id) "
         "left join bronze.c on c.id = a.id",
         ("bronze.a", "bronze.c", "silver.b")),
        ("with b as (select * from bronze.a) select x, _partition from b", ("bronze.a",)),
        ("with bronze as (select * from bronze.a) select x, _partition from bronze", ("bronze.a",)),
        ("with a as (from bronze.b), b as (from a join silver.c using (id)) "
         "select x, _partition from b",
         ("bronze.b", "silver.c")),
        ("select _partition from bronze.a where id in (select id from silver.b)",
         ("bronze.a", "silver.b")),
        ("select _partition from bronze.a union all from bronze.b", ("bronze.a", "bronze.b")),
        ("from bronze.a", ("bronze.a",)),
        ("select 'from silver.no' as x, _partition from bronze.a -- silver.no", ("bronze.a",)),
    ],
)  # fmt: skip
def test_upstreams_are_read_from_the_sql(tmp_path, select, upstream):
    assert read(tmp_path, select).upstream == upstream


def test_sql_that_does_not_parse_names_file_and_line(tmp_path):
    message = refused(tmp_path, "-- One row.\nselect x, _partition\nform bronze.a\n")
    assert message.startswith(f"{tmp_path}/table.sql:3:")
    assert "not valid SQL" in message


def test_a_quote_that_never_ends_names_file_and_line(tmp_path):
    message = refused(tmp_path, "select 'x, _partition\nfrom bronze.a\n")
    assert message.startswith(f"{tmp_path}/table.sql")
    assert "not valid SQL" in message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("select x from bronze.a", "the select does not carry _partition through; add it"),
        (
            "select 1 as _partition",
            "reads no table; name upstreams with their layer, such as bronze.orders",
        ),
        (
            "select _partition from orders",
            "reads orders; name tables with their layer (bronze, silver)",
        ),
        (
            "select mail, _partition from raw.customers",
            "reads raw.customers; there lies what is declared `pii`",
        ),
        ("select _partition from bronze.a; select 1", "wanted one select, got 2 statements"),
        ("drop table bronze.a", "wanted one select"),
        ("", "wanted one select, got 0 statements"),
        (
            "select x from bronze.a union all select _partition from bronze.b",
            "does not carry _partition through",
        ),
    ],
)
def test_sql_that_is_no_daily_table_is_refused_with_the_remedy(tmp_path, text, wanted):
    message = refused(tmp_path, text)
    assert message.startswith(f"{tmp_path}/table.sql: ")
    assert wanted in message


def test_a_table_that_no_one_makes_is_named_when_the_sql_is_read(shop):
    """Not as a day that "is not there yet": it will never be there."""
    path = shop.change("silver/orders.sql", "from bronze.orders", "from bronze.ordres")
    shop.land_quiet_days(1, 5)
    with pytest.raises(BusinessError, match=rf"{path}.*bronze\.ordres"):
        shop.refresh(5, layers=("raw", "bronze", "quarantine", "silver"))


def test_a_column_that_is_not_there_is_told_with_the_file_of_the_sql(shop):
    path = shop.change("silver/orders.sql", "amount_usd, known_on", "amonut_usd, known_on")
    shop.land_quiet_days(1, 5)
    with pytest.raises(BusinessError) as refusal:
        shop.refresh(5, layers=("raw", "bronze", "quarantine", "silver"))
    assert str(path) in str(refusal.value)
    assert "amonut_usd" in str(refusal.value)
    assert "BinderException" not in str(refusal.value)


def test_changed_sql_makes_its_days_and_those_after_it_stale(features_shop):
    shop = features_shop
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6)
    assert shop.first_stale(6) is None
    shop.write(
        "silver/orders.sql",
        SILVER_ORDERS.replace("day, amount_usd", "day, 2 * amount_usd as amount_usd"),
    )
    assert shop.first_stale(6) == JAN[5]
    shop.refresh(5, 6)
    assert shop.first_stale(6) is None
    assert shop.published(
        "select orders_amount_sum_7d from gold.customer_features where as_of = '2024-01-06'"
    ) == [(48.0,)]


def test_the_columns_of_a_table_are_told_with_the_types_it_has(shop):
    shop.change("silver/orders.sql", "amount_usd,", "amount_usd, amount_usd > 5 as is_large,")
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6)
    message = metadata(shop, "silver/orders", JAN[6])["dagster/column_schema"].value
    assert {column.name: column.type for column in message.columns} == {
        "order_id": "varchar", "customer_id": "varchar", "day": "date",
        "amount_usd": "decimal(18,4)", "is_large": "boolean", "known_on": "date",
        "_partition": "date",
    }  # fmt: skip
    assert "dagster/column_schema" not in metadata(shop, "silver/orders", JAN[5])


def test_what_the_definition_says_of_the_columns_is_what_the_tables_have(shop):
    """In order, with their types; text is varchar in DuckDB."""
    shop.land_quiet_days(1, 6)
    shop.refresh(5, 6)
    for spec in definitions_of(shop.business).resolve_all_asset_specs():
        layer, table = spec.key.path
        if layer not in ("snapshots", "models"):
            seen = shop.rows if layer in ("raw", "bronze", "silver") else shop.published
            message = spec.metadata["dagster/column_schema"].columns
            result = [(name, kind.lower()) for name, kind, *_ in seen(f"describe {layer}.{table}")]
            assert [(c.name, c.type.replace("text", "varchar")) for c in message] == result, (
                spec.key
            )


def test_silver_in_a_folder_that_is_shared_by_a_link_is_found(shop, tmp_path):
    shared = tmp_path / "shared"
    (shop.folder / "silver").rename(shared)
    (shop.folder / "silver").symlink_to(shared, target_is_directory=True)
    assert list(sql_tables_of(shop.business)) == ["silver.orders"]
