"""Reading landing files: CSV, JSON lines, Parquet and Excel as text, record by record, nothing
guessed.
"""

import csv
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from churn_orchestration.churn.rows.shapes import shape
from churn_orchestration.landing.files import Files
from churn_orchestration.landing.sniffing import (
    MOST_COLUMNS,
    UnreadableFileError,
    decoded,
    guess,
    really,
    reason,
    scanned,
    wrong_encoding,
)
from churn_orchestration.landing.workbooks import header_of, records
from churn_orchestration.storage.files import file_literal
from churn_orchestration.storage.warehouse import literal, quoted

RESERVED = ("_path", "_file", "_line", "_error", "_partition", "known_on")
KEPT = 10_000  # characters of a malformed record that DuckDB hands on
CHUNK = 50_000  # records of a workbook that are handed on at once
KINDS = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl",
    "parquet": "parquet", "xlsx": "xlsx",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What the files of one reading share: kind, column names in order, are NUL bytes in them,
    sheet.
    """

    kind: str
    names: tuple[str, ...]
    has_nul: bool = False
    sheet: str | None = None


def shape_of(
    db: duckdb.DuckDBPyConnection,
    path: Path,
    files: Files,
    declared: list[str],
) -> Shape:
    """Kind and column names of a file. A gzip is read to its end: DuckDB does not look at its
    checksum.

    Raises
    ------
    UnreadableFileError : unknown ending, damaged, no header, a name twice or reserved, no declared
        column
    """
    parts = path.name.lower().removesuffix(".gz").rsplit(".", 1)
    kind = KINDS.get(parts[-1])
    is_text = kind in ("csv", "jsonl")
    if kind is None or (not is_text and path.suffix.lower() == ".gz"):
        raise UnreadableFileError(
            f"its ending is none of those read: {', '.join(KINDS)}, and .gz of text"
        )
    try:
        head, whole, nul = (b"", True, False)
        if is_text:
            head, whole, nul = scanned(path, files.delimiter if kind == "csv" else None)
        wrong = wrong_encoding(head, files.encoding if kind == "csv" else "utf-8", whole=whole)
        names = [] if wrong else _names(db, kind, path, head, files)
    except (OSError, EOFError, zlib.error, UnicodeError, csv.Error, duckdb.Error) as error:
        raise UnreadableFileError(reason(error)) from None
    if wrong:
        raise UnreadableFileError(wrong)
    if not any(names):
        nothing = "no line is a JSON object; wanted one object a line"
        if head.lstrip().startswith(b"["):
            nothing += ", as `jq -c '.[]'` makes of an array"
        if kind in ("csv", "xlsx"):
            empty = "first line" if head or kind == "xlsx" else "file"
            nothing = f"no header line could be read: the {empty} is empty"
        raise UnreadableFileError(nothing)
    _refuse_names(names)
    if declared and not set(declared) & set(names):
        if is_text and (result := really(head)):
            raise UnreadableFileError(result)
        shown = ", ".join(repr(name[:40])[1:-1] for name in _as_header(names)[:12])
        hint = f"; {guess(names, declared)}" if kind == "csv" else ""
        raise UnreadableFileError(f'has no column "{declared[0]}" (columns: {shown}){hint}')
    return Shape(kind, _named(names), nul and files.encoding != "utf-16", files.sheet)


def _names(
    db: duckdb.DuckDBPyConnection,
    kind: str,
    path: Path,
    head: bytes,
    files: Files,
) -> list[str]:
    if kind == "xlsx":
        return header_of(path, files.sheet)
    if kind == "parquet":
        return [
            name
            for name, *_ in db.execute(
                f"describe from read_parquet({file_literal(path)})"
            ).fetchall()
        ]
    if kind == "jsonl":
        keys = db.execute(
            f"select distinct unnest(json_keys(line)) from {_lines([path])} "
            "where json_valid(line) and json_type(line) = 'OBJECT' order by 1"
        )
        return [name for (name,) in keys.fetchall()]
    first = next(
        csv.reader(
            io.StringIO(decoded(head, files.encoding, whole=False), newline=""),
            delimiter=files.delimiter,
        ),
        [],
    )
    return [name.strip() for name in first]


def _as_header(names: list[str]) -> list[str]:
    """Names as messages may show them: where one is a number, a day or a mail, all are values of a
    record.
    """
    is_record = any(re.fullmatch(r"[-+.,:/ 0-9]*[0-9][-+.,:/ 0-9]*|.*@.*", name) for name in names)
    return [shape(name) for name in names] if is_record else names


def _refuse_names(names: list[str]) -> None:
    counts = Counter(name.lower() for name in names if name)
    if twice := next((name for name in names[::-1] if counts[name.lower()] > 1), None):
        raise UnreadableFileError(
            f'the header names column "{_as_header(names)[names.index(twice)]}" twice'
        )
    if taken := next((name for name in names if name.lower() in RESERVED), None):
        raise UnreadableFileError(
            f'the column name "{taken}" is kept for the platform; rename it in the file'
        )
    if len(names) > MOST_COLUMNS:
        raise UnreadableFileError(
            f"its header has {len(names):,} columns; at most {MOST_COLUMNS:,} are read"
        )


def _named(names: list[str]) -> tuple[str, ...]:
    """The names, a column without one called after its position."""
    taken = {name.lower() for name in names}
    return tuple(
        name or next(c for c in (f"column{n}", f"column{n}_unnamed") if c not in taken)
        for n, name in enumerate(names)
    )


def read(
    db: duckdb.DuckDBPyConnection,
    table: str,
    shape: Shape,
    paths: list[Path],
    files: Files,
) -> None:
    """Make the temporary table of all records of files of one shape.

    Columns: the file's, as text; ``_path``; ``_line``, the record's number in its file, a header
    being 1; and ``_error``, what is wrong with a record that has no columns at all.

    Raises
    ------
    UnreadableFileError : a malformed record spans lines, as after an open quote
    """
    if shape.kind == "xlsx":
        _sheets(db, table, shape, paths)
        return
    if shape.kind == "parquet":
        names = ", ".join(
            f"cast({quoted(name)} as varchar) as {quoted(name)}" for name in shape.names
        )
        query = (
            f"select {names}, _path, (file_row_number + 1)::bigint as _line, null::varchar as "
            f"_error from read_parquet({_list(paths)}, filename = '_path', file_row_number = true, "
            "union_by_name = true)"
        )
    elif shape.kind == "jsonl":
        names = ", ".join(
            f"json_extract_string(object, '$.' || {literal(quoted(name))}) as {quoted(name)}"
            for name in shape.names
        )
        query = f"""
