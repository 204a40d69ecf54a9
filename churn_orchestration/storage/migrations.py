"""The schema version of a state folder and the numbered steps that bring an older one up to date.

They run where the warehouse is opened, so under the lock that every writer takes. ADR 33 says why.
"""

import datetime as dt
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import duckdb

from churn_orchestration.business import BusinessError
from churn_orchestration.terminal import say

DISTRIBUTION = "churn-orchestration"
_VERSIONED = """
create table if not exists meta.migrations \
(version integer primary key, summary varchar, package varchar);
create table if not exists meta.renames (file varchar primary key);
"""
_NEWEST = "select max(version), arg_max(package, version) from meta.migrations"


class Upgrade:
    """What a migration works on: the connection ``db`` in an open transaction, and the folder
    ``state``.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, state: Path) -> None:
        self.db, self.state = db, state

    def write(self, file: str, content: bytes) -> None:
        """Replace a file of the state, named relative to it, once the transaction is committed."""
        path = self.state / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with _pending(path).open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        self.db.execute("insert or replace into meta.renames values (?)", [file])


@dataclass(frozen=True)
class Migration:
    """One step to the next version.

    ``summary``: what it changes, in a present-tense clause. ``apply`` changes the warehouse by SQL
    and files by ``Upgrade.write``; it may return what could not be carried over and is recomputed,
    in a sentence.
    """

    summary: str
    apply: Callable[[Upgrade], str | None]


def _record_what_days_hold(upgrade: Upgrade) -> None:
    """Days gain ``content`` and ``made``; a day counts as made when its version was given."""
    upgrade.db.execute("""
create temp table _days as \
select table_name, day, status, rows, declaration, reason, version from meta.days;
drop table meta.days;
create table meta.days (
    table_name varchar, day date, status varchar, rows bigint, declaration varchar, reason varchar,
    content varchar, version bigint, made bigint, primary key (table_name, day));
insert into meta.days
select table_name, day, status, rows, declaration, reason, null, version, version from _days;
drop table _days;
create table if not exists meta.policies (
    table_name varchar primary key, look_back_days integer, keep_days integer);
create table if not exists meta.changes (
    table_name varchar, day date, column_name varchar, since date, factor double, says varchar, \
held boolean);
create table if not exists meta.accepted (
    table_name varchar, column_name varchar, since date, reason varchar);
create table if not exists meta.meanings (question varchar primary key, meaning varchar);
drop table if exists meta.published;
""")


def _record_the_code_of_days(upgrade: Upgrade) -> str:
    """Days gain ``stage`` and ``code``; without a code, theirs is the first that was recorded."""
    upgrade.db.execute("""
alter table meta.days add column stage varchar;
alter table meta.days add column code varchar;
update meta.days set stage = case
  when table_name like 'raw.%' then 'raw'
  when table_name like 'bronze.%' or table_name like 'quarantine.%' then 'bronze'
  when table_name like 'silver.%\\_days' escape '\\' then 'days'
  when table_name like 'silver.%' then 'silver'
  when table_name like 'gold.%' then 'gold'
  when table_name like 'predictions.%' then 'predictions'
  when table_name like 'measures.%' then 'measures'
  when table_name like 'monitoring.%' then
    regexp_extract(table_name, '_(graded|performance|first_week|drift)$', 1)
  end;
""")
    return "Features and daily parts are recomputed once: their days did not keep code apart."


def _record_causes(upgrade: Upgrade) -> None:
    """Refused days gain the cause that their reason names: a day of a table above.

    Until now such a reason named table and day within a sentence.
    """
    upgrade.db.execute("""
alter table meta.days add column cause_table varchar;
alter table meta.days add column cause_day date;
""")
    refused = upgrade.db.execute("""
