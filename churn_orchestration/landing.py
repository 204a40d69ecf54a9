"""Landing: from files and queries to raw rows, as they came. The manifest says which day took in which file.

A file first taken in while day k is refreshed belongs to k for ever; a repeated refresh reads the same files.
"""

import csv
import datetime as dt
import gzip
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn import contract as contracts
from churn_orchestration.churn.calendar import days_between
from churn_orchestration.warehouse import Tables, literal, quoted, within

if TYPE_CHECKING:
    import pandas as pd

_DAY = re.compile(r"\{day(?::([^}]+))?\}")
_CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")


@dataclass(frozen=True)
class Files:
    """Where a source's files lie and how they are written.

    Parameters
    ----------
    pattern : glob below the landing folder; ``{day}`` or ``{day:%Y%m%d}`` stands for the landing day. Without
        it the files are a history, split by the day of their events
    """

    pattern: str
    delimiter: str = ","
    encoding: str = "utf-8"

    @property
    def is_daily(self) -> bool:
        return _DAY.search(self.pattern) is not None

    def find(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        """Every file that fits, with the day in its name, ordered by day and name."""
        if not folder.is_dir():
            raise BusinessError(f"the landing folder {folder} does not exist; see `landing` in business.yaml")
        paths = folder.glob(_DAY.sub("*", self.pattern))
        found = [(path, self.day_of(path.relative_to(folder).as_posix())) for path in paths]
        return sorted(
            (f for f in found if f[1] or not self.is_daily), key=lambda f: (f[1] or dt.date.min, f[0])
        )

    def day_of(self, file: str) -> dt.date | None:
        """The day in a file's name, a path relative to the landing folder.

        >>> Files("orders/{day:%Y%m%d}.csv").day_of("orders/20240131.csv")
        datetime.date(2024, 1, 31)
        """
        placeholder = _DAY.search(self.pattern)
        if not placeholder:
            return None
        sides = self.pattern[: placeholder.start()], self.pattern[placeholder.end() :]
        before, after = (re.escape(side).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for side in sides)
        fits = re.fullmatch(f"{before}(.+?){after}", file)
        try:
            return dt.datetime.strptime(fits[1], placeholder[1] or "%Y-%m-%d").date() if fits else None  # noqa: DTZ007
        except ValueError:
            return None


@dataclass
class Landed:
    """What a landing did: rows by day, days refused with the reason, expected days without a file."""

    rows: dict[dt.date, int]
    refused: dict[dt.date, str] = field(default_factory=dict)
    missing: list[dt.date] = field(default_factory=list)


@dataclass(frozen=True)
class _Taken:
    path: Path
    file: str
    partition: dt.date
    known_on: dt.date | None


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def land(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    days: list[dt.date],
) -> Landed:
    """Take in what has come for ``days`` and store it as ``raw.<name>``, manifest and rows together."""
    take = _take_daily if files.is_daily else _take_history
    taken, entries, refused = take(tables, business, name, files, contract, days)
    landed = Landed(rows=dict.fromkeys(days, 0), refused=refused)
    groups = list(_reading(tables, files, contract, taken, landed))
    with tables.transaction():
        if entries:
            tables.db.executemany("insert into meta.manifest values (?, ?, ?, ?, ?, ?, ?, ?)", entries)
        landed.rows |= _replace(tables, business, f"raw.{name}", contract, files, days, taken, groups)
    if files.is_daily:
        landed.missing = _missing(tables, business, name, files, days)
    return landed


def _take_daily(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    days: list[dt.date],
) -> tuple[list[_Taken], list[list[Any]], dict[dt.date, str]]:
    """Which files belong to ``days``: those taken in before; new ones, on the first day that sees them."""
    known = {file: entry for file, *entry in tables.rows(_MANIFEST, [name])}
    awaiting = {day for layer in ("raw", "bronze") for day in tables.refused(f"{layer}.{name}", dt.date.max)}
    taken: list[_Taken] = []
    entries: list[list[Any]] = []
    refused: dict[dt.date, str] = {}
    for path, expected in files.find(business.landing):
        file, stat = path.relative_to(business.landing).as_posix(), path.stat()
        sha, size, mtime, partition, known_on = known.get(file, (None, None, None, None, None))
        if (size, mtime) != (stat.st_size, stat.st_mtime_ns):
            content = sha256(path)
            if content != sha and partition not in days:
                if partition in awaiting:
                    continue  # the refused day is mended by refreshing that day, not by a later one
                first = next(
                    (day for day in days if day >= max(expected or business.start, business.start)), None
                )
                if sha and first and not contract.key:
                    refused[first] = (
                        f"{file} changed after {partition} took it in, and without a key its rows cannot be "
                        f"told from the earlier ones: refresh that day (--from {partition}) or declare a key"
                    )
                if first is None or first in refused:
                    continue
                partition, known_on = first, expected if first == business.start else first
            entries.append(
                [
                    name,
                    file,
                    content,
                    stat.st_size,
                    stat.st_mtime_ns,
                    partition,
                    known_on,
                    _header(path, files),
                ]
            )
        if partition in days:
            taken.append(_Taken(path, file, partition, known_on))
    return taken, entries, refused


_MANIFEST = """
select file, last(sha256 order by rowid), last(size order by rowid), last(mtime_ns order by rowid),
  last(partition order by rowid), last(known_on order by rowid)
from meta.manifest where source = ? group by file"""


def _take_history(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    days: list[dt.date],
) -> tuple[list[_Taken], list[list[Any]], dict[dt.date, str]]:
    """Every file of a history, for each of ``days``; its records are told apart by the day of their event."""
    if contract.event_time is None:
        raise BusinessError(
            f'{name}: files without {{day}} in their name are split by event day: give "event_time"'
        )
    found = files.find(business.landing)
    if not found:
        raise BusinessError(f"{name}: no file {files.pattern} in the landing folder {business.landing}")
    recorded = set(tables.rows("select file, sha256, partition from meta.manifest where source = ?", [name]))
    taken: list[_Taken] = []
    entries: list[list[Any]] = []
    for path, _ in found:
        file, stat, content = path.relative_to(business.landing).as_posix(), path.stat(), sha256(path)
        header = _header(path, files)
        entries += [
            [name, file, content, stat.st_size, stat.st_mtime_ns, day, None, header]
            for day in days
            if (file, content, day) not in recorded
        ]
        taken.append(_Taken(path, file, days[0], days[0]))
    return taken, entries, {}


def _header(path: Path, files: Files) -> list[str] | None:
    """The column names of a CSV file; None where it has none or is of another kind."""
    if not path.name.endswith(_CSV_ENDINGS):
        return None
    opened = gzip.open if path.suffix == ".gz" else open
    encoding = "utf-8-sig" if files.encoding == "utf-8" else files.encoding
    try:
        with opened(path, "rt", encoding=encoding, newline="") as handle:
            return next(csv.reader(handle, delimiter=files.delimiter), None)
    except (OSError, EOFError, UnicodeError, csv.Error):
        return None


def _reading(
    tables: Tables, files: Files, contract: contracts.Contract, taken: list[_Taken], landed: Landed
) -> Iterator[str]:
    """One temporary table of raw rows per set of files that share a shape; unreadable files are refused."""
    groups: dict[tuple[str, ...], list[_Taken]] = {}
    for item in taken:
        is_csv = item.path.name.endswith(_CSV_ENDINGS)
        header = tuple(_header(item.path, files) or ()) if is_csv else (item.path.suffix,)
        if is_csv and (fault := _header_fault(header)):
            landed.refused[item.partition] = f"{item.file}: {fault}"
        else:
            groups.setdefault(header, []).append(item)
    for number, (header, items) in enumerate(groups.items()):
        try:
            _read(tables, f"_group_{number}", files, contract, header, items)
        except duckdb.Error:
            items = [item for item in items if _reads_alone(tables, files, contract, header, item, landed)]
            if not items:
                continue
            _read(tables, f"_group_{number}", files, contract, header, items)
        yield f"_group_{number}"


def _header_fault(header: tuple[str, ...]) -> str | None:
    if not any(header):
        return "no header line could be read: the file is empty, damaged or of another encoding"
    if twice := next((name for name in header if header.count(name) > 1), None):
        return f'the header names column "{twice}" twice'
    return None


def _reads_alone(
    tables: Tables,
    files: Files,
    contract: contracts.Contract,
    header: tuple[str, ...],
    item: _Taken,
    landed: Landed,
) -> bool:
    try:
        _read(tables, "_group_alone", files, contract, header, [item])
    except duckdb.Error as error:
        landed.refused[item.partition] = f"{item.file}: cannot be read: {str(error).splitlines()[0]}"
        return False
    return True


def _read(
    tables: Tables,
    table: str,
    files: Files,
    contract: contracts.Contract,
    header: tuple[str, ...],
    items: list[_Taken],
) -> None:
    db = tables.db
    paths = "[" + ", ".join(literal(item.path) for item in items) + "]"
    db.execute(
        "create or replace temp table _taken (path varchar, _file varchar, _partition date, known_on date)"
    )
    db.executemany(
        "insert into _taken values (?, ?, ?, ?)",
        [[str(item.path), item.file, item.partition, item.known_on] for item in items],
    )
    if header == (".parquet",):
        query = f"""select * exclude (filename, file_row_number), filename as path,
            file_row_number + 1 as _line, null::varchar as _error
            from read_parquet({paths}, filename = true, file_row_number = true, union_by_name = true)"""
    elif header in {(".jsonl",), (".ndjson",), (".json",)}:
        names = ", ".join(
            f"{literal(name)}: 'VARCHAR'" for name in dict.fromkeys(c.source for c in contract.columns)
        )
        query = f"""select * exclude (filename, _n), filename as path,
            _n - min(_n) over (partition by filename) + 1 as _line, null::varchar as _error
            from (select *, row_number() over () as _n from read_json({paths}, format = 'newline_delimited',
            columns = {{{names}}}, filename = true))"""
    else:
        query = _csv_query(db, files, header, paths)
    rows = f"select * exclude (path) from ({query}) join _taken using (path)"
    db.execute(f"create or replace temp table {table} as {rows}")


def _csv_query(db: duckdb.DuckDBPyConnection, files: Files, header: tuple[str, ...], paths: str) -> str:
    """Good and malformed records of CSV files of one header; ``_line`` counts records, the header being 1."""
    for kind in ("_errors", "_scans"):
        db.execute(f"drop table if exists _rejects{kind}")
    columns = ", ".join(f"{literal(name or f'column{n}')}: 'VARCHAR'" for n, name in enumerate(header))
    db.execute(
        f"""create or replace temp table _good as select *, row_number() over () as _n
        from read_csv({paths}, header = true, auto_detect = false, all_varchar = true,
            columns = {{{columns}}}, delim = {literal(files.delimiter)}, quote = '"', escape = '"',
            encoding = {literal(files.encoding)}, null_padding = false, strict_mode = true, filename = true,
            store_rejects = true, rejects_table = '_rejects_errors', rejects_scan = '_rejects_scans')"""
    )
    names = ", ".join(quoted(name or f"column{n}") for n, name in enumerate(header))
    nulls = ", ".join(f"null::varchar as {quoted(name or f'column{n}')}" for n, name in enumerate(header))
    # A rejected record at position r (header = 1) is the i-th of its file, so r - 1 - i good ones precede it.
    return f"""
with bad as (
  select file_path as path, line, any_value(lower(error_type::varchar) || ': ' || csv_line) as _error
  from _rejects_errors join _rejects_scans using (scan_id, file_id) group by all),
before as (
  select path, good, max(i) as skipped from (
    select path, line - 1 - i as good, i from (
      select path, line, row_number() over (partition by path order by line) as i from bad)) group by all),
good as (select *, _n - min(_n) over (partition by filename) + 1 as _position from _good)
select {names}, filename as path, _position + 1 + coalesce(skipped, 0) as _line, null::varchar as _error
from good asof left join before on good.filename = before.path and good._position > before.good
union all
select {nulls}, path, line as _line, _error from bad"""


def _replace(
    tables: Tables,
    business: Business,
    raw: str,
    contract: contracts.Contract,
    files: Files,
    days: list[dt.date],
    taken: list[_Taken],
    groups: list[str],
) -> dict[dt.date, int]:
    """Store what was read; rows whose file is gone from the landing folder by now stay as they are."""
    arrived = " union all by name ".join(f"(from {group})" for group in groups or [_empty(tables, contract)])
    if not files.is_daily:
        arrived = _split_by_event_day(tables, contract, business.start, days, f"({arrived})")
    if tables.columns(raw):
        tables.db.execute("create or replace temp table _again (_file varchar, _partition date)")
        partitions = {item: [item.partition] if files.is_daily else days for item in taken}
        if again := [[item.file, day] for item, those in partitions.items() for day in those]:
            tables.db.executemany("insert into _again values (?, ?)", again)
        kept = f"from {raw} anti join _again using (_file, _partition) where {within('_partition', days)}"
        arrived = f"({arrived}) union all by name ({kept})"
    return tables.replace_days(raw, days, f"from ({arrived}) order by _partition, _file, _line")


def _empty(tables: Tables, contract: contracts.Contract) -> str:
    columns = ", ".join(
        f"{quoted(name)} varchar" for name in dict.fromkeys(c.source for c in contract.columns)
    )
    tables.db.execute(
        f"create or replace temp table _none ({columns}, _line bigint, _error varchar, _file varchar, "
        "_partition date, known_on date)"
    )
    return "_none"


def _split_by_event_day(
    tables: Tables, contract: contracts.Contract, start: dt.date, days: list[dt.date], arrived: str
) -> str:
    """Give each record of a history the partition of its event's day; what has no day goes to the first."""
    column = next(c for c in contract.columns if c.name == contract.event_time)
    kinds = {name: kind for name, kind, *_ in tables.rows(f"describe (from {arrived})")}
    if column.source not in kinds:
        return f"(from {arrived})"
    day = contracts.day(contract, contracts.typed(column, kinds[column.source], contract.timezone))
    known = f"coalesce(_day, {literal(start)})"
    partition = f"greatest({known}, {literal(start)})"
    return f"""
select * exclude (_day) replace ({known} as known_on, {partition} as _partition)
from (select *, {day} as _day from {arrived}) where {within(partition, days)}"""


def _missing(
    tables: Tables, business: Business, name: str, files: Files, days: Iterable[dt.date]
) -> list[dt.date]:
    """The days among ``days`` on which a file was expected and none of that name ever came."""
    came = {day for _, day in files.find(business.landing)}
    landed = tables.rows("select file from meta.manifest where source = ?", [name])
    came |= {files.day_of(file) for (file,) in landed}
    expected = set()
    for day in days:
        first = min((d for d in came if d), default=day) if day == business.start else day
        expected |= {d for d in days_between(first, day) if d not in business.closed}
    return sorted(expected - came)


def land_query(
    tables: Tables,
    business: Business,
    name: str,
    url_variable: str,
    sql: str,
    contract: contracts.Contract,
    days: list[dt.date],
) -> Landed:
    """Take in what a query gives for ``days``, as ``raw.<name>``.

    The query may use ``:first_day`` and ``:last_day``; the rows' days are those of their events, and in the
    initial load ``:first_day`` is the first day with data.
    """
    address = os.environ.get(url_variable)
    if not address:
        raise BusinessError(
            f"{name}: the environment variable {url_variable} is not set; it names the database"
        )
    first = business.history_from if days[0] == business.start else days[0]
    frame = _query(address, sql, {"first_day": first, "last_day": days[-1]})
    frame["_line"] = range(1, len(frame) + 1)
    frame["_file"], frame["_error"] = url_variable, None
    tables.db.register("_frame", frame)
    types = ", _error::varchar as _error, _line::bigint as _line, _file::varchar as _file"
    tables.db.execute(
        f"create or replace temp table _queried as select * exclude (_error, _line, _file){types}, "
        f"{literal(days[0])} as known_on, {literal(days[0])} as _partition from _frame"
    )
    tables.db.unregister("_frame")
    arrived = _split_by_event_day(tables, contract, business.start, days, "_queried")
    with tables.transaction():
        rows = tables.replace_days(f"raw.{name}", days, f"from ({arrived}) order by _partition, _file, _line")
    return Landed(rows=rows)


def _query(address: str, sql: str, parameters: dict[str, dt.date]) -> "pd.DataFrame":
    import pandas as pd

    if "://" not in address:
        with closing(duckdb.connect(address, read_only=True)) as connection:
            bound = {name: value for name, value in parameters.items() if f":{name}" in sql}
            return connection.execute(re.sub(r"(?<!:):(first_day|last_day)", r"$\1", sql), bound).df()
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    try:
        with engine.connect() as connection:
            return pd.read_sql(sqlalchemy.text(sql), connection, params=parameters)
    finally:
        engine.dispose()
