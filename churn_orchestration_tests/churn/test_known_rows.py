"""A select of a day: names become views and the parameter a date, and nothing else is touched."""

import datetime as dt

import duckdb
import pytest

from churn_orchestration.churn.rows.known_rows import known_rows, of_day

DAY = dt.date(2024, 1, 2)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("from silver.orders order by all", 'from "known silver.orders" as orders order by all'),
        ("select * from silver.o as p left join gold.f using (c) where x in (from silver.o)",
         'select * from "known silver.o" as p left join "known gold.f" as f using (c) '
         'where x in (from "known silver.o" as o)'),
        ("with recursive t as (select 1 as n union all select n + 1 from t where n < 5) "
         "select * from t, silver.o",
         "with recursive t as (select 1 as n union all select n + 1 from t where n < 5) "
         'select * from t, "known silver.o" as o'),
        ("select list_transform(l, lambda x: x + 1), interval 3 days from silver.o",
         'select list_transform(l, lambda x: x + 1), interval 3 days from "known silver.o" as o'),
        ("select * from silver.o pivot (sum(x) for k in ('a', 'b'))",
         "select * from \"known silver.o\" as o pivot (sum(x) for k in ('a', 'b'))"),
        ("unpivot silver.m on jan, feb into name month value v",
         'unpivot "known silver.m" as m on jan, feb into name month value v'),
        ("from silver.x as o(a, b) select a -- silver.x é\n where b = $as_of and c = 'é $as_of'",
         'from "known silver.x" as o(a, b) select a -- silver.x é\n '
         "where b = (date '2024-01-02') and c = 'é $as_of'"),
        ('from "silver" . "odd name" where day > $as_of - 7',
         'from "known silver.odd name" as "odd name" where day > (date \'2024-01-02\') - 7'),
        ("select (select max(day) from silver.b where b.x = a.x) from Silver.A semi join "
         "silver.b using (x) union all by name select 1 from silver.c",
         'select (select max(day) from "known silver.b" as b where b.x = a.x) '
         'from "known silver.a" as a semi join "known silver.b" as b using (x) '
         'union all by name select 1 from "known silver.c" as c'),
    ],
)  # fmt: skip
def test_names_and_the_day_are_replaced_where_they_stand(select, expected):
    result = of_day(select, DAY, "x.sql").replace("as A", "as a")
    assert result == expected.replace("as A", "as a")


def test_another_parameter_is_refused():
    with pytest.raises(ValueError, match=r"^x.sql: there is no \$day; the day is \$as_of$"):
        of_day("select * from silver.x where b = $day", DAY, "x.sql")


@pytest.mark.parametrize("select", ["from gold /* c */ . f", "table gold.f"])
def test_a_table_that_is_named_in_an_odd_way_is_refused_by_its_file(select):
    with pytest.raises(ValueError, match=r"^x.sql: a table is named in another way than"):
        of_day(select, DAY, "x.sql")


def test_a_correction_that_moves_its_event_is_the_version_that_counts():
    with duckdb.connect() as db:
        db.execute(
            """create table t as select * from (values
              (1, 10, date '2024-01-01', date '2024-01-01', date '2024-01-01'),
              (1, 20, date '2024-01-05', date '2024-01-02', date '2024-01-02'),
              (2, 30, date '2024-01-01', date '2024-01-01', date '2024-01-01'),
              (2, 40, null, date '2024-01-02', date '2024-01-02'))
              as t(id, n, day, known_on, _partition)"""
        )
        columns = ["id", "n", "day", "known_on", "_partition"]
        for day, expected in ((1, [(10,), (30,)]), (2, []), (5, [(20,)])):
            rows = known_rows("t", columns, ["id"], dt.date(2024, 1, day), "_partition")
            assert db.execute(f"select n from ({rows}) order by 1").fetchall() == expected


def test_of_a_table_that_is_kept_by_day_no_other_date_is_a_bound():
    rows = known_rows("values.x", ["as_of", "known_on", "day"], [], DAY, "as_of")
    assert rows == "from values.x where as_of <= date '2024-01-02'"


def test_what_is_known_is_bounded_by_every_date_of_a_row_and_is_the_last_version_of_a_key():
    with duckdb.connect() as db:
        db.execute(
            """create table t as select * from (values
              ('a', 1, date '2024-01-01', date '2024-01-01', date '2024-01-01'),
              ('a', 2, date '2024-01-01', date '2024-01-02', date '2024-01-02'),
              ('a', 3, date '2024-01-01', date '2024-01-03', date '2024-01-03'),
              ('b', 4, date '2024-01-03', date '2024-01-01', date '2024-01-01'),
              ('c', 5, date '2024-01-01', date '2024-01-01', date '2024-01-05'))
              as t(id, n, day, known_on, _partition)"""
        )
        columns = ["id", "n", "day", "known_on", "_partition"]
        last = known_rows("t", columns, ["id"], DAY, "_partition")
        all_of_them = known_rows("t", columns, [], DAY, "_partition")
        assert db.execute(f"select n from ({last})").fetchall() == [(2,)]
        assert db.execute(f"select n from ({all_of_them}) order by 1").fetchall() == [(1,), (2,)]