with recursive above as (
  select table_name, upstream from meta.lineage
  union select a.table_name, l.upstream \
from above as a join meta.lineage as l on l.table_name = a.upstream)
select table_name, day, reason, list(upstream order by upstream)
from meta.days join above using (table_name) where status = 'refused' and reason is not null
group by all""").fetchall()
    for table, day, reason, above in refused:
        if named := _first_named(reason, above):
            upgrade.db.execute(
                "update meta.days set cause_table = ?, cause_day = ? "
                "where table_name = ? and day = ?",
                [*named, table, day],
            )


def _first_named(reason: str, tables: Sequence[str]) -> tuple[str, dt.date] | None:
    """The table, and its day, that a reason of an earlier version names first.

    >>> _first_named("bronze.orders 2024-01-07 is refused (no column)", ["bronze.orders"])
    ('bronze.orders', datetime.date(2024, 1, 7))
    >>> _first_named("orders_2024-01-07.csv has no column", ["bronze.orders"])
    """
    names = "|".join(map(re.escape, tables))
    named = re.search(rf"\b({names}) (\d{{4}}-\d\d-\d\d) ", reason)
    return (named[1], dt.date.fromisoformat(named[2])) if named else None


MIGRATIONS: tuple[Migration, ...] = (
    Migration("days record what they hold and when they were computed", _record_what_days_hold),
    Migration("days record the code that computed them", _record_the_code_of_days),
    Migration("refused days record which day above them they wait for", _record_causes),
)
"""Migration n, counted from 1, brings a state of version n - 1 to version n. Only ever append to
it.
"""


def upgrade(
    db: duckdb.DuckDBPyConnection, state: Path, schema: str, steps: Sequence[Migration]
) -> list[str]:
    """Bring the state of an open warehouse to the newest version, whole or not at all.

    Parameters
    ----------
    schema : the SQL that makes the tables of the newest version, for a state that has none yet
    steps : step n leads to version n

    Returns
    -------
    what was done, a line for each step; empty where the state was up to date

    Raises
    ------
    BusinessError : the state is of a newer version than the package
    """
    before = version(db, state, len(steps))
    lines = list[str]()
    if before != len(steps) or not is_stamped(db):
        db.execute("begin")
        try:
            lines = _apply(db, state, schema, steps, before)
            db.execute("commit")
        except BaseException:
            db.execute("rollback")
            raise
    _finish(db, state)
    for line in lines:
        say(f"  {line}")
    return lines


def version(db: duckdb.DuckDBPyConnection, state: Path, newest: int) -> int | None:
    """The version of a state; None: it has no tables yet.

    Raises
    ------
    BusinessError : it is newer than ``newest``
    """
    if not _columns(db, "days"):
        return None
    if not is_stamped(db):
        return 1 if "made" in _columns(db, "days") else 0
    [(number, package)] = db.execute(_NEWEST).fetchall()
    _refuse_newer(state, number, package, newest)
    return int(number)


def is_stamped(db: duckdb.DuckDBPyConnection) -> bool:
    """Whether a state says of which version it is; those of before there were versions do not."""
    return bool(_columns(db, "migrations"))


def _refuse_newer(state: Path, number: int, package: str, newest: int) -> None:
    """Raise BusinessError where a state is of a version that this package does not know."""
    if number > newest:
        raise BusinessError(
            f"{state} was written by {DISTRIBUTION} {package} (state version {number}); this is "
            f"{DISTRIBUTION} {installed(DISTRIBUTION)}, which reads versions up to {newest}: "
            f"update the package (`pip install --upgrade {DISTRIBUTION}`); the state stays as it is"
        )


def _apply(
    db: duckdb.DuckDBPyConnection,
    state: Path,
    schema: str,
    steps: Sequence[Migration],
    before: int | None,
) -> list[str]:
    package = installed(DISTRIBUTION)
    insert = "insert into meta.migrations values (?, ?, ?)"
    if before is None:
        db.execute(schema + _VERSIONED)
        db.execute(insert, [len(steps), "a new state", package])
        return []
    db.execute(_VERSIONED)
    db.execute(
        "insert or ignore into meta.migrations values (?, ?, ?)", [before, "before versions", ""]
    )
    lines = list[str]()
    if before < len(steps):
        lines = [f"upgrading {state} from version {before} to version {len(steps)}"]
    for number, step in enumerate(steps[before:], before + 1):
        recomputed = step.apply(Upgrade(db, state))
        db.execute(insert, [number, step.summary, package])
        lines.append(
            f"version {number}: {step.summary}" + (f". {recomputed}" if recomputed else "")
        )
    return lines


def _columns(db: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    """The columns of a table of the schema meta; empty where there is none of that name."""
    try:  # the catalogue of columns would bind every view first, each time a warehouse is opened
        return {name for name, *_ in db.execute(f"from meta.{table} limit 0").description or ()}
    except duckdb.CatalogException:
        return set()


def _pending(path: Path) -> Path:
    return path.with_name(f"{path.name}.migrating")


def _finish(db: duckdb.DuckDBPyConnection, state: Path) -> None:
    """Put the written files in their places; those that a killed process has put there are not
    pending.
    """
    files = [state / file for (file,) in db.execute("from meta.renames").fetchall()]
    if not files:
        return
    for path in files:
        if _pending(path).exists():
            _pending(path).replace(path)
    os.sync()
    db.execute("delete from meta.renames")
