"""A state outlives the package: versions, migrations and what a crash or a second process does to
them.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from churn_orchestration.business import PACKAGE, BusinessError
from churn_orchestration.storage import migrations
from churn_orchestration.storage.door import door, publish
from churn_orchestration.storage.layers import WAREHOUSE
from churn_orchestration.storage.migrations import MIGRATIONS, Migration, Upgrade
from churn_orchestration.storage.resources import Warehouse

NEWEST = len(MIGRATIONS)
SCHEMA = """
select table_name, column_name, data_type from duckdb_columns()
where schema_name = 'meta' and database_name = current_database() order by table_name,
  column_index"""
STEP = """
import os, signal, sys, time
from pathlib import Path
from churn_orchestration.storage import migrations
from churn_orchestration.storage.migrations import MIGRATIONS, Migration
from churn_orchestration.storage.resources import Warehouse
"""
KILLED_WITHIN = """
def step(upgrade):
    upgrade.db.execute("alter table meta.days add column note varchar")
    upgrade.write("note.txt", b"new")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_AFTER = """
def step(upgrade):
    upgrade.db.execute("alter table meta.days add column note varchar")
    upgrade.write("note.txt", b"new")
migrations._finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
COUNTED = """
def step(upgrade):
    with (upgrade.state / "applied.txt").open("a") as file:
        file.write("applied ")
    time.sleep(2)
    upgrade.db.execute("alter table meta.days add column note varchar")
"""
OPENED = """
migrations.MIGRATIONS = (*MIGRATIONS, Migration("a step", step))
with Warehouse.of(Path(sys.argv[1])).open():
    pass
"""


def step(upgrade: Upgrade) -> None:
    """A step as a later version may have."""
    upgrade.db.execute("alter table meta.days add column note varchar")
    upgrade.write("note.txt", b"new")


def fails(upgrade: Upgrade) -> None:
    """A step that changes tables and a file, and then fails."""
    upgrade.db.execute("drop table meta.files")
    upgrade.write("note.txt", b"newer")
    raise RuntimeError("no more")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state of the newest version, with a day and a file."""
    with Warehouse.of(tmp_path).open() as tables:
        tables.db.execute(
            "insert into meta.days (table_name, day, status, rows, declaration, content, version, "
            "made) values ('silver.t', '2024-01-01', 'stored', 1, 'd', 'c', 1, 1)"
        )
        publish(tables)
    (tmp_path / "note.txt").write_text("old")
    return tmp_path


def contents(state: Path) -> tuple[list, list, list, str]:
    """The tables of a warehouse, its days and versions, and the file; opened by nothing of the
    package.
    """
    with duckdb.connect(str(state / WAREHOUSE)) as db:
        days = db.execute("from meta.days").fetchall()
        versions = db.execute("select version from meta.migrations order by 1").fetchall()
        return db.execute(SCHEMA).fetchall(), days, versions, (state / "note.txt").read_text()


def start(script: str, state: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", STEP + script + OPENED, str(state)])


def test_a_new_state_is_of_the_newest_version(state):
    assert contents(state)[2] == [(NEWEST,)]
    with door(state) as db:
        assert db.execute("select version, summary from meta.migrations").fetchall() == [
            (NEWEST, "a new state")
        ]


def test_a_step_runs_once_and_its_file_comes_with_it(state, monkeypatch):
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, Migration("a step", step)))
    for _ in range(2):  # a second time, the column would be there
        with Warehouse.of(state).open() as tables:
            assert tables.columns("meta.days")["note"] == "VARCHAR"
    assert contents(state)[2:] == ([(NEWEST,), (NEWEST + 1,)], "new")


def test_a_step_that_fails_leaves_the_state_as_it_was(state, monkeypatch):
    before = contents(state)
    steps = (*MIGRATIONS, Migration("a step", step), Migration("another", fails))
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    with pytest.raises(RuntimeError, match="no more"), Warehouse.of(state).open():
        pass
    assert contents(state) == before


def test_a_process_killed_within_a_step_leaves_the_state_as_it_was(state):
    before = contents(state)
    assert start(KILLED_WITHIN, state).wait() == -signal.SIGKILL
    assert contents(state) == before
    with Warehouse.of(state).open():  # what is left of the killed step is no part of the state
        pass
    assert contents(state) == before


def test_a_process_killed_before_it_has_put_the_files_in_place_is_finished_by_the_next(
    state, monkeypatch
):
    assert start(KILLED_AFTER, state).wait() == -signal.SIGKILL
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, Migration("a step", step)))
    assert contents(state)[2:] == ([(NEWEST,), (NEWEST + 1,)], "old")
    with Warehouse.of(state).open():
        pass
    assert contents(state)[2:] == ([(NEWEST,), (NEWEST + 1,)], "new")


