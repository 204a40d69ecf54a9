"""The warehouse: one DuckDB file for raw to silver, Parquet by day for what others read, one
read-only door.

A table is named ``layer.table`` everywhere. Days are replaced whole, in one transaction or one
rename.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from churn_orchestration.churn.sql import close_off, literal, quoted, within
from churn_orchestration.storage import migrations
from churn_orchestration.storage.day_files import NAMED, content_hash
from churn_orchestration.storage.day_state import DayState
from churn_orchestration.storage.door import rows_of, whole
from churn_orchestration.storage.files import literal_parquet, swap_in
from churn_orchestration.storage.layers import (
    LAYERS,
    PARQUET,
    PARQUET_LAYERS,
    day_column,
)
from churn_orchestration.storage.manifest import Manifest
from churn_orchestration.storage.session import Session, StrangerError, WarehouseError

_SESSION = "set TimeZone = 'UTC'"


UNTYPED = '"NULL"'
"""What DuckDB calls the type of a column that is a bare null; it fits every type."""


_CHANGING = ("TimeZone", "threads")
"""Settings that change while the warehouse is open: each connection's zone, and the threads of a
pass.
"""


_META = """
create schema if not exists meta;
create sequence if not exists meta.versions;
create table if not exists meta.days (
    table_name varchar, day date, status varchar, rows bigint, declaration varchar, reason varchar,
    content varchar, version bigint, made bigint, stage varchar, code varchar,
    cause_table varchar, cause_day date,
    primary key (table_name, day));
create table if not exists meta.policies (
    table_name varchar primary key, look_back_days integer, keep_days integer);
create table if not exists meta.manifest (
    source varchar, file varchar, sha256 varchar, size bigint, mtime_ns bigint, partition date,
    known_on date, header varchar[]);
create table if not exists meta.lineage (table_name varchar, upstream varchar);
create table if not exists meta.waivers (table_name varchar, day date, reason varchar);
create table if not exists meta.changes (
    table_name varchar, day date, column_name varchar, since date, factor double, says varchar, \
held boolean);
create table if not exists meta.accepted (
    table_name varchar, column_name varchar, since date, reason varchar);
create table if not exists meta.files (
    table_name varchar, day date, file varchar, primary key (table_name, day));
create table if not exists meta.meanings (question varchar primary key, meaning varchar);
create table if not exists meta.checkpoints (
    days_table varchar, kind varchar, relation varchar, through date, known_by date, \
declaration varchar);
"""


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


_STAYS = r"predictions\..*|actions\..*|monitoring\..*_graded"
"""The tables of which a day, once it was issued, is never taken back."""


_DESCENDANTS = """
with recursive below as (
  select table_name from meta.lineage where upstream = ?
  union select l.table_name from meta.lineage as l join below as b on l.upstream = b.table_name)
