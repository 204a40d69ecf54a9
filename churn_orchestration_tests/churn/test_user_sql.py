import re
from pathlib import Path

import pytest

import churn_orchestration
from churn_orchestration.churn.rows.user_sql import columns_of, parsed, tables_read_by


@pytest.mark.parametrize(
    "condition",
    [
        "day > current_date - 30",
        "placed_at < now()",
        "day = today()",
        "random() < 0.5",
        "age(placed_at) < interval 1 day",
        "id in (select id from orders using sample 10)",
        "nextval('s') > 1",
        "uuid() = id",
        "day < 'CURRENT_DATE'::date or day < \"current_date\"",
        "placed_at < localtimestamp",
    ],
)
def test_what_gives_another_answer_tomorrow_is_refused_by_name(condition):
    with pytest.raises(ValueError, match="rule recent: .* would give another answer tomorrow"):
        parsed(condition, "rule recent")


@pytest.mark.parametrize(
    "condition", ["day > date '2024-01-01'", "age(day, first_day) > interval 1 day", '"now" > 1']
)
def test_days_and_columns_of_the_data_are_let_through(condition):
    assert parsed(condition, "rule") is not None


def test_sql_that_does_not_parse_is_told_with_its_place():
    with pytest.raises(ValueError, match="rule big: not valid SQL: amount >"):
        parsed("amount > (1", "rule big")


def test_the_columns_of_a_condition_are_read_from_it():
    assert sorted(columns_of(parsed("amount > 0 and lower(kind) = 'x'", "rule"))) == [
        "amount",
        "kind",
    ]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("select content from read_text('/etc/hosts')", "read_text() is not allowed"),
        ("from bronze.a where exists (from read_csv('/etc/hosts'))", "read_csv() is not allowed"),
        ("select (select max(file) from glob('/etc/*')) from bronze.a", "glob() is not allowed"),
        ("from bronze.a, lateral (from query('select random()'))", "query() is not allowed"),
        ("with a as (from query_table('raw.customers')) from a", "query_table() is not allowed"),
        ("from histogram('raw.customers', 'mail')", "histogram() is not allowed"),
        ("select getvariable('pii_key') from bronze.a", "getvariable() is not allowed"),
        (
            "select current_setting('temp_directory') from bronze.a",
            "current_setting() is not allowed",
        ),
        (
            "select json_serialize_plan('select 1') from bronze.a",
            "json_serialize_plan() is not allowed",
        ),
        ("from duckdb_variables()", "duckdb_variables() is not allowed"),
        ("from (summarize bronze.a)", "describe() is not allowed"),
        ("from '/etc/hosts'", "reads /etc/hosts; name tables with their layer"),
        (
            "from RAW.customers",
            "reads raw.customers; there lies what is declared `pii` as it came: read bronze",
        ),
        ("from quarantine.orders", "reads quarantine.orders; there lies what is declared `pii`"),
        ("from warehouse.raw.orders", "reads warehouse.raw.orders; name tables with their layer"),
        ("from predictions.churn_90d", "reads predictions.churn_90d; name tables with their layer"),
        ("from duckdb_settings", "reads duckdb_settings; name tables with their layer"),
        ("from bronze.a; from raw.b", "wanted one select, got 2 statements"),
        ("pivot bronze.a on kind using sum(n)", "wanted one select; a pivot lists its values"),
    ],
)
def test_a_select_reaches_nothing_but_tables_of_its_layers_and_functions_of_values(select, message):
    with pytest.raises(ValueError, match=re.escape(f"a.sql: {message}")):
        tables_read_by(select, "a.sql")


def test_what_people_write_is_let_through():
    select = """
with recursive paid as (
  select id, nullif(trim(kind), '') as kind, if(x > 0, 1, 2) as sign,
    [y + 1 for y in amounts] as more,
    count(*) filter (x > 0) over (partition by id order by day) as n, list_sum(amounts) as amount
  from bronze.orders asof join silver.rates using (day)
    qualify row_number() over (partition by id) = 1)
select p.*, date_trunc('month', day) as month, split_part(kind, '-', 1) as part, u.value,
  day::text ~~ '2%'
from paid as p, unnest(more) as u(value), generate_series(1, 2)
union all (pivot bronze.orders on kind in ('a', 'b') using sum(x))"""
    assert tables_read_by(select, "a.sql") == ["bronze.orders", "silver.rates"]


def test_a_condition_reads_its_own_row_alone():
    with pytest.raises(
        ValueError, match=r"rule known: reads bronze.customers; a condition reads the columns"
    ):
        parsed("id in (select id from bronze.customers)", "rule known")


def test_every_connection_of_the_package_installs_and_loads_no_extension():
    package = Path(churn_orchestration.__file__).parent
    opening = {
        path.name
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if "duckdb.connect(" in line and ">>>" not in line
    }
    assert opening == {"sql.py", "resources.py"}
