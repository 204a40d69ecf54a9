import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from churn_orchestration.churn.sql import connect
from churn_orchestration.storage.door import KEPT, door, publish
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.session import WarehouseError
from churn_orchestration.storage.warehouse import Tables

ONE, TWO, THREE = (dt.date(2024, 1, day) for day in (1, 2, 3))


@pytest.fixture
def tables(tmp_path):
    with Warehouse.of(tmp_path / "shop").open() as opened:
        yield opened


def values(*rows: tuple, columns: str = "x, _partition") -> str:
    """A select of a few rows; a date is written as a date."""
    listed = ", ".join(
        "(" + ", ".join(repr(c) if isinstance(c, int) else f"{c}" for c in row) + ")"
        for row in rows
    )
    return f"select * from (values {listed}) as t({columns})"


def day(date: dt.date) -> str:
    return f"date '{date}'"


def test_replacing_a_day_takes_its_rows_out_and_leaves_the_others(tables):
    first = tables.replace_days(
        "silver.t", [ONE, TWO], values((1, day(ONE)), (2, day(TWO)), (3, day(TWO)))
    )
    assert first == {ONE: 1, TWO: 2}
    assert tables.replace_days("silver.t", [TWO, THREE], values((4, day(TWO)))) == {
        TWO: 1,
        THREE: 0,
    }
    assert tables.rows("select x from silver.t order by x") == [(1,), (4,)]


def test_a_row_of_another_day_is_refused_and_nothing_is_written(tables):
    tables.replace_days("silver.t", [ONE], values((1, day(ONE))))
    with pytest.raises(
        WarehouseError, match=r"silver.t: a row of 2024-01-02 came with other days; nothing written"
    ):
        tables.replace_days("silver.t", [ONE], values((9, day(ONE)), (2, day(TWO))))
    assert tables.rows("from silver.t") == [(1, ONE)]


def test_a_row_of_no_day_is_refused_with_the_table_named(tables):
    with pytest.raises(WarehouseError, match="silver.t"):
        tables.replace_days("silver.t", [ONE], values((1, day(ONE)), (2, "null::date")))


def test_a_new_column_is_null_on_earlier_days_and_a_column_that_is_gone_on_later_ones(tables):
    tables.replace_days("silver.t", [ONE], values((1, day(ONE))))
    tables.replace_days(
        "silver.t", [TWO], values((2, "'new'", day(TWO)), columns="x, y, _partition")
    )
    tables.replace_days("silver.t", [THREE], values(("'y'", day(THREE)), columns="y, _partition"))
    assert tables.rows("select x, y from silver.t order by _partition") == [
        (1, None),
        (2, "new"),
        (None, "y"),
    ]


def test_a_column_of_another_type_is_refused_with_table_column_and_both_types(tables):
    tables.replace_days("silver.t", [ONE], values((1, day(ONE))))
    with pytest.raises(WarehouseError) as refusal:
        tables.replace_days(
            "silver.t", [TWO], values(("'text'", "'new'", day(TWO)), columns="x, y, _partition")
        )
    assert str(refusal.value) == (
        'silver.t: column "x" is INTEGER in the warehouse and VARCHAR in what arrives; '
        "change its declaration back, or give the column a new name"
    )
    assert tables.rows("from silver.t") == [(1, ONE)]
    assert list(tables.columns("silver.t")) == ["x", "_partition"]


def test_a_table_of_more_than_one_row_group_is_whole_in_the_transaction_that_makes_it_and_after(
    tables,
):
    """DuckDB 2.0: an empty CTAS filled in its own transaction answered no grouped or computed
    query.
    """
    many = f"select i as x, {day(ONE)} as _partition from range(130000) as r(i) order by i"
    with tables.transaction():
        tables.replace_days("silver.t", [ONE], many)
        assert tables.rows("select _partition, count(*) from silver.t group by all") == [
            (ONE, 130000)
        ]
    assert tables.rows(f"select count(*) from silver.t where _partition + 0 = {day(ONE)}") == [
        (130000,)
    ]
    tables.replace_days("silver.t", [ONE], many)
    assert tables.rows("select count(*) from silver.t") == [(130000,)]