select {names}, _path, (_n - min(_n) over (partition by _path) + 1)::bigint as _line,
  case when object is null then 'not a JSON object: ' || line end as _error
from (select *, case when json_valid(line) and json_type(line) = 'OBJECT' then line end as object
  from (select *, row_number() over () as _n from {_lines(paths)}))
qualify trim(coalesce(line, '')) <> ''"""
    else:
        query = _csv(db, shape, paths, files)
    db.execute(f"create or replace temp table {table} as {query}")


def _sheets(db: duckdb.DuckDBPyConnection, table: str, shape: Shape, paths: list[Path]) -> None:
    columns = ", ".join(f"{quoted(name)} varchar" for name in (*shape.names, "_path"))
    db.execute(f"create or replace temp table {table} ({columns}, _line bigint, _error varchar)")
    marks = ", ".join("unnest(?::varchar[])" for _ in (*shape.names, "_path"))
    insert = f"insert into {table} select {marks}, unnest(?::bigint[]), unnest(?::varchar[])"
    for path in paths:
        result = records(path, shape.sheet, len(shape.names))
        while rows := list(islice(result, CHUNK)):
            cells, lines, errors = zip(*rows, strict=True)
            values = [list(column) for column in zip(*cells, strict=True)]
            db.execute(insert, [*values, [str(path)] * len(rows), list(lines), list(errors)])


def _list(paths: list[Path]) -> str:
    return "[" + ", ".join(map(file_literal, paths)) + "]"


def _lines(paths: list[Path]) -> str:
    """Text files as one column ``line``."""
    return (
        f"read_csv({_list(paths)}, columns = {{'line': 'VARCHAR'}}, header = false, auto_detect = "
        "false, delim = '\\x01', quote = '', escape = '', filename = '_path')"
    )


def _csv(db: duckdb.DuckDBPyConnection, shape: Shape, paths: list[Path], files: Files) -> str:
    """Good and malformed records; columns are read by position, so that no name of theirs can
    matter.
    """
    for kind in ("_errors", "_scans"):
        db.execute(f"drop table if exists _rejects{kind}")
    columns = ", ".join(f"'_c{n}': 'VARCHAR'" for n in range(len(shape.names)))
    db.execute(
        f"""create or replace temp table _good as select *, row_number() over () as _n
        from read_csv({_list(paths)}, header = true, auto_detect = false, all_varchar = true,
            columns = {{{columns}}}, delim = {literal(files.delimiter)}, quote = '"', escape = '"',
            encoding = {literal(files.encoding)}, null_padding = false, strict_mode = true,
            filename = '_path', store_rejects = true, rejects_table = '_rejects_errors',
            rejects_scan = '_rejects_scans')"""
    )
    torn = db.execute(
        "select min(line) from _rejects_errors where contains(trim(csv_line, chr(10) || chr(13)), "
        "chr(10))"
    ).fetchall()
    if torn[0][0] is not None:  # one open quote may swallow any number of good records
        raise UnreadableFileError(
            f"record {torn[0][0]} is malformed and spans lines: is a quote not closed?"
        )
    names = ", ".join(f"_c{n} as {quoted(name)}" for n, name in enumerate(shape.names))
    nulls = ", ".join(f"null::varchar as {quoted(name)}" for name in shape.names)
    error = "null::varchar"
    if (
        shape.has_nul
    ):  # a text with one is no text to half of all tools; PostgreSQL takes none either
        record = (
            f"concat_ws({literal(files.delimiter)}, "
            f"{', '.join(f'_c{n}' for n in range(len(shape.names)))})"
        )
        error = f"case when contains({record}, chr(0)) then 'NUL byte: ' || {record} end"
    # A rejected record at position r (header = 1) is the i-th of its file, so r - 1 - i good ones
    # precede it.
    return f"""
with bad as (
  select file_path as _path, line, min(lower(error_type::varchar) || case
    when error_type = 'INVALID ENCODING'
      then ' (if the file is latin-1, declare `encoding: latin-1`)'
    when length(csv_line) >= {KEPT} then ', only its first {KEPT} characters are kept'
    else '' end || ': ' || csv_line) as _error
  from _rejects_errors join _rejects_scans using (scan_id, file_id) group by all),
before as (
  select _path, precede, max(i) as skipped from (
    select _path, line - 1 - i as precede, i from (
      select _path, line, row_number() over (partition by _path order by line) as i from bad))
    group by all),
good as (select *, _n - min(_n) over (partition by _path) + 1 as _position from _good)
select {names}, good._path, (_position + 1 + coalesce(skipped, 0))::bigint as _line,
  {error} as _error
from good asof left join before on good._path = before._path and good._position > before.precede
union all
select {nulls}, _path, line::bigint as _line, _error from bad"""
