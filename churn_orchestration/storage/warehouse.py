"""The warehouse: one DuckDB file for raw to silver, Parquet by day for what others read, one
read-only door.

A table is named ``layer.table`` everywhere. Days are replaced whole, in one transaction or one
rename.
"""

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from churn_orchestration.churn.sql import close_off, connect, literal, quoted
from churn_orchestration.storage import migrations
from churn_orchestration.storage.day_files import NAMED, content_hash, damage

POOL = "warehouse"
MEASURED_LAYERS = ("monitoring", "measures")
PARQUET_LAYERS = ("gold", "predictions", "restated", *MEASURED_LAYERS)
LAYERS = ("raw", "bronze", "quarantine", "silver", "models", *PARQUET_LAYERS)
MEASURED_ON = "measured_on"
"""The day of a row of MEASURED_LAYERS: what it says is as knowable at its end. Its as_of is no
later.
"""
WAREHOUSE, DOOR = "warehouse.duckdb", "published.duckdb"
SHOWN = "meta.shown"
"""The table of the door that says of which files each of its views is made."""
KEPT = dt.timedelta(hours=1)
"""A file that a publishing replaces stays this long for those who opened the door before."""
PARQUET = "format parquet, compression zstd, dictionary_size_limit 1"
"""How files are written: without dictionaries, a quarter quicker and, with zstd, no larger."""

_SESSION = "set TimeZone = 'UTC'"
_CHANGING = ("TimeZone", "threads")
"""Settings that change while the warehouse is open: each connection's zone, and the threads of a
pass.
"""
_META = """
create schema if not exists meta;
create sequence if not exists meta.versions;
create table if not exists meta.days (
    table_name varchar, day date, status varchar, rows bigint, declaration varchar, reason varchar,
    content varchar, version bigint, made bigint, primary key (table_name, day));
create table if not exists meta.policies (
    table_name varchar primary key, look_back_days integer, keep_days integer);
create table if not exists meta.manifest (
    source varchar, file varchar, sha256 varchar, size bigint, mtime_ns bigint, partition date,
    known_on date, header varchar[]);
create table if not exists meta.lineage (table_name varchar, upstream varchar);
create table if not exists meta.waivers (table_name varchar, day date, reason varchar);
create table if not exists meta.changes (
    table_name varchar, day date, column_name varchar, since date, factor double, says varchar, held boolean);
create table if not exists meta.accepted (
    table_name varchar, column_name varchar, since date, reason varchar);
create table if not exists meta.files (
    table_name varchar, day date, file varchar, primary key (table_name, day));
create table if not exists meta.meanings (question varchar primary key, meaning varchar);
create table if not exists meta.checkpoints (
    days_table varchar, kind varchar, relation varchar, through date, known_by date, declaration varchar);
"""


class WarehouseError(Exception):
    """A table cannot take what was given; the message names table, column and remedy."""


def opened(
    connection: duckdb.DuckDBPyConnection, state: Path, landing: Path | None = None
) -> "Tables":
    """The tables of a warehouse that was just connected to; see ``Warehouse.open``."""
    connection.execute(_SESSION)
    # It asks of every row, before grouping, whether its ring is one of the rings: see ADR 6.
    connection.execute("set disabled_optimizers = 'cte_filter_pusher'")
    migrations.upgrade(connection, state, _META, migrations.MIGRATIONS)
    connection.execute("".join(f"create schema if not exists {x};" for x in LAYERS))
    close_off(connection, [state, *([landing] if landing else [])], _CHANGING)
    return Tables(connection, state)