PARQUET = "x, as_of"


def test_a_parquet_day_is_a_file_of_its_own_and_the_door_shows_them_all(tables):
    tables.replace_days("gold.t", [ONE, TWO], values((1, day(ONE)), (2, day(TWO)), columns=PARQUET))
    publish(tables)
    assert sorted(path.name[:10] for path in (tables.state / "gold/t").iterdir()) == [
        "2024-01-01",
        "2024-01-02",
    ]
    with door(tables.state) as db:
        assert db.execute("from gold.t order by x").fetchall() == [(1, ONE), (2, TWO)]


def test_a_parquet_row_of_another_day_is_refused_as_in_a_table(tables):
    with pytest.raises(WarehouseError, match=r"gold.t: a row of 2024-01-02"):
        tables.replace_days("gold.t", [ONE], values((1, day(ONE)), (2, day(TWO)), columns=PARQUET))
    assert tables.day_file("gold.t", ONE) is None


def test_a_parquet_column_of_another_type_is_refused_with_table_column_and_both_types(tables):
    tables.replace_days("gold.t", [ONE], values((1, day(ONE)), columns=PARQUET))
    with pytest.raises(WarehouseError, match=r'gold.t: column "x" is INTEGER .* VARCHAR'):
        tables.replace_days("gold.t", [TWO], values(("'text'", day(TWO)), columns=PARQUET))


def test_a_new_parquet_column_is_null_on_earlier_days(tables):
    tables.replace_days("gold.t", [ONE], values((1, day(ONE)), columns=PARQUET))
    tables.replace_days("gold.t", [TWO], values((2, "'new'", day(TWO)), columns="x, y, as_of"))
    publish(tables)
    with door(tables.state) as db:
        assert db.execute("select x, y from gold.t order by x").fetchall() == [
            (1, None),
            (2, "new"),
        ]


def test_a_write_that_fails_half_way_leaves_the_old_day_whole(tables):
    tables.replace_days("gold.t", [ONE], values((1, day(ONE)), columns=PARQUET))
    half_way = "if(i = 900000, error('the disk is full'), i)"
    breaks = f"select {half_way} as x, {day(ONE)} as as_of from range(1000000) as r(i) order by x"
    with pytest.raises(duckdb.Error, match="the disk is full"):
        tables.replace_days("gold.t", [ONE], breaks)
    publish(tables)
    with door(tables.state) as db:
        assert db.execute("from gold.t").fetchall() == [(1, ONE)]


CHILD = """
import datetime as dt, sys
from pathlib import Path
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.resources import Warehouse
day = dt.date(2024, 1, 1)
with Warehouse.of(Path(sys.argv[1])).open() as tables:
    for version in range(int(sys.argv[2])):
        rows = 1000 + version * 37  # another size each time, so that an old footer fits no new file
        text = "repeat('x', (i % 50)::int) as t"
        source = f"select {version} as version, i, {text}, date '{day}' as "
        numbers = f" from range({rows}) as r(i)"
        tables.replace_days("gold.t", [day], f"{source} as_of {numbers}")
        tables.replace_days("silver.t", [day], f"{source} _partition {numbers}")
        publish(tables)
        print(version, flush=True)
"""


def writing(state: Path, versions: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(state), str(versions)],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip


def test_readers_of_the_door_never_fail_and_see_whole_days_while_another_process_writes(tmp_path):
    with writing(tmp_path, 60) as child:
        child.stdout.readline()
        seen = set()
        while child.poll() is None:
            with door(tmp_path) as db:
                result = db.execute(
                    "select version, count(*), sum(length(t)) from gold.t group by all"
                ).fetchall()
            assert len(result) == 1
            [(version, rows, _)] = result
            assert rows == 1000 + version * 37
            seen.add(version)
    assert child.returncode == 0
    assert len(seen) > 1


