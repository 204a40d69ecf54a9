"""The door: a read-only database of what is published, put in its place whole."""

import datetime as dt
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from churn_orchestration.churn.sql import connect, literal
from churn_orchestration.storage import migrations
from churn_orchestration.storage.day_files import NAMED, damage
from churn_orchestration.storage.files import file_literal, swap_in
from churn_orchestration.storage.layers import (
    DOOR,
    PARQUET_LAYERS,
    SHOWN,
)
from churn_orchestration.storage.session import Session, WarehouseError


def publish(tables: Session) -> Path:
    """Build the read-only door next to the old one and put it in its place.

    Views over the Parquet files of each table, copies of the small tables (models, catalogues,
    the state of all days and what it rests on). A view is recomputed where its files are others
    than at the door before. A damaged file is not shown. A file that this door no longer shows
    is removed by the first publishing that comes KEPT later: a reader sees the files of the
    door that it opened.

    Raises
    ------
    WarehouseError : a churn probability is none
    """
    door = tables.state / DOOR
    temporary = door.with_suffix(".building")
    files = tables.rows(
        "select table_name, list(file order by day) from meta.files group by 1 order by 1"
    )
    shown = {table: [tables.state / file for file in those] for table, those in files}
    shown |= dict(_snapshots(tables))
    # Whole paths: where the folder of the state has moved, every view is recomputed.
    shown = {table: [p for p in paths if not damage(p)] for table, paths in shown.items()}
    now = {table: [str(path) for path in paths] for table, paths in shown.items() if paths}
    temporary.unlink(missing_ok=True)
    if door.exists():
        shutil.copyfile(door, temporary)
    before = _files_shown(
        temporary
    )  # not of the door: who holds it open in this process has an older one
    _refuse_no_probabilities(tables, now, before)
    if not before:
        temporary.unlink(missing_ok=True)
    tables.db.execute(f"attach {literal(temporary)} as door")
    try:
        for table in before.keys() - now.keys():
            tables.db.execute(f"drop view door.{table}")
        for table in (table for table, those in now.items() if before.get(table) != those):
            view = f"view {{}} as from {rows_of(shown[table])}"
            _define(tables, "door", table, view)
            if table.split(".")[0] in PARQUET_LAYERS:
                _define(tables, "warehouse", table, view)
        for (table,) in tables.rows(_SMALL_TABLES):
            _define(tables, "door", table, f"table {{}} as from {table}")
        _define(tables, "door", SHOWN, "table {} (table_name varchar, files varchar[])")
        listed = f"insert into door.{SHOWN} select unnest($1::varchar[]), unnest($2::varchar[][])"
        tables.db.execute(listed, [list(now), list(now.values())])
    finally:
        tables.db.execute("detach door")
    published = temporary.stat().st_mtime_ns
    recorded = {str(tables.state / file) for _, those in files for file in those}
    current = recorded.union(*now.values())
    for path in map(Path, set().union(*before.values()) - current):
        if path.exists():
            os.utime(path, ns=(published, published))  # it is replaced now: see _sweep
    swap_in(temporary, door)
    _sweep(tables, current, published)
    return door


def rows_of(files: Iterable[Path]) -> str:
    """SQL to select from: the rows of Parquet files, whose columns may differ; it reads the footer
    of each.
    """
    return f"read_parquet([{', '.join(map(file_literal, files))}], union_by_name = true)"


def _refuse_no_probabilities(
    tables: Session, now: Mapping[str, list[str]], before: Mapping[str, list[str]]
) -> None:
    """Refuse to show a churn probability that is none, in files that no door shows yet."""
    for table, those in now.items():
        fresh = [Path(file) for file in those if file not in before.get(table, [])]
        if table.startswith("predictions.") and fresh:
            refuse_no_probabilities(
                tables.db, table, f"read_parquet([{', '.join(map(file_literal, fresh))}])"
            )


def _define(tables: Session, database: str, table: str, definition: str) -> None:
    tables.db.execute(f"create schema if not exists {database}.{table.split('.')[0]}")
    tables.db.execute(f"create or replace {definition.format(f'{database}.{table}')}")


def _snapshots(tables: Session) -> Iterator[tuple[str, list[Path]]]:
    for folder in sorted((tables.state / "snapshots").glob("*/")):
        manifests = sorted(folder.glob("*.json"))
        if manifests:
            yield (
                f"snapshots.{folder.name}",
                [folder / json.loads(m.read_text())["file"] for m in manifests],
            )