class Tables:
    """An open warehouse: the connection ``db`` and the verbs on its tables."""

    def __init__(self, db: duckdb.DuckDBPyConnection, state: Path) -> None:
        self.db, self.state = db, state
        self._in_transaction = False

    def rows(self, query: str, parameters: list[object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query; the result is closed at once, as the client asks for."""
        return self.db.execute(query, parameters or []).fetchall()

    def records(self, query: str) -> list[dict[str, Any]]:
        """All rows of a query by the names of its columns; null is None."""
        found = self.db.execute(query)
        names = [name for name, *_ in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def columns(self, table: str) -> dict[str, str]:
        """Column names and types of a table or view, in order; empty where there is none of that
        name.
        """
        found = self.rows(
            "select column_name, data_type from duckdb_columns() where database_name = "
            "current_database() and schema_name || '.' || table_name = ? order by column_index",
            [table],
        )
        return dict(found)

    def insert(self, table: str, rows: list[list[Any]]) -> None:
        """Add rows, column by column: 70 times as fast as ``executemany`` row by row."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        values = ", ".join(f"unnest(${n})" for n in range(1, len(columns) + 1))
        self.db.execute(f"insert into {table} select {values}", columns)

    @contextmanager
    def beside(self) -> Iterator["Tables"]:
        """The same tables on a connection of its own, for a thread; it sees what is committed.

        Raises
        ------
        WarehouseError : a transaction is open here, whose writes it would miss
        """
        if self._in_transaction:
            raise WarehouseError(
                "a second connection would not see what this transaction has written"
            )
        with closing(self.db.cursor()) as connection:
            connection.execute(_SESSION)
            yield Tables(connection, self.state)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what the block writes; inside another transaction, part of that one."""
        if self._in_transaction:
            yield
            return
        self.db.execute("begin")
        self._in_transaction = True
        try:
            yield
        except BaseException:
            self.db.execute("rollback")
            raise
        else:
            self.db.execute("commit")
        finally:
            self._in_transaction = False

    def replace_days(self, table: str, days: Iterable[dt.date], select: str) -> dict[dt.date, int]:
        """Replace the days of a table by what ``select`` gives.

        Parameters
        ----------
        table : ``layer.table``. In raw to silver a DuckDB table, made where it does not exist and
            widened where ``select`` has new columns, in one transaction. In the Parquet layers one
            file a day, see ``put_day``.
        days : the days that are replaced; a day without a row is left empty
        select : one ordered select; its day column is ``_partition`` (DuckDB) or ``as_of``
            (Parquet)

        Returns
        -------
        rows by day

        Raises
        ------
        WarehouseError : a column has another type than before, or a row belongs to none of ``days``
        """
        wanted = dict.fromkeys(sorted(days), 0)
        if table.split(".")[0] in PARQUET_LAYERS and len(wanted) == 1:
            return {day: self.put_day(table, day, select) for day in wanted}
        if table.split(".")[0] in PARQUET_LAYERS:
            self.db.execute(f"create or replace temp table _incoming as {select}")
            self._refuse_strangers(table, "as_of", wanted)
            return {
                day: self.put_day(table, day, f"from _incoming where as_of = {literal(day)}")
                for day in wanted
            }
        with self.transaction():
            self.db.execute(f"create or replace temp table _incoming as {select}")
            counted = self._refuse_strangers(table, "_partition", wanted)
            self._fit_schema(table)
            self.db.execute(f"delete from {table} where {within('_partition', wanted)}")
            self.db.execute(f"insert into {table} by name from _incoming")
            self.db.execute("drop table _incoming")
        return wanted | counted

    def _refuse_strangers(
        self, table: str, column: str, wanted: Mapping[dt.date, int]
    ) -> dict[dt.date, int]:
        counted: dict[dt.date, int] = dict(
            self.rows(f"select {column}, count(*) from _incoming group by all")
        )
        if strangers := set(counted) - set(wanted):
            raise WarehouseError(
                f"{table}: a row of {min(strangers)} came with other days; nothing written"
            )
        return counted

    def _fit_schema(self, table: str) -> None:
        incoming = {name: kind for name, kind, *_ in self.rows("describe _incoming")}
        present = self.columns(table)
        if not present:
            # Not `create table as ... limit 0`: in DuckDB 2.0.0, a table made so and filled with
            # more than a row group in one transaction answers filters with no row until it is
            # opened again.
            columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in incoming.items())
            self.db.execute(f"create table {table} ({columns})")
            return
        for column, kind in incoming.items():
            if column not in present:
                self.db.execute(f"alter table {table} add column {quoted(column)} {kind}")
            elif present[column] != kind:
                raise WarehouseError(_type_conflict(table, column, present[column], kind))

    def put_day(self, table: str, day: dt.date, select: str) -> int:
        """Store one day of a table as a Parquet file, whole or not at all; its rows.

        The file is named after its content, so the same day gives the same file and a reader never
        sees one file change under it. ``select`` is ordered; a row of another day, by its ``as_of``
        or, in MEASURED_LAYERS, its ``measured_on``, is an error.
        """
        folder = self.state.joinpath(*table.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{day}.writing"
        # Through a table: whether the planner thinks that a column may hold nulls would show in the
        # bytes.
        self.db.execute(f"create or replace temp table _day as {select}")
        [(rows,)] = self.rows(f"copy _day to {literal(beside)} ({PARQUET})")
        self.db.execute("drop table _day")
        written = {
            name: kind for name, kind, *_ in self.rows(f"describe from {literal_parquet(beside)}")
        }
        of_day = MEASURED_ON if table.split(".")[0] in MEASURED_LAYERS else "as_of"
        if of_day in written:
            strangers = self.rows(
                f"select min({of_day}) from {literal_parquet(beside)} where {of_day} <> "
                f"{literal(day)}"
            )
            if strangers[0][0]:
                raise WarehouseError(
                    f"{table}: a row of {strangers[0][0]} came with {day}; nothing written"
                )
        self._refuse_other_types(table, written)
        file = folder / f"{day}-{content_hash(beside)[:NAMED]}.parquet"
        swap_in(beside, file)
        with self.transaction():
            self.drop_day(table, day)
            self.db.execute(
                "insert into meta.files values (?, ?, ?)",
                [table, day, str(file.relative_to(self.state))],
            )
        return int(rows)

    def drop_day(self, table: str, day: dt.date) -> None:
        """Forget a day of a Parquet table; its file goes once no door shows it any more."""
        self.db.execute("delete from meta.files where table_name = ? and day = ?", [table, day])

    def day_file(self, table: str, day: dt.date) -> Path | None:
        """The Parquet file of a day, whole; None where there is none.

        Raises
        ------
        WarehouseError : the file is gone or damaged
        """
        found = self.rows(
            "select file from meta.files where table_name = ? and day = ?", [table, day]
        )
        return whole(table, day, self.state / found[0][0]) if found else None

    def _refuse_other_types(self, table: str, written: Mapping[str, str]) -> None:
        found = self.rows(
            "select file from meta.files where table_name = ? order by day desc limit 1", [table]
        )
        if not found:
            return
        before = {
            n: k
            for n, k, *_ in self.rows(f"describe from {literal_parquet(self.state / found[0][0])}")
        }
        for column, kind in written.items():
            if before.get(column, kind) != kind:
                raise WarehouseError(_type_conflict(table, column, before[column], kind))

    def day_files(self, table: str, until: dt.date) -> dict[dt.date, Path]:
        """Those of a table's days up to and with ``until``, oldest first. Raises as
        ``day_file``.
        """
        found = self.rows(
            "select day, file from meta.files where table_name = ? and day <= ? order by day",
            [table, until],
        )
        return {day: whole(table, day, self.state / file) for day, file in found}

    def damaged(self) -> list[tuple[str, dt.date, str]]:
        """The days whose Parquet file is gone or damaged, by table: what is wrong with each."""
        found = self.rows("select table_name, day, file from meta.files order by all")
        looked = ((table, day, damage(self.state / file)) for table, day, file in found)
        return [(table, day, wrong) for table, day, wrong in looked if wrong]

    def record(
        self,
        table: str,
        status: str,
        days: Mapping[dt.date, int],
        declaration: str,
        reason: str | None = None,
    ) -> None:
        """Note what became of the days of a table: ``stored`` or ``refused``, with rows and the
        reason.

        A day that holds what it held before keeps its ``version``: nothing below it needs to be
        made anew.
        """
        if not days:
            return
        [(made,)] = self.rows("select nextval('meta.versions')")
        contents = self._contents(table, days) if status == "stored" else {}
        before = {
            day: (content, version)
            for day, content, version in self.rows(
                "select day, content, version from meta.days where table_name = ? and content is "
                f"not null and {within('day', days)}",
                [table],
            )
        }
        with self.transaction():
            self.db.execute(
                f"delete from meta.days where table_name = ? and {within('day', days)}", [table]
            )
            if status == "stored":  # what was waived is mended
                self.db.execute(
                    f"delete from meta.waivers where table_name = ? and {within('day', days)}",
                    [table],
                )
            noted = []
            for day, rows in days.items():
                content, version = before.get(day, (None, made))
                same = content is not None and content == contents.get(day)
                noted.append([table, day, status, rows, declaration, reason, contents.get(day)])
                noted[-1] += [version if same else made, made]
            self.db.executemany("insert into meta.days values (?, ?, ?, ?, ?, ?, ?, ?, ?)", noted)

    def _contents(self, table: str, days: Iterable[dt.date]) -> dict[dt.date, str]:
        """What the days of a table hold, in short; nothing of a table that is not there."""
        if table.split(".")[0] in PARQUET_LAYERS:
            return dict(self.rows("select day, file from meta.files where table_name = ?", [table]))
        if "_partition" not in self.columns(table):
            return {}
        hashed = f"select _partition, count(*) || ':' || sum(hash(t)) from {table} as t"
        return dict.fromkeys(days, "0") | dict(
            self.rows(f"{hashed} where {within('_partition', days)} group by 1")
        )

    def keep_to(
        self, table: str, days: Iterable[dt.date], look_back_days: int | None, keep_days: int | None
    ) -> None:
        """Note how a table is refreshed and kept, and drop what is kept no longer.

        Parameters
        ----------
        days : that a run asks for; it has them, whatever their age
        look_back_days : days as far before the newest stay as they are when what they were made of
            changes
        keep_days : how many days up to the newest are kept; None: all
        """
        self.db.execute(
            "insert or replace into meta.policies values (?, ?, ?)",
            [table, look_back_days, keep_days],
        )
        if keep_days is None:
            return
        there = self.stored(table)
        first = max({*there, *days}) - dt.timedelta(days=keep_days - 1)
        old = sorted(day for day in there - set(days) if day < first)
        with self.transaction():
            for day in old:
                self.drop_day(table, day)
            self.db.execute(
                f"update meta.days set status = 'dropped', reason = 'only {int(keep_days)} days "
                f"are kept' where table_name = ? and {within('day', old)}",
                [table],
            )

    def look_back_as(self, table: str, other: str) -> None:
        """Let days of a table stay as they are where those of another one do; see ``keep_to``."""
        self.db.execute(
            "insert or replace into meta.policies "
            "select ?, look_back_days, null from meta.policies where table_name = ?",
            [table, other],
        )

    def withdraw(self, table: str, day: dt.date) -> None:
        """Take that day of all that descends from a table out of the Parquet layers: its ground is
        gone.

        Forecasts that were issued, and their grades, stay in their files, and do not count as
        stored.
        """
        for (descendant,) in self.rows(_DESCENDANTS, [table]):
            if descendant.split(".")[0] in PARQUET_LAYERS:
                if not re.fullmatch(_STAYS, descendant):
                    self.drop_day(descendant, day)
                self.db.execute(
                    "delete from meta.days where table_name = ? and day = ?", [descendant, day]
                )

    def descends(self, table: str, upstream: Iterable[str]) -> None:
        """Note the tables that a table is made from."""
        self.db.execute("delete from meta.lineage where table_name = ?", [table])
        for parent in upstream:
            self.db.execute("insert into meta.lineage values (?, ?)", [table, parent])

    def stored(self, table: str, declaration: str | None = None) -> set[dt.date]:
        """The days of a table that are there; with ``declaration``, only those made by that
        declaration.
        """
        found = self.rows(
            "select day, declaration from meta.days where table_name = ? and status = 'stored'",
            [table],
        )
        return {day for day, made_by in found if declaration in (None, made_by)}

    def rows_of(self, table: str, days: Iterable[dt.date]) -> dict[dt.date, int]:
        """The number of rows of those days of a table that are there."""
        query = "select day, rows from meta.days where table_name = ? and status = 'stored' and "
        return dict(self.rows(query + within("day", days), [table]))

    def stale(
        self,
        table: str,
        declaration: str,
        upstream: Sequence[str],
        days: Iterable[dt.date],
        whatever_its_age: bool = False,
    ) -> list[dt.date]:
        """Those of ``days`` that are not there, or were made by another declaration or before their
        upstream.

        A gold day reads all days up to its own, so an upstream day before it counts as well. A day
        whose Parquet file is gone or damaged is not there. A day that was
        dropped, or waived, is not missed; one before ``look_back_days`` is, only
        ``whatever_its_age``, stale.
        """
        return list(self.why_stale(table, declaration, upstream, days, whatever_its_age))

    def why_stale(
        self,
        table: str,
        declaration: str,
        upstream: Sequence[str],
        days: Iterable[dt.date],
        whatever_its_age: bool = False,
    ) -> dict[dt.date, str]:
        """The days of ``stale``, oldest first, each with the reason."""
        asked = [table, list(upstream), whatever_its_age, sorted(days), declaration]
        found = dict(self.rows(_STALE, asked))
        files = self.rows("select day, file from meta.files where table_name = ?", [table])
        broken = {day for day, file in files if day in found and damage(self.state / file)}
        told = {
            day: "its file is gone or damaged" if day in broken else why
            for day, why in found.items()
        }
        return {day: why for day, why in told.items() if why}

    def first_day(self, table: str) -> dt.date | None:
        """The first day of a table, stored or refused."""
        [(first,)] = self.rows("select min(day) from meta.days where table_name = ?", [table])
        return first

    def refused(self, table: str, until: dt.date) -> dict[dt.date, str]:
        """The refused days of a table up to ``until`` that nobody has waived, with the reason."""
        found = self.rows(
            "select day, reason from meta.days anti join meta.waivers using (table_name, day) "
            "where table_name = ? and status = 'refused' and day <= ? order by day",
            [table, until],
        )
        return dict(found)

    def not_standing(self, table: str, first: dt.date, last: dt.date) -> str | None:
        """Why a table may not be read over ``first`` to ``last``, in words; see ``fault``."""
        found = self.fault(table, first, last)
        return f"{found[0]} {found[1]} {found[2]}" if found else None

    def fault(self, table: str, first: dt.date, last: dt.date) -> tuple[str, dt.date, str] | None:
        """The root of a table's first fault over ``first`` to ``last``: table, day and reason; or
        None.

        A day stands if it is stored, all it descends from stands on that day, and it was made after
        them; a waived day stands.
        """
        return next(iter(self._faults(table, first, last)), None)

    def faults(self, table: str, first: dt.date, last: dt.date) -> dict[dt.date, str]:
        """By day: the root of its fault, in words; the days that stand are not there. See
        ``fault``.
        """
        return {
            day: f"{root} {day} {reason}" for root, day, reason in self._faults(table, first, last)
        }

    def _faults(self, table: str, first: dt.date, last: dt.date) -> list[tuple[str, dt.date, str]]:
        return self.rows(_FAULTS, [table, table, first, last])

    def is_waived(self, table: str, day: dt.date) -> bool:
        """Whether somebody decided that a refused day counts as closed."""
        return bool(self.rows("from meta.waivers where table_name = ? and day = ?", [table, day]))

    def waive(self, table: str, day: dt.date, reason: str) -> None:
        """Let a refused day count as closed."""
        if day not in self.refused(table, day):
            raise WarehouseError(f"{table} {day} is not refused: there is nothing to waive")
        self.db.execute("insert into meta.waivers values (?, ?, ?)", [table, day, reason])

    def publish(self) -> Path:
        """Build the read-only door beside the old one and put it in its place.

        Views over the Parquet files of each table, copies of the small tables (models, catalogues,
        the state of all days and what it rests on). A view is made anew where its files are others
        than at the door before. A damaged file is not shown. A file that this door no longer shows
        is removed by the first publishing that comes KEPT later: a reader sees the files of the
        door that it opened.

        Raises
        ------
        WarehouseError : a churn probability is none
        """
        door = self.state / DOOR
        beside = door.with_suffix(".building")
        files = self.rows(
            "select table_name, list(file order by day) from meta.files group by 1 order by 1"
        )
        shown = {table: [self.state / file for file in those] for table, those in files}
        shown |= dict(self._snapshots())
        # Whole paths: where the folder of the state has moved, every view is made anew.
        shown = {table: [p for p in paths if not damage(p)] for table, paths in shown.items()}
        now = {table: [str(path) for path in paths] for table, paths in shown.items() if paths}
        beside.unlink(missing_ok=True)
        if door.exists():
            shutil.copyfile(door, beside)
        before = _files_shown(
            beside
        )  # not of the door: who holds it open in this process has an older one
        self._refuse_no_probabilities(now, before)
        if not before:
            beside.unlink(missing_ok=True)
        self.db.execute(f"attach {literal(beside)} as door")
        try:
            for table in before.keys() - now.keys():
                self.db.execute(f"drop view door.{table}")
            for table in (table for table, those in now.items() if before.get(table) != those):
                paths = ", ".join(map(file_literal, shown[table]))
                view = f"from read_parquet([{paths}], union_by_name = true)"  # reads the footer of each
                self._define("door", table, f"view {{}} as {view}")
                if table.split(".")[0] in PARQUET_LAYERS:
                    self._define("warehouse", table, f"view {{}} as {view}")
            for (table,) in self.rows(_SMALL_TABLES):
                self._define("door", table, f"table {{}} as from {table}")
            self._define("door", SHOWN, "table {} (table_name varchar, files varchar[])")
            listed = (
                f"insert into door.{SHOWN} select unnest($1::varchar[]), unnest($2::varchar[][])"
            )
            self.db.execute(listed, [list(now), list(now.values())])
        finally:
            self.db.execute("detach door")
        published = beside.stat().st_mtime_ns
        recorded = {str(self.state / file) for _, those in files for file in those}
        current = recorded.union(*now.values())
        for path in map(Path, set().union(*before.values()) - current):
            if path.exists():
                os.utime(path, ns=(published, published))  # it is replaced now: see _sweep
        swap_in(beside, door)
        self._sweep(current, published)
        return door

    def _refuse_no_probabilities(
        self, now: Mapping[str, list[str]], before: Mapping[str, list[str]]
    ) -> None:
        """Refuse to show a churn probability that is none, in files that no door shows yet."""
        for table, those in now.items():
            fresh = [Path(file) for file in those if file not in before.get(table, [])]
            if table.startswith("predictions.") and fresh:
                refuse_no_probabilities(
                    self.db, table, f"read_parquet([{', '.join(map(file_literal, fresh))}])"
                )

    def _define(self, database: str, table: str, definition: str) -> None:
        self.db.execute(f"create schema if not exists {database}.{table.split('.')[0]}")
        self.db.execute(f"create or replace {definition.format(f'{database}.{table}')}")

    def _snapshots(self) -> Iterator[tuple[str, list[Path]]]:
        for folder in sorted((self.state / "snapshots").glob("*/")):
            manifests = sorted(folder.glob("*.json"))
            if manifests:
                yield (
                    f"snapshots.{folder.name}",
                    [folder / json.loads(m.read_text())["file"] for m in manifests],
                )

    def _sweep(self, current: set[str], published: int) -> None:
        """Remove files that are not current and were replaced, or never shown, KEPT ago.

        Both times are the file system's own, of a file and of the door that was written last: a
        process's clock takes no part.
        """
        replaced_by = published - int(KEPT.total_seconds()) * 10**9
        for layer in (*PARQUET_LAYERS, "quarantine"):
            for path in (self.state / layer).rglob("*.parquet"):
                if str(path) not in current and path.stat().st_mtime_ns <= replaced_by:
                    path.unlink()


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


_STAYS = r"predictions\..*|monitoring\..*_graded"
"""The tables of which a day, once it was issued, is never taken back."""

_SMALL_TABLES = """
select schema_name || '.' || table_name from duckdb_tables()
where database_name = 'warehouse' and (schema_name in ('gold', 'models') or (schema_name = 'meta' and
  table_name in ('days', 'files', 'lineage', 'waivers', 'policies', 'manifest', 'changes', 'accepted', 'migrations')))
order by 1"""

_DESCENDANTS = """
with recursive below as (
  select table_name from meta.lineage where upstream = ?
  union select l.table_name from meta.lineage as l join below as b on l.upstream = b.table_name)
from below order by 1"""

_READS_EARLIER = rf"similar to '({'|'.join(('gold', *MEASURED_LAYERS))})\..*'"
"""SQL, of the name of a table: a day of it is made of days before it too."""

_STALE = f"""
with asked as (select ? as table_name, ?::varchar[] as upstream),
policy as (select look_back_days from meta.policies semi join asked using (table_name) where not ?),
mine as (select * exclude (table_name) from meta.days semi join asked using (table_name)),
reads as (
  select day, max(version) as version from meta.days as u join asked on list_contains(upstream, u.table_name)
  group by 1),
wanted as (select unnest(?::date[]) as day)
select w.day, case
  when t.status = 'dropped' then null
  when v.day is null and t.day is null then 'is not there yet'
  when v.day is null and t.status = 'refused' then 'was refused'
  when v.day is null and t.declaration <> ? then 'its declaration changed'
  when (w.day > (select max(day) from mine) - (from policy)) is distinct from false
    and exists (from reads as u where u.version > t.made
      and (u.day = w.day or (u.day < w.day
        and (select table_name {_READS_EARLIER} from asked)))) then 'what it is made of changed'
  end
from wanted as w left join mine as t using (day)
left join (from meta.waivers semi join asked using (table_name)) as v using (day)
order by 1"""

_FAULTS = f"""
with recursive edges as (
  select table_name, upstream, 1 as depth from meta.lineage where table_name = ?
  union all
  select l.table_name, l.upstream, depth + 1
  from meta.lineage as l join edges as e on l.table_name = e.upstream),
family as (
  select ? as table_name, 0 as depth union all select upstream, max(depth) from edges group by 1),
wanted as (select unnest(generate_series(?::date, ?::date, interval 1 day))::date as day),
state as (
  select f.table_name, f.depth, w.day, d.status, d.made, d.reason, v.day is not null as waived
  from family as f cross join wanted as w
  left join meta.days as d on d.table_name = f.table_name and d.day = w.day
  left join meta.waivers as v on v.table_name = f.table_name and v.day = w.day)
select distinct on (day) table_name, day, reason from (
  select table_name, depth, day, 'is refused (' || reason || ')' as reason from state
  where status = 'refused' and not waived
  union all
  select table_name, depth, day, 'is no longer there (' || reason || ')' from state
  where status = 'dropped' and not waived
  union all
  select table_name, depth, day, 'is not there yet' from state where status is null and not waived
  union all
  select t.table_name, t.depth, t.day, 'was made before ' || u.table_name || ' was made anew'
  from edges as e join state as t on t.table_name = e.table_name
  join meta.days as u on u.table_name = e.upstream and u.version > t.made
    and (u.day = t.day or (u.day < t.day and t.table_name {_READS_EARLIER}))
  left join meta.policies as p on p.table_name = t.table_name
  where (t.day > (select max(day) from meta.days as n where n.table_name = t.table_name) - p.look_back_days)
    is distinct from false)
order by day, depth desc, table_name, reason"""


def _type_conflict(table: str, column: str, before: str, now: str) -> str:
    return (
        f'{table}: column "{column}" is {before} in the warehouse and {now} in what arrives; '
        "change its declaration back, or give the column a new name"
    )


def literal_parquet(path: Path) -> str:
    """SQL that reads one Parquet file, whatever its name ends in."""
    return f"read_parquet({file_literal(path)})"


def swap_in(beside: Path, path: Path) -> None:
    """Put a finished file in the place of another: synced, then renamed; no reader sees half of
    it.
    """
    with beside.open("rb") as handle:
        os.fsync(handle.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    beside.write_text(text, encoding="utf-8")
    swap_in(beside, path)


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


def file_literal(path: Path) -> str:
    """An SQL literal of a file to read: DuckDB takes its name for a pattern, and may read another
    file.

    >>> file_literal(Path("orders[1].csv"))
    "'orders[[]1].csv'"
    """
    return literal(re.sub(r"([*?[])", r"[\1]", str(path)))


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
    found = db.execute(
        f"select as_of, count(*) from {rows} where (churn_probability between 0 and 1) is not true "
        "group by 1 order by 1 limit 1"
    ).fetchall()
    for day, count in found:
        raise WarehouseError(
            f"{table} {day}: {count:,} rows have a churn_probability that is none (below 0, above "
            f"1, null or not finite): nothing of it is shown; `churn score --from {day} --to "
            f"{day}` scores the day again"
        )


def within(column: str, days: Iterable[dt.date]) -> str:
    """An SQL condition: the column holds one of the days."""
    listed = ", ".join(map(literal, sorted(days)))
    return f"{column} in ({listed})" if listed else "false"