@pytest.mark.parametrize("moment", ["while it is opened", "while opening it fails"])
def test_a_door_replaced_while_it_is_opened_is_opened_again(tables, monkeypatch, moment):
    """DuckDB opens a file several times by its name, so headers and blocks could be of two."""
    put_version(tables, 0)
    path, opened = tables.state / "published.duckdb", []

    def open_slowly(name: str, **options: bool) -> duckdb.DuckDBPyConnection:
        connection = opens(name, **options)
        if name == str(path):
            opened.append(connection)
        if len(opened) == 1 and name == str(path):
            shutil.copyfile(aside, path.with_suffix(".next"))
            path.with_suffix(".next").replace(path)
            if moment == "while opening it fails":
                connection.close()
                raise duckdb.IOException("Could not read enough bytes from file")
        return connection

    opens = duckdb.connect
    shutil.copyfile(path, old := path.with_suffix(".old"))
    put_version(tables, 1)
    shutil.copyfile(path, aside := path.with_suffix(".aside"))
    old.replace(path)
    monkeypatch.setattr(duckdb, "connect", open_slowly)
    with door(tables.state) as db:
        assert db.execute("from gold.t").fetchall() == [(1, ONE)]
    assert len(opened) == 2


def test_what_is_no_database_is_refused_at_once_and_not_opened_for_ever(tmp_path):
    (tmp_path / "published.duckdb").write_bytes(b"no database" * 4000)
    with pytest.raises(duckdb.IOException, match="not a valid DuckDB"), door(tmp_path):
        pass


def test_a_database_that_another_writes_to_is_refused_at_once(tmp_path, monkeypatch):
    """It changes while it is opened, and stays the same file: nobody waits for the writer."""
    path, tried = tmp_path / "theirs.duckdb", []
    path.write_bytes(b"")

    def locked(*_: object, **__: object) -> duckdb.DuckDBPyConnection:
        tried.append(path.write_bytes(b"more" * (len(tried) + 1)))
        raise duckdb.IOException("Could not set lock on file")

    monkeypatch.setattr(duckdb, "connect", locked)
    with pytest.raises(duckdb.IOException, match="lock"):
        connect(path, read_only=True)
    assert len(tried) == 1


def put_version(tables: Tables, version: int) -> Path:
    """Replace the one day of gold.t, and publish it; its file."""
    tables.replace_days("gold.t", [ONE], values((version, day(ONE)), columns=PARQUET))
    publish(tables)
    file = tables.day_file("gold.t", ONE)
    assert file
    return file


def test_a_reader_that_holds_the_door_open_reads_the_same_files_however_often_they_are_replaced(
    tables,
):
    put_version(tables, 0)
    with door(tables.state) as first:
        for version in range(1, 6):
            put_version(tables, version)
        assert first.execute("from gold.t").fetchall() == [(0, ONE)]
    with door(tables.state) as last:
        assert last.execute("from gold.t").fetchall() == [(5, ONE)]


def age(path: Path, days: float) -> None:
    """Make a file older than it is."""
    stat, earlier = path.stat(), int(days * 86_400 * 10**9)
    os.utime(path, ns=(stat.st_atime_ns - earlier, stat.st_mtime_ns - earlier))


def test_a_replaced_file_is_removed_by_the_first_publishing_after_its_time(tables):
    files = [put_version(tables, version) for version in range(3)]
    assert all(file.exists() for file in files)
    age(files[0], KEPT / dt.timedelta(days=1))
    age(files[1], 0.9 * (KEPT / dt.timedelta(days=1)))
    publish(tables)
    assert [file.exists() for file in files] == [False, True, True]


def test_a_file_that_was_current_for_long_is_kept_from_the_day_on_which_it_is_replaced(tables):
    old = put_version(tables, 0)
    age(old, 400)
    put_version(tables, 1)
    put_version(tables, 2)
    assert old.exists()


def test_the_current_file_of_a_day_is_kept_whatever_its_age(tables):
    current = put_version(tables, 0)
    age(current, 400)
    publish(tables)
    publish(tables)
    assert current.exists()


