"""Landing: from files and queries to raw rows, as they came. The manifest says which day took in
which file.

A file first taken in while day k is refreshed belongs to k for ever; a repeated refresh reads the
same files.
"""

import datetime as dt
import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.calendar import days_between
from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, without_values
from churn_orchestration.churn.sql import close_off, connect, within
from churn_orchestration.landing.reading import Shape, read, shape_of
from churn_orchestration.landing.sniffing import UnreadableFileError, reason
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.masking import database_secrets, masked
from churn_orchestration.storage.warehouse import Tables, literal, quoted

_DAY = re.compile(r"\{day(?::([^}]+))?\}")


@dataclass(frozen=True)
class Files:
    """Where a source's files lie and how they are written.

    Parameters
    ----------
    pattern : glob below the landing folder; ``{day}`` or ``{day:%Y%m%d}`` stands for the landing
        day. Without it the files are a history, split by the day of their events; all of it is the
        initial load where its records have no event time
    """

    pattern: str
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str | None = None

    @property
    def is_daily(self) -> bool:
        return _DAY.search(self.pattern) is not None

    def find(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        """Every file that fits, with the day in its name, ordered by day and name."""
        return [(path, day) for path, day in self.named(folder) if not unusable(path, folder)]

    def named(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        """The same, and what only has the name of such a file; see ``unusable``."""
        fitting = [(path, day) for path, day in self._fitting(folder) if day or not self.is_daily]
        return sorted(fitting, key=lambda result: (result[1] or dt.date.min, result[0]))

    def strays(self, folder: Path) -> list[str]:
        """Files that fit the pattern but for their day, which cannot be read."""
        return sorted(
            path.relative_to(folder).as_posix()
            for path, day in self._fitting(folder)
            if day is None and path.is_file()
        )

    def _fitting(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        if not folder.is_dir():
            raise BusinessError(
                f"the landing folder {folder} does not exist: check `landing` in business.yaml, "
                "and the environment variables that it names"
            )
        one = folder / self.pattern  # orders[1].csv, as browsers name a second download
        paths = [one] if one.exists() else folder.glob(_DAY.sub("*", self.pattern))
        return [(path, self.day_of(path.relative_to(folder).as_posix())) for path in paths]

    def day_of(self, file: str) -> dt.date | None:
        """The day in a file's name, a path relative to the landing folder.

        >>> Files("orders/{day:%Y%m%d}.csv").day_of("orders/20240131.csv")
        datetime.date(2024, 1, 31)
        """
        placeholder = _DAY.search(self.pattern)
        if not placeholder:
            return None
        sides = self.pattern[: placeholder.start()], self.pattern[placeholder.end() :]
        # A side as a pattern of its own is (?s:...)\Z.
        before, after = (fnmatch.translate(side)[4:-3].replace(".*", "[^/]*") for side in sides)
        fits = re.fullmatch(f"{before}(.+?){after}", file)
        try:
            if not fits:
                return None
            return dt.datetime.strptime(fits[1], placeholder[1] or "%Y-%m-%d").date()  # noqa: DTZ007
        except ValueError:
            return None


def unusable(path: Path, folder: Path) -> str | None:
    """Why what has the name of a landing file is none; None where it is one."""
    if not path.is_file():
        return "it is no file, and one is wanted: take it away or put the file there"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "it is a link that leads out of the landing folder: put the file itself there"
    return None


@dataclass
class Landed:
    """What a landing did: rows by day, days refused with the reason, expected days without a file.

    ``strays`` are files whose day cannot be read; ``beyond`` says how a history does not fit the
    last day; ``repeated`` names rows that had come before, in a file of another name, and are taken
    in once.
    """

    rows: dict[dt.date, int]
    refused: dict[dt.date, str] = field(default_factory=dict)
    missing: list[dt.date] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    beyond: str | None = None
    repeated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Taken:
    path: Path
    file: str
    partition: dt.date
    known_on: dt.date | None
    content: str  # its SHA-256


def land(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    days: list[dt.date],
) -> Landed:
    """Take in what has come for ``days`` and store it as ``raw.<name>``, manifest and rows
    together.
    """
    take = _take_daily if files.is_daily else _take_history
    taken, entries, refused = take(tables, business, name, files, contract, days)
    landed = Landed(rows=dict.fromkeys(days, 0), refused=refused)
    shapes: dict[str, list[str]] = {}
    groups = list(_reading(tables, f"raw.{name}", files, contract, taken, landed, shapes))
    if (
        not files.is_daily or contract.event_time
    ):  # else the same rows of another day say that nothing changed
        landed.repeated = _drop_repeated(tables, name, files, taken, entries, groups)
    if not files.is_daily and groups:
        _refuse_changed_history(tables, business, name, files, contract, landed, taken, groups)
        landed.beyond = _beyond(tables, contract, files.pattern, groups, max(days))
    rows = [[*entry, shapes.get(entry[1])] for entry in entries]
    with tables.transaction():
        if rows:
            tables.insert("meta.manifest", rows)
        landed.rows |= _replace(
            tables, business, f"raw.{name}", contract, files, days, taken, groups, landed
        )
    if files.is_daily:
        landed.missing = _missing(tables, business, name, files, days)
        landed.strays = files.strays(business.landing)
        if business.start in days and not landed.rows[business.start] and not taken:
            unread = (
                f"; no day can be read in {', '.join(landed.strays[:5])}" if landed.strays else ""
            )
            landed.refused.setdefault(
                business.start,
                f"no file {files.pattern} in the landing folder {business.landing}{unread}",
            )
    return landed


def _take_daily(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    days: list[dt.date],
) -> tuple[list[_Taken], list[list[Any]], dict[dt.date, str]]:
    """Which files belong to ``days``: those taken in before; new ones, on the first day that sees
    them.

    A day that stands has seen all it could see, unless it is the newest: what is new now belongs to
    a later one. New content of a file replaces the old only where its day was refused, or where
    that day alone is refreshed; else it is a correction, first known on the day that sees it.
    """
    known = {file: entry for file, *entry in tables.rows(_MANIFEST, [name])}
    awaiting = {
        day
        for layer in ("raw", "bronze")
        for day in tables.days.refused(f"{layer}.{name}", dt.date.max)
    }
    valid = tables.days.stored(f"raw.{name}") - awaiting
    newest = max(valid, default=business.start)
    seeing = [day for day in days if day not in valid or day == newest]
    taken: list[_Taken] = []
    entries: list[list[Any]] = []
    refused: dict[dt.date, str] = {}
    for path, expected in files.named(business.landing):
        file = path.relative_to(business.landing).as_posix()
        sha, size, mtime, partition, known_on = known.get(file, ("", None, None, None, None))
        if fault := unusable(path, business.landing):
            if (day := max(expected or business.start, business.start)) in days:
                refused[day] = f"{file}: {fault}"
            continue
        stat, content = path.stat(), sha
        if (size, mtime) != (stat.st_size, stat.st_mtime_ns):
            content = content_hash(path)
            replaced = partition in days and (
                partition in awaiting or partition not in valid or len(days) == 1
            )
            if content != sha and not replaced:
                if partition in awaiting:
                    continue  # the refused day is mended by refreshing that day, not by a later one
                first = next(
                    (day for day in seeing if day >= max(expected or day, business.start)), None
                )
                if sha and first and not contract.key:
                    refused[first] = (
                        f"{file} changed after {partition} took it in, and without a key its rows "
                        "cannot be distinguished from the earlier ones: refresh that day alone "
                        "(--from "
                        f"{partition} --to {partition}) or declare a key"
                    )
                if first is None or first in refused:
                    continue
                initial = first == business.start and first not in valid
                partition, known_on = first, expected if initial else first
            entries.append(
                [name, file, content, stat.st_size, stat.st_mtime_ns, partition, known_on]
            )
        if partition in days:
            taken.append(_Taken(path, file, partition, known_on, content))
    return taken, entries, refused


_MANIFEST = """
select file, last(sha256 order by rowid), last(size order by rowid), last(mtime_ns order by rowid),
  last(partition order by rowid), last(known_on order by rowid)
from meta.manifest where source = ? group by file"""


def pending(
    tables: Tables, business: Business, name: str, files: Files
) -> list[tuple[str, dt.date | None]]:
    """The files that no day has taken in as they are now, with the day in their name."""
    known = {
        file: (sha, size, mtime) for file, sha, size, mtime, *_ in tables.rows(_MANIFEST, [name])
    }
    result = []
    for path, day in files.find(business.landing):
        file = path.relative_to(business.landing).as_posix()
        sha, size, mtime = known.get(file, (None, None, None))
        try:
            stat = path.stat()
            same = (size, mtime) == (stat.st_size, stat.st_mtime_ns)
            if not same and (size != stat.st_size or content_hash(path) != sha):
                result.append((file, day))
        except FileNotFoundError:  # taken away since it was found: no file waits there
            continue
    return result


def as_taken_in(
    tables: Tables, business: Business, name: str, days: Iterable[dt.date]
) -> set[dt.date]:
    """Those of ``days`` whose files are still there, with the content that was taken in."""
    changed = set()
    for day, file, sha, size, mtime in tables.rows(_FILES_OF_DAYS, [name]):
        path = business.landing / file
        stat = path.stat() if path.is_file() else None
        same = stat and (stat.st_size, stat.st_mtime_ns) == (size, mtime)
        if not same and not (stat and content_hash(path) == sha):
            changed.add(day)
    return set(days) - changed


_FILES_OF_DAYS = """
select partition, file, last(sha256 order by rowid), last(size order by rowid),
  last(mtime_ns order by rowid)
from meta.manifest where source = ? group by partition, file"""


def _take_history(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,  # noqa: ARG001 - the parameters are those of _take_daily
    days: list[dt.date],
) -> tuple[list[_Taken], list[list[Any]], dict[dt.date, str]]:
    """Every file of a history, for each of ``days``; its records are told apart by the day of their
    event.
    """
    result = files.find(business.landing)
    refused = {}
    for path, _ in files.named(business.landing):
        if fault := unusable(path, business.landing):
            refused = dict.fromkeys(
                days, f"{path.relative_to(business.landing).as_posix()}: {fault}"
            )
    if not result and not refused:
        raise BusinessError(
            f"{name}: no file {files.pattern} in the landing folder {business.landing}"
        )
    recorded = {(file, day): seen for file, day, *seen in tables.rows(_LAST_SEEN, [name])}
    taken: list[_Taken] = []
    entries: list[list[Any]] = []
    for path, _ in result:
        file, stat = path.relative_to(business.landing).as_posix(), path.stat()
        content = content_hash(path)
        seen = [content, stat.st_size, stat.st_mtime_ns]
        entries += [
            [name, file, *seen, day, None] for day in days if recorded.get((file, day)) != seen
        ]
        taken.append(_Taken(path, file, days[0], days[0], content))
    return taken, entries, refused


_LAST_SEEN = """
select file, partition, last(sha256 order by rowid), last(size order by rowid),
  last(mtime_ns order by rowid)
from meta.manifest where source = ? group by file, partition"""


def _drop_repeated(
    tables: Tables,
    name: str,
    files: Files,
    taken: list[_Taken],
    entries: list[list[Any]],
    groups: list[str],
) -> list[str]:
    """Take out of ``groups`` the rows of a file whose content another file brought before; say so.

    Of a history only files that are there now count; ``_drop_what_came_again`` sees to the rest.
    Rows that were of a day to come when the first file landed may be valid now, so they stay.
    """
    seen = dict(tables.rows(_CONTENTS, [name])) | {
        file: content for _, file, content, *_ in entries
    }
    there = {item.file for item in taken}
    holders: dict[str, str] = {}
    for file, content in seen.items():
        if files.is_daily or file in there:
            holders.setdefault(content, file)
    repeated = [(item.file, holders[item.content]) for item in taken]
    repeated = [(file, first) for file, first in repeated if file != first]
    if not repeated:
        return []
    tables.db.execute("create or replace temp table _repeated (_file varchar, _first varchar)")
    tables.insert("_repeated", [list(pair) for pair in repeated])
    awaited = "false"
    if tables.columns(f"quarantine.{name}"):
        early = f"select _file, _line from quarantine.{name} where rule = 'future_day'"
        awaited = f"(r._first, g._line) in ({early})"
    dropped = set()
    for group in groups:
        again = f"{group} as g using _repeated as r where g._file = r._file and not {awaited}"
        dropped |= {file for (file,) in tables.rows(f"delete from {again} returning g._file")}
    return [
        f"{file} has the content of {first}, which was taken in: not taken in twice"
        for file, first in repeated
        if file in dropped
    ]


_CONTENTS = """
select file, last(sha256 order by rowid) from meta.manifest where source = ?
group by file order by min(rowid)"""


def _refuse_changed_history(
    tables: Tables,
    business: Business,
    name: str,
    files: Files,
    contract: contracts.Contract,
    landed: Landed,
    taken: list[_Taken],
    groups: list[str],
) -> None:
    """A history whose rows of days taken in before are others now is refused: they would be lost
    unsaid.

    Rows that are gone are no fault where rows have a day: many a history is the last months only.
    """
    valid = sorted(tables.days.stored(f"raw.{name}") - set(landed.rows))
    last_seen = {(file, day): sha for file, day, sha, *_ in tables.rows(_LAST_SEEN, [name])}
    if all(last_seen.get((item.file, day)) == item.content for item in taken for day in valid):
        return
    arrived = " union all by name ".join(f"(from {group})" for group in groups)
    split = _split_by_event_day(contract, business.start, valid, f"({arrived})")
    there = set(tables.columns(f"raw.{name}")) & {n for n, *_ in tables.rows(f"describe {arrived}")}
    declared = dict.fromkeys(
        column.source for column in contract.columns
    )  # a line that is an id too
    compared = ", ".join(quoted(column) for column in (*declared, "_error") if column in there)
    present = ", ".join(literal(item.file) for item in taken)
    gone = "false" if contract.event_time else f"sum(n) filter (n > 0 or _file in ({present})) < 0"
    result = tables.rows(
        f"""
select _partition, sum(now)::bigint, sum(before)::bigint, min(_file) filter (is_other) from (
  select _partition, count(*) filter (n > 0) as now, count(*) filter (n < 0) as before,
    min(_file) as _file, sum(n) > 0 or {gone} as is_other
  from (select {compared}, _partition, _file, 1 as n from ({split})
    union all select {compared}, _partition, _file, -1 from raw.{name}
    where {within("_partition", valid)})
  group by {compared}, _partition)
group by _partition having bool_or(is_other) order by _partition limit 1"""
    )
    for day, now, before, file in result:
        for wanted in landed.rows:
            landed.refused[wanted] = _change_message(
                contract, files.pattern, day, now, before, file
            )


def _change_message(
    contract: contracts.Contract, pattern: str, day: dt.date, now: int, before: int, file: str
) -> str:
    if contract.event_time is None:
        dated = re.sub(r"(\.[^/]*)?$", r"_{day}\1", pattern, count=1)
        return (
            f"{file} changed after {day} took it in, and its rows have no day: what changed cannot "
            "be distinguished from what was there. Name the day in the file "
            f'(`files: "{dated}"`): what was taken in stays, and '
            f"what a file brings is known from its day on. Only if what {day} took in was wrong, "
            f"take it in again (--from {day}): all that the file says then counts as known on {day}"
        )
    message = f"the history's rows of {day} are not those that were taken in: corrections"
    if now > before:
        message = f"the history has {now} rows of {day}, and {before} were taken in: late rows"
    return (
        f"{message} need daily files, or that day refreshed again (--from {day}), "
        "as if known on their day"
    )


LONG_SILENCE = 31  # days; sources with a row a month are common, with fewer they are worth a look


def _beyond(
    tables: Tables, contract: contracts.Contract, place: str, groups: list[str], last: dt.date
) -> str | None:
    """What of a history does not fit the last day asked for: rows after it, or none for long before
    it.

    Rows after it are not lost, they wait for their day.
    """
    if contract.event_time is None:
        return None
    arrived = " union all by name ".join(f"(from {group})" for group in groups)
    column = next(c for c in contract.columns if c.name == contract.event_time)
    day = contracts.day(contract, contracts.typed(column, contract.timezone))
    earliest = contract.earliest_event or dt.date.min
    [(rows, first, newest)] = tables.rows(
        f"select count(*) filter (_day > {literal(last)}), min(_day) filter (_day > "
        f"{literal(last)}), max(_day) filter (_day between {literal(earliest)} and "
        f"{literal(last)}) from (select {day} as _day from ({arrived}))"
    )
    notes = (
        [f"{place} holds {rows} rows of days after {last}, from {first} on: not taken in yet"]
        if rows
        else []
    )
    if newest and (last - newest).days > LONG_SILENCE:
        notes.append(
            f"the newest row of {place} is of {newest}, {(last - newest).days} days before {last}: "
            "is that the last day of the data?"
        )
    return "; ".join(notes) or None


def _refuse(landed: Landed, files: Files, item: _Taken, reason: str) -> None:
    """Refuse the day of a file; all days, where the file is a history that holds rows of any of
    them.
    """
    for day in [item.partition] if files.is_daily else landed.rows:
        landed.refused[day] = f"{item.file}: {reason}"


def _refuse_other_case(before: dict[str, str], shape: Shape) -> None:
    """``before``: the names in the raw table, by their lower case."""
    for name in shape.names:
        if before.get(name.lower(), name) != name:
            raise UnreadableFileError(
                f'its column "{name}" was called "{before[name.lower()]}" before; rename it'
            )


def _reading(
    tables: Tables,
    raw: str,
    files: Files,
    contract: contracts.Contract,
    taken: list[_Taken],
    landed: Landed,
    shapes: dict[str, list[str]],
) -> Iterator[str]:
    """One temporary table of raw rows per set of files of one shape; unreadable files refuse their
    day.
    """
    declared = contract.sources
    before = {name.lower(): name for name in tables.columns(raw)}
    groups: dict[Shape, list[_Taken]] = {}
    for item in taken:
        try:
            shape = shape_of(
                tables.db, item.path, files.delimiter, files.encoding, declared, files.sheet
            )
            _refuse_other_case(before, shape)
        except UnreadableFileError as error:
            _refuse(landed, files, item, str(error))
        else:
            groups.setdefault(shape, []).append(item)
            shapes[item.file] = list(shape.names)
    for number, (shape, items) in enumerate(groups.items()):
        try:
            _read_group(tables, f"_group_{number}", files, shape, items)
        except (duckdb.Error, UnreadableFileError):
            items = [item for item in items if _reads_alone(tables, files, shape, item, landed)]
            if not items:
                continue
            _read_group(tables, f"_group_{number}", files, shape, items)
        yield f"_group_{number}"


def _reads_alone(tables: Tables, files: Files, shape: Shape, item: _Taken, landed: Landed) -> bool:
    try:
        _read_group(tables, "_group_alone", files, shape, [item])
    except UnreadableFileError as error:
        _refuse(landed, files, item, str(error))
        return False
    except duckdb.Error as error:
        _refuse(landed, files, item, reason(error))
        return False
    return True


def _read_group(
    tables: Tables, table: str, files: Files, shape: Shape, items: list[_Taken]
) -> None:
    db = tables.db
    read(db, "_records", shape, [item.path for item in items], files.delimiter, files.encoding)
    db.execute(
        "create or replace temp table _taken (_path varchar, _file varchar, _partition date, "
        "known_on date)"
    )
    tables.insert(
        "_taken", [[str(item.path), item.file, item.partition, item.known_on] for item in items]
    )
    rows = "select * exclude (_path) from _records join _taken using (_path)"
    db.execute(f"create or replace temp table {table} as {rows}")


def _replace(
    tables: Tables,
    business: Business,
    raw: str,
    contract: contracts.Contract,
    files: Files,
    days: list[dt.date],
    taken: list[_Taken],
    groups: list[str],
    landed: Landed,
) -> dict[dt.date, int]:
    """Store what was read; rows whose file is gone from the landing folder by now stay as they are.

    But not those of a history that are in another file now, as after a renaming.
    """
    arrived = " union all by name ".join(
        f"(from {group})" for group in groups or [_empty(tables, contract)]
    )
    if not files.is_daily:
        arrived = _split_by_event_day(contract, business.start, days, f"({arrived})")
    if tables.columns(raw):
        tables.db.execute("create or replace temp table _again (_file varchar, _partition date)")
        partitions = {item: [item.partition] if files.is_daily else days for item in taken}
        if again := [[item.file, day] for item, those in partitions.items() for day in those]:
            tables.insert("_again", again)
        kept = (
            f"from {raw} anti join _again using (_file, _partition) "
            f"where {within('_partition', days)}"
        )
        if not files.is_daily:
            tables.db.execute(f"create or replace temp table _kept as {kept}")
            landed.repeated += _drop_what_came_again(tables, contract, f"({arrived})")
            kept = "from _kept"
        arrived = f"({arrived}) union all by name ({kept})"
    return tables.replace_days(raw, days, f"from ({arrived}) order by _partition, _file, _line")


def _drop_what_came_again(tables: Tables, contract: contracts.Contract, arrived: str) -> list[str]:
    """Take out of ``_kept`` each row that one of ``arrived`` is equal to, one for one; say so."""
    if not tables.rows("from _kept limit 1"):
        return []
    kept, came = (
        {name for name, *_ in tables.rows(f"describe from {t}")} for t in ("_kept", arrived)
    )
    declared = contract.sources
    there = [column for column in (*declared, "_error", "_partition") if column in kept & came]
    compared = ", ".join(map(quoted, there))
    again = tables.rows(
        f"""
delete from _kept where rowid in (
  select unnest(
    (list(_row order by _row) filter (_row is not null))[:count(*) filter (_row is null)])
  from (
    select rowid as _row, {compared} from _kept union all select null, {compared} from {arrived})
  group by {compared})
returning _file"""
    )
    return [
        f"{count:,} rows of {file}, which is gone, came again under another name: taken in once"
        for file, count in sorted(Counter(file for (file,) in again).items())
    ]


def _empty(tables: Tables, contract: contracts.Contract) -> str:
    columns = "".join(f"{quoted(name)} varchar, " for name in contract.sources)
    tables.db.execute(
        f"create or replace temp table _none ({columns}_line bigint, _error varchar, _file "
        "varchar, _partition date, known_on date)"
    )
    return "_none"


def _split_by_event_day(
    contract: contracts.Contract, first: dt.date, days: list[dt.date], arrived: str
) -> str:
    """Give each record the partition of its event's day; earlier ones, and those without, go to
    ``first``.
    """
    day = "null::date"
    if contract.event_time is not None:
        column = next(c for c in contract.columns if c.name == contract.event_time)
        day = contracts.day(contract, contracts.typed(column, contract.timezone))
    known = f"coalesce(_day, {literal(first)})"
    partition = f"greatest({known}, {literal(first)})"
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
    """Take in what a query gives for ``days``, as ``raw.<name>``, every value as text.

    The query may use ``:first_day`` and ``:last_day``. A row belongs to the day of its event; one
    of an earlier day, or without a readable day, came late: it belongs to the first of ``days``. In
    the initial load ``:first_day`` is ``history_from``, or 1900-01-01 where none is declared.
    """
    address = os.environ.get(url_variable)
    if not address:
        raise BusinessError(
            f"{name}: the environment variable {url_variable} is not set; it names the database"
        )
    if contract.event_time is None:
        raise BusinessError(
            f'{name}: the rows of a query are split by event day: give "event_time"'
        )
    first = business.earliest_event if days[0] == business.start else days[0]
    try:
        names, rows = _query(address, sql, {"first_day": first, "last_day": days[-1]})
    except (
        Exception
    ) as error:  # whatever the driver raises: it is told with the source and the variable
        message = str(error).strip().splitlines()[0]
        if (
            isinstance(error, DATA_FAULTS) or type(error).__name__ == "DataError"
        ):  # SQLAlchemy's name for it
            message = without_values(error)
        message = masked(message, *database_secrets(address))
        # From None: Dagster's log keeps what an error comes from.
        raise BusinessError(f"{name}: the query on {url_variable} failed: {message}") from None
    columns = ", ".join(f"{quoted(column)} varchar" for column in names)
    tables.db.execute(f"create or replace temp table _queried ({columns}, _line bigint)")
    if rows:
        marks = ", ".join("?" * (len(names) + 1))
        tables.db.executemany(
            f"insert into _queried values ({marks})", [[*r, n] for n, r in enumerate(rows, 1)]
        )
    came = (
        f"(select *, null::varchar as _error, {literal(url_variable)} as _file, "
        f"{literal(days[0])} as known_on, {literal(days[0])} as _partition from _queried)"
    )
    arrived = _split_by_event_day(contract, days[0], days, came)
    if days[0] != business.start:  # what comes late is known on the day that saw it
        arrived = f"select * replace (_partition as known_on) from ({arrived})"
    beyond = _beyond(tables, contract, f"the query on {url_variable}", ["_queried"], days[-1])
    with tables.transaction():
        stored = tables.replace_days(
            f"raw.{name}", days, f"from ({arrived}) order by _partition, _file, _line"
        )
    return Landed(rows=stored, beyond=beyond)


def _query(
    address: str, sql: str, parameters: dict[str, dt.date]
) -> tuple[list[str], list[tuple[str | None, ...]]]:
    """Column names and rows of a query, as text."""
    if "://" not in address:
        with closing(connect(address, read_only=True)) as connection:
            close_off(connection, [Path(address).resolve().parent])  # views may read files there
            bound = {name: value for name, value in parameters.items() if f":{name}" in sql}
            query = re.sub(r"(?<!:):(first_day|last_day)", r"$\1", sql.strip().rstrip(";"))
            cursor = connection.execute(f"select cast(columns(*) as varchar) from ({query})", bound)
            return [column[0] for column in cursor.description], cursor.fetchall()
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    try:
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(sql), parameters)
            return list(result.keys()), [
                tuple(None if v is None else str(v) for v in row) for row in result
            ]
    finally:
        engine.dispose()