def test_of_two_processes_that_open_a_state_at_once_one_upgrades_it(state):
    both = [start(COUNTED, state) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (state / "applied.txt").read_text() == "applied "
    assert contents(state)[2] == [(NEWEST,), (NEWEST + 1,)]


def test_a_state_newer_than_the_package_is_refused_at_the_warehouse_and_at_the_door(state):
    with Warehouse.of(state).open() as tables:
        tables.db.execute("insert into meta.migrations values (?, 'later', '9.1.0')", [NEWEST + 1])
        publish(tables)
    before = contents(state)
    wanted = (
        rf"written by churn-orchestration 9.1.0 \(state version {NEWEST + 1}\).*: "
        "update the package"
    )
    with pytest.raises(BusinessError, match=wanted), Warehouse.of(state).open():
        pass
    with pytest.raises(BusinessError, match=wanted), door(state):
        pass
    assert contents(state) == before


def test_a_state_of_before_days_recorded_their_content_keeps_its_days(tmp_path):
    with duckdb.connect(str(tmp_path / WAREHOUSE)) as db:
        db.execute(
            "create schema meta; create sequence meta.versions; create table meta.days (table_name "
            "varchar, day date, status varchar, rows bigint, declaration varchar, reason varchar, "
            "version bigint default nextval('meta.versions'), primary key (table_name, day)); "
            "create table meta.published (file varchar);"
            "create table meta.manifest (source varchar, file varchar, sha256 varchar, size "
            "bigint, mtime_ns bigint, partition date, known_on date, header varchar[]);"
            "create table meta.lineage (table_name varchar, upstream varchar);"
            "create table meta.waivers (table_name varchar, day date, reason varchar);"
            "create table meta.files (table_name varchar, day date, file varchar, "
            "primary key (table_name, day)); create table meta.checkpoints (days_table varchar, "
            "kind varchar, relation varchar, through date, known_by date, declaration varchar);"
            "insert into meta.days (table_name, day, status, rows, declaration) "
            "values ('bronze.t', '2024-01-01', 'stored', 5, 'd')"
        )
    with Warehouse.of(tmp_path).open() as tables, Warehouse.of(tmp_path / "new").open() as new:
        assert tables.rows(SCHEMA) == new.rows(SCHEMA)
        [(name, rows, version, made)] = tables.rows(
            "select table_name, rows, version, made from meta.days"
        )
        assert (name, rows, version, made) == ("bronze.t", 5, 1, 1)
        assert tables.rows("select version from meta.migrations order by 1") == [
            (number,) for number in range(NEWEST + 1)
        ]


def test_refused_days_of_before_causes_were_kept_gain_the_one_that_their_reason_names(tmp_path):
    with Warehouse.of(tmp_path).open() as tables:
        tables.days.descends("silver.t", ["bronze.t"])
        tables.days.descends("gold.f", ["silver.t"])
        db = tables.db
        db.execute("alter table meta.days drop column cause_table")
        db.execute("alter table meta.days drop column cause_day")
        db.execute("update meta.migrations set version = 2")
        db.execute(
            "insert into meta.days (table_name, day, status, reason) values "
            "('bronze.t', '2024-01-05', 'refused', 't_2024-01-05.csv has no column \"x\"'), "
            "('silver.t', '2024-01-05', 'refused', 'bronze.t 2024-01-05 is refused (no x)'), "
            "('gold.f', '2024-01-06', 'refused', 'it reads days up to its own, and bronze.t "
            "2024-01-05 is refused (silver.t 2024-01-04 differs)'), "
            "('gold.g', '2024-01-06', 'refused', 'bronze.t 2024-01-05 is refused (no x)'), "
            "('silver.t', '2024-01-06', 'stored', null)"
        )
    with Warehouse.of(tmp_path).open() as tables:
        causes = tables.rows(
            "select table_name, day::varchar, cause_table, cause_day::varchar from meta.days "
            "order by all"
        )
    assert causes == [
        ("bronze.t", "2024-01-05", None, None),
        ("gold.f", "2024-01-06", "bronze.t", "2024-01-05"),
        ("gold.g", "2024-01-06", None, None),  # it does not descend from what its reason names
        ("silver.t", "2024-01-05", "bronze.t", "2024-01-05"),
        ("silver.t", "2024-01-06", None, None),
    ]


def test_no_message_advises_to_remove_a_state_or_its_warehouse():
    texts = [
        *PACKAGE.rglob("*.py"),
        *PACKAGE.parent.glob("*.md"),
        *(PACKAGE.parent / "docs").rglob("*.md"),
    ]
    advice = re.compile(
        r"\b(remove|delete|rm -rf?|throw away)\b[^.;`]{0,40}"
        r"(\bstate\b|\.state\b|WAREHOUSE|warehouse\.duckdb|CHURN_DATA|\bdata/)",
        re.IGNORECASE,
    )
    assert advice.search("was made by an earlier version: remove {state} and run it")
    assert advice.search("or remove {business.state} to begin anew")
    advising = {
        f"{path.name}: {match[0]}"
        for path in texts
        for match in advice.finditer(path.read_text(encoding="utf-8"))
    }
    assert advising == set()