def test_who_publishes_beside_an_open_door_takes_the_tables_that_are_gone_out_of_the_next(tables):
    put_version(tables, 0)
    with door(tables.state):
        tables.replace_days("gold.other", [ONE], values((1, day(ONE)), columns=PARQUET))
        publish(tables)
        tables.drop_day("gold.other", ONE)
        publish(tables)
    with door(tables.state) as db, pytest.raises(duckdb.Error, match="other does not exist"):
        db.execute("from gold.other")


def test_a_killed_writer_leaves_every_table_whole_and_the_next_one_goes_on(tmp_path):
    with writing(tmp_path, 100_000) as child:
        for _ in range(5):
            child.stdout.readline()
        time.sleep(0.03)
        child.send_signal(signal.SIGKILL)
    with Warehouse.of(tmp_path).open() as tables:
        [(version, rows)] = tables.rows("select version, count(*) from silver.t group by all")
        assert rows == 1000 + version * 37
    with door(tmp_path) as db:
        [(version, rows)] = db.execute(
            "select version, count(*) from gold.t group by all"
        ).fetchall()
        assert rows == 1000 + version * 37
    with writing(tmp_path, 1) as child:
        child.communicate()
    assert child.returncode == 0


def test_the_door_of_a_business_without_any_run_says_what_to_do(tmp_path):
    with (
        pytest.raises(
            WarehouseError, match=r"nothing is published in .* yet: `churn run --to DAY` first"
        ),
        door(tmp_path),
    ):
        pass


def test_the_door_of_a_state_folder_that_moved_shows_its_files_after_the_next_publishing(tmp_path):
    with Warehouse.of(tmp_path / "here").open() as tables:
        tables.replace_days("gold.t", [ONE], values((1, day(ONE)), columns=PARQUET))
        publish(tables)
    (tmp_path / "here").rename(tmp_path / "there")
    with Warehouse.of(tmp_path / "there").open() as tables:
        publish(tables)
    with door(tmp_path / "there") as db:
        assert db.execute("from gold.t").fetchall() == [(1, ONE)]


def test_a_table_whose_last_day_was_dropped_is_gone_from_the_door_and_the_others_stay(tables):
    for table in ("gold.t", "gold.u"):
        tables.replace_days(table, [ONE], values((1, day(ONE)), columns=PARQUET))
    publish(tables)
    tables.drop_day("gold.t", ONE)
    publish(tables)
    with door(tables.state) as db:
        assert db.execute(
            "select view_name from duckdb_views() where schema_name = 'gold'"
        ).fetchall() == [("u",)]
        assert db.execute("from gold.u").fetchall() == [(1, ONE)]


def test_nobody_can_write_through_the_door(tables):
    publish(tables)
    with door(tables.state) as db, pytest.raises(duckdb.Error, match="read-only"):
        db.execute("create table meta.mine (x int)")


def noted(
    tables: Tables, table: str, *days: dt.date, by: str = "v1", refused: str | None = None
) -> None:
    tables.days.record(
        table, "refused" if refused else "stored", dict.fromkeys(days, 1), by, refused
    )


def test_a_table_stands_where_every_day_is_stored_or_waived(tables):
    noted(tables, "silver.t", ONE)
    noted(tables, "silver.t", TWO, refused="no column x")
    assert tables.days.why_invalid("silver.t", ONE, ONE) is None
    assert (
        tables.days.why_invalid("silver.t", ONE, THREE)
        == "silver.t 2024-01-02 is refused (no column x)"
    )
    assert (
        tables.days.why_invalid("silver.t", THREE, THREE) == "silver.t 2024-01-03 is not there yet"
    )
    assert tables.days.refused("silver.t", ONE) == {}
    assert tables.days.refused("silver.t", THREE) == {TWO: "no column x"}
    tables.days.waive("silver.t", TWO, "the file is lost for good")
    assert tables.days.why_invalid("silver.t", ONE, TWO) is None
    assert tables.days.refused("silver.t", THREE) == {}