from below order by 1"""


def _type_conflict(table: str, column: str, before: str, now: str) -> str:
    return (
        f'{table}: column "{column}" is {before} in the warehouse and {now} in what arrives; '
        "change its declaration back, or give the column a new name"
    )


class Tables(Session):
    """An open warehouse: the verbs on its tables; ``days``: the state of their days; ``manifest``:
    the files taken in.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, state: Path) -> None:
        super().__init__(db, state)
        self.days = DayState(self)
        self.manifest = Manifest(self)

    @contextmanager
    def second_connection(self) -> Iterator["Tables"]:
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
        temporary = folder / f"{day}.writing"
        # Through a table: whether the planner thinks that a column may hold nulls would show in the
        # bytes.
        self.db.execute(f"create or replace temp table _day as {select}")
        [(rows,)] = self.rows(f"copy _day to {literal(temporary)} ({PARQUET})")
        self.db.execute("drop table _day")
        written = {
            name: kind
            for name, kind, *_ in self.rows(f"describe from {literal_parquet(temporary)}")
        }
        of_day = day_column(table)
        if of_day in written:
            strangers = self.rows(
                f"select coalesce({of_day}::varchar, 'no day') from {literal_parquet(temporary)} "
                f"where {of_day} is distinct from {literal(day)} order by 1 limit 1"
            )
            for (other,) in strangers:
                raise StrangerError(f"{table}: a row of {other} came with {day}; nothing written")
        self._refuse_other_types(table, written)
        file = folder / f"{day}-{content_hash(temporary)[:NAMED]}.parquet"
        swap_in(temporary, file)
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

    def take_back(self, table: str, day: dt.date) -> None:
        """Forget a day of a Parquet table; forecasts that were issued, and their grades, stay."""
        if not re.fullmatch(_STAYS, table):
            self.drop_day(table, day)

    def day_file(self, table: str, day: dt.date) -> Path | None:
        """The Parquet file of a day, whole; None where there is none.

        Raises
        ------
        WarehouseError : the file is gone or damaged
        """
        file = self.recorded_file(table, day)
        return whole(table, day, file) if file else None

    def recorded_file(self, table: str, day: dt.date) -> Path | None:
        """The Parquet file of a day, which may be gone or damaged; None where none is on record."""
        result = self.rows(
            "select file from meta.files where table_name = ? and day = ?", [table, day]
        )
        return self.state / result[0][0] if result else None

    def first_file_day(self, table: str) -> dt.date | None:
        """The first day of a table that has a Parquet file on record."""
        [(first,)] = self.rows("select min(day) from meta.files where table_name = ?", [table])
        return first

    def newest_file_day(self, table: str, after: dt.date = dt.date.min) -> dt.date | None:
        """The newest day of a table, later than ``after``, that has a Parquet file on record."""
        [(newest,)] = self.rows(
            "select max(day) from meta.files where table_name = ? and day > ?", [table, after]
        )
        return newest

    def rename_files(self, before: str, now: str) -> bool:
        """Give the Parquet files of a table, which has no days then, to another one; whether there
        are any. A day that the other one has gives way.
        """
        if not self.rows("select 1 from meta.files where table_name = ? limit 1", [before]):
            return False
        self.db.execute(
            "delete from meta.files where table_name = $2 and day in "
            "(select day from meta.files where table_name = $1)",
            [before, now],
        )
        self.db.execute(
            "update meta.files set table_name = $2 where table_name = $1", [before, now]
        )
        self.db.execute("delete from meta.days where table_name = ?", [before])
        return True

    def meaning(self, question: str) -> str | None:
        """The meaning under which the forecasts of a question are stored; None: it has none yet."""
        result = self.rows("select meaning from meta.meanings where question = ?", [question])
        return result[0][0] if result else None

    def keep_meaning(self, question: str, meaning: str) -> None:
        """Store the meaning of a question from now on."""
        self.db.execute("insert or replace into meta.meanings values (?, ?)", [question, meaning])

    def pii_fingerprint(self) -> str | None:
        """The fingerprint of the key under which persons are hashed; None: nothing was hashed."""
        if not self.columns("meta.pii_key"):
            return None
        result = self.rows("select fingerprint from meta.pii_key")
        return result[0][0] if result else None

    def keep_pii_fingerprint(self, fingerprint: str) -> None:
        """Store the fingerprint of the first key."""
        self.db.execute("create table if not exists meta.pii_key (fingerprint varchar)")
        self.db.execute("insert into meta.pii_key values (?)", [fingerprint])

    def _refuse_other_types(self, table: str, written: Mapping[str, str]) -> None:
        files = self.rows(
            "select file from meta.files where table_name = ? order by day desc", [table]
        )
        # A file that is gone says nothing; its day is computed again, and is not there until then.
        there = next((path for (file,) in files if (path := self.state / file).is_file()), None)
        if there is None:
            return
        before = {n: k for n, k, *_ in self.rows(f"describe from {literal_parquet(there)}")}
        for column, kind in written.items():
            known = before.get(column, kind)
            if known != kind and UNTYPED not in (known, kind):
                raise WarehouseError(_type_conflict(table, column, before[column], kind))

    def day_files(self, table: str, until: dt.date) -> dict[dt.date, Path]:
        """Those of a table's days up to and with ``until``, oldest first. Raises as
        ``day_file``.
        """
        result = self.rows(
            "select day, file from meta.files where table_name = ? and day <= ? order by day",
            [table, until],
        )
        return {day: whole(table, day, self.state / file) for day, file in result}

    def show(self, table: str) -> None:
        """Let the view of a Parquet table have its days, as the next publishing will."""
        files = self.rows("select file from meta.files where table_name = ? order by day", [table])
        if files:
            shown = rows_of(self.state / file for (file,) in files)
            self.db.execute(f"create or replace view {table} as from {shown}")

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
        there = self.days.stored(table)
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

    def withdraw(self, table: str, day: dt.date) -> None:
        """Take that day of all that descends from a table out of the Parquet layers: its ground is
        gone.

        Forecasts that were issued, and their grades, stay in their files, and do not count as
        stored.
        """
        for (descendant,) in self.rows(_DESCENDANTS, [table]):
            if descendant.split(".")[0] in PARQUET_LAYERS:
                self.take_back(descendant, day)
                self.db.execute(
                    "delete from meta.days where table_name = ? and day = ?", [descendant, day]
                )