def _sweep(tables: Session, current: set[str], published: int) -> None:
    """Remove files that are not current and were replaced, or never shown, KEPT ago.

    Both times are the file system's own, of a file and of the door that was written last: a
    process's clock takes no part.
    """
    replaced_by = published - int(KEPT.total_seconds()) * 10**9
    for layer in (*PARQUET_LAYERS, "quarantine"):
        for path in (tables.state / layer).rglob("*.parquet"):
            if str(path) not in current and path.stat().st_mtime_ns <= replaced_by:
                path.unlink()


KEPT = dt.timedelta(hours=1)
"""A file that a publishing replaces stays this long for those who opened the door before."""


def _files_shown(door: Path) -> dict[str, list[str]]:
    """The files of each view of a door; nothing, where there is no door or it does not say."""
    if not door.exists():
        return {}
    with closing(connect(door, read_only=True)) as db:
        there = db.execute(
            "select 1 from duckdb_tables() where schema_name || '.' || table_name = ?", [SHOWN]
        )
        if not there.fetchall():
            return {}
        return dict(db.execute(f"select table_name, files from {SHOWN}").fetchall())


_SMALL_TABLES = """
select schema_name || '.' || table_name from duckdb_tables()
where database_name = 'warehouse' and \
(schema_name in ('gold', 'models') or (schema_name = 'meta' and
  table_name in ('days', 'files', 'lineage', 'waivers', 'policies', 'manifest', 'changes', \
'accepted', 'migrations')))
order by 1"""


@contextmanager
def door(state: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published tables, read-only: never meets a lock and never makes one."""
    path = state / DOOR
    if not path.is_file():
        raise WarehouseError(
            f"nothing is published in {state} yet: `churn run --to DAY` first (`churn demo`: the "
            "demo)"
        )
    with closing(connect(path, read_only=True)) as connection:
        migrations.version(connection, state, len(migrations.MIGRATIONS))
        yield connection


def is_current(state: Path) -> bool:
    """Whether what is published is of this version of the package and of this folder.

    Where nothing is published, the warehouse is brought up to date when it is opened.

    Raises
    ------
    BusinessError : the state is of a newer version than the package
    """
    if not (state / DOOR).is_file():
        return True
    newest = len(migrations.MIGRATIONS)
    with closing(connect(state / DOOR, read_only=True)) as db:
        if migrations.version(db, state, newest) != newest or not migrations.is_stamped(db):
            return False
        shown = db.execute(f"select files[1] from {SHOWN} limit 1").fetchall()
    return all(Path(file).is_relative_to(state) for (file,) in shown)


def whole(table: str, day: dt.date | str, path: Path) -> Path:
    """The file of a day. Raises WarehouseError, with the remedy, where it is gone or damaged."""
    if wrong := damage(path):
        raise WarehouseError(f"{table} {day}: {wrong}: `{recomputes(table, day)}` recomputes it")
    return path


def recomputes(table: str, day: dt.date | str) -> str:
    """The command that recomputes a day of a table of files."""
    return f"churn train --cutoff {day}" if table.startswith("snapshots.") else "churn run"


def refuse_damaged(db: duckdb.DuckDBPyConnection, *tables: str) -> None:
    """Refuse to read tables of the door of which a day's file is gone or damaged. Raises
    WarehouseError.
    """
    there = db.execute(
        f"select 1 from duckdb_tables() where schema_name || '.' || table_name = '{SHOWN}'"
    )
    if not there.fetchall():
        return
    listed = db.execute(
        f"select table_name, files from {SHOWN} where table_name in (select unnest($1))", [tables]
    )
    for table, files in listed.fetchall():
        for path in map(Path, files):
            whole(table, dt.date.fromisoformat(path.stem[: -NAMED - 1]), path)


def refuse_no_probabilities(db: duckdb.DuckDBPyConnection, table: str, rows: str) -> None:
    """Refuse churn probabilities below 0, above 1 or not finite. Raises WarehouseError."""
    # What is no number is larger than any in DuckDB, so it is above 1.
    result = db.execute(
        f"select as_of, count(*) from {rows} where (churn_probability between 0 and 1) is not true "
        "group by 1 order by 1 limit 1"
    ).fetchall()
    for day, count in result:
        raise WarehouseError(
            f"{table} {day}: {count:,} rows have a churn_probability that is none (below 0, above "
            f"1, null or not finite): nothing of it is shown; `churn score --from {day} --to "
            f"{day}` scores the day again"
        )