def test_only_a_refused_day_can_be_waived_and_only_once(tables):
    noted(tables, "silver.t", ONE)
    noted(tables, "silver.t", TWO, refused="no column x")
    with pytest.raises(
        WarehouseError, match="silver.t 2024-01-01 is not refused: there is nothing to waive"
    ):
        tables.days.waive("silver.t", ONE, "why not")
    tables.days.waive("silver.t", TWO, "lost")
    with pytest.raises(WarehouseError, match="nothing to waive"):
        tables.days.waive("silver.t", TWO, "lost")


def first_stale(tables: Tables, table: str, by: str = "v1") -> dt.date | None:
    return next(iter(tables.days.stale(table, by, ["silver.up"], [ONE, TWO, THREE])), None)


def test_a_day_is_stale_when_missing_refused_or_made_by_another_declaration(tables):
    assert first_stale(tables, "silver.t") == ONE
    noted(tables, "silver.t", ONE, TWO, THREE)
    assert first_stale(tables, "silver.t") is None
    noted(tables, "silver.t", THREE, refused="no column x")
    assert first_stale(tables, "silver.t") == THREE
    assert first_stale(tables, "silver.t", by="v2") == ONE
    tables.days.waive("silver.t", THREE, "lost")
    assert first_stale(tables, "silver.t") is None


def test_a_day_is_stale_when_its_upstream_was_made_after_it_and_for_gold_any_day_before(tables):
    noted(tables, "silver.up", ONE, TWO, THREE)
    noted(tables, "silver.t", ONE, TWO, THREE)
    noted(tables, "gold.t", ONE, TWO, THREE)
    assert (first_stale(tables, "silver.t"), first_stale(tables, "gold.t")) == (None, None)
    noted(tables, "silver.up", TWO)
    assert (first_stale(tables, "silver.t"), first_stale(tables, "gold.t")) == (TWO, TWO)
    noted(tables, "silver.t", TWO)
    noted(tables, "gold.t", TWO)
    assert (first_stale(tables, "silver.t"), first_stale(tables, "gold.t")) == (None, THREE)


def test_a_transaction_that_fails_writes_nothing_of_it(tables):
    tables.replace_days("silver.t", [ONE], values((1, day(ONE))))
    with pytest.raises(RuntimeError), tables.transaction():
        tables.replace_days("silver.t", [ONE], values((2, day(ONE))))
        noted(tables, "silver.t", ONE)
        raise RuntimeError("stopped")
    assert tables.rows("from silver.t") == [(1, ONE)]
    assert tables.days.stored("silver.t") == set()


def test_a_waiver_ends_when_its_day_is_mended(tables):
    tables.days.record("bronze.t", "refused", {ONE: 0}, "d", "no column")
    tables.days.waive("bronze.t", ONE, "the till was broken")
    tables.days.record("bronze.t", "stored", {ONE: 1}, "d")
    tables.days.record("bronze.t", "refused", {ONE: 0}, "d", "another fault")
    assert not tables.days.is_waived("bronze.t", ONE)
    assert "another fault" in tables.days.why_invalid("bronze.t", ONE, ONE)


def test_a_day_refused_for_a_fault_above_it_keeps_table_and_day_of_that_fault(tables):
    tables.days.descends("silver.t", ["bronze.t"])
    tables.days.descends("gold.f", ["silver.t"])
    tables.days.record("bronze.t", "refused", {ONE: 0}, "d", "no column")
    fault = tables.days.fault("silver.t", ONE, ONE)
    assert fault is not None
    assert fault.kind == "refused"
    tables.days.record("gold.f", "refused", {TWO: 0}, "d", replace(fault, before="it reads "))
    assert tables.rows("select table_name, reason, cause_table, cause_day from meta.days") == [
        ("bronze.t", "no column", None, None),
        ("gold.f", "it reads bronze.t 2024-01-01 is refused (no column)", "bronze.t", ONE),
    ]


def test_a_gold_day_does_not_stand_once_an_earlier_day_that_it_read_is_made_anew(tables):
    for table, day_ in (("silver.t", ONE), ("silver.t", TWO), ("gold.f", TWO)):
        tables.days.record(table, "stored", {day_: 1}, "d")
    tables.days.descends("gold.f", ["silver.t"])
    assert tables.days.why_invalid("gold.f", TWO, TWO) is None
    tables.days.record("silver.t", "stored", {ONE: 1}, "d")
    assert (
        tables.days.why_invalid("gold.f", TWO, TWO)
        == "gold.f 2024-01-02 was made before silver.t was recomputed"
    )


def test_a_day_of_the_same_rows_keeps_its_version_in_whatever_order_they_come(tables):
    def recorded(select: str) -> int:
        tables.replace_days("silver.t", [ONE], select)
        tables.days.record("silver.t", "stored", {ONE: 2}, "v1")
        return tables.rows("select version from meta.days")[0][0]

    first = recorded(values((1, day(ONE)), (2, day(ONE))))
    assert recorded(values((2, day(ONE)), (1, day(ONE)))) == first
    assert recorded(values((2, day(ONE)), (2, day(ONE)))) > first


def test_a_connection_beside_an_open_transaction_is_refused_for_it_would_miss_its_writes(tables):
    with tables.transaction():
        tables.db.execute("create table silver.t as select 1 as x")
        with pytest.raises(WarehouseError, match="would not see"), tables.second_connection():
            pass
    with tables.second_connection() as other:
        assert other.rows("from silver.t") == [(1,)]


def test_sql_on_the_warehouse_reaches_files_of_the_state_and_of_the_landing_alone(tmp_path):
    state, landing, elsewhere = (tmp_path / name for name in ("state", "land[1]", "elsewhere"))
    for folder in (landing, elsewhere):
        folder.mkdir()
        (folder / "a.csv").write_text("x\n1\n")
    (state / "b").mkdir(parents=True)
    (state / "link").symlink_to(elsewhere)

    with Warehouse.of(state).open(landing) as tables:
        tables.db.execute(f"copy (select 1 as x) to '{state}/b/b.parquet'")
        assert tables.rows(f"from '{state}/b/*.parquet'") == [(1,)]
        assert tables.rows(f"from '{tmp_path}/land[[]1]/a.csv'") == [(1,)]
        for outside in (
            f"from read_csv('{elsewhere}/a.csv')",
            f"from read_text('{state}/../elsewhere/a.csv')",
            f"from read_text('{state}/link/a.csv')",
            f"copy (select 1) to '{elsewhere}/b.csv'",
            f"attach '{elsewhere}/b.duckdb'",
        ):
            with pytest.raises(duckdb.PermissionException):
                tables.rows(outside)
        for setting in ("enable_external_access = true", "autoload_known_extensions = true"):
            with pytest.raises(duckdb.InvalidInputException, match="locked"):
                tables.rows(f"set {setting}")
    with Warehouse.of(state).open() as tables, pytest.raises(duckdb.PermissionException):
        tables.rows(f"from read_csv('{tmp_path}/land[[]1]/a.csv')")


def test_a_value_that_does_not_fit_is_told_by_its_shape_and_never_quoted(tmp_path):
    """Dagster keeps what is raised, with all that it comes from."""
    with pytest.raises(WarehouseError) as message, Warehouse.of(tmp_path).open() as tables:
        tables.rows("select strptime(t, '%Y') from (values ('ann@mail.org')) as v(t)")
    assert "aaa@aaaa.aaa" in str(message.value)
    assert "ann@mail.org" not in "".join(traceback.format_exception(message.value))
    with pytest.raises(WarehouseError) as message, Warehouse.of(tmp_path).open() as tables:
        tables.rows("select cast(t as int) from (values ('ann o''mail\nlee')) as v(t)")
    assert not re.search("ann|mail|lee", str(message.value))
    with pytest.raises(WarehouseError) as message, Warehouse.of(tmp_path).open() as tables:
        tables.rows("select cast(t as tinyint) from (values (49171)) as v(t)")
    assert "value 99999 can't be cast" in str(message.value)
