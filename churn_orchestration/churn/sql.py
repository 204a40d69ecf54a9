"""SQL as text, names and values quoted, and connections that install and load no extension."""

import datetime as dt
import re
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from glob import escape
from pathlib import Path

import duckdb


def quoted(name: str) -> str:
    """An SQL identifier, quoted.

    >>> quoted('order'), quoted('5" pipe')
    ('"order"', '"5"" pipe"')
    """
    return '"' + name.replace('"', '""') + '"'


def identifier(name: str) -> str:
    """An SQL identifier, quoted where DuckDB would read the plain name as something else.

    >>> identifier("amount_usd"), identifier("order"), identifier("net amount")
    ('amount_usd', '"order"', '"net amount"')
    """
    is_plain = re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and name.lower() not in _reserved()
    return name if is_plain else quoted(name)


def identifiers(names: Iterable[str]) -> str:
    """Several of them, separated by commas."""
    return ", ".join(map(identifier, names))


@cache
def _reserved() -> frozenset[str]:
    """The words of SQL that name no column unless they are quoted."""
    with closing(connect()) as db:
        words = db.execute(
            "select keyword_name from duckdb_keywords() "
            "where keyword_category in ('reserved', 'type_function', 'column_name')"
        ).fetchall()
    return frozenset(word for (word,) in words)


def literal(value: object) -> str:
    """An SQL literal for text, a path, a date or None.

    >>> literal("it's"), literal(dt.date(2024, 1, 2))
    ("'it''s'", "date '2024-01-02'")
    """
    if value is None:
        return "null"
    if isinstance(value, dt.date):
        return f"date '{value.isoformat()}'"
    return "'" + str(value).replace("'", "''") + "'"


def connect(
    database: str | Path = ":memory:", *, read_only: bool = False
) -> duckdb.DuckDBPyConnection:
    """A connection to a database; what a query lacks is never fetched from the internet.

    A file that others may replace is opened ``read_only``: the connection is to one of them.
    """
    connection = _opened(Path(database)) if read_only else duckdb.connect(str(database))
    connection.execute(
        "set autoinstall_known_extensions = false; set autoload_known_extensions = false"
    )
    return connection


def _opened(file: Path) -> duckdb.DuckDBPyConnection:
    """Open a database file that another process may replace at any moment.

    DuckDB opens a file by its name several times: for its headers, then for its blocks. Where
    another file took its place in between, it would read the blocks of one by the headers of the
    other, so both have to be of one file.
    """
    while True:
        before = _identity(file)
        try:
            connection = duckdb.connect(str(file), read_only=True)
        except duckdb.Error:
            if _identity(file)[:1] == before[:1]:  # it may be written to, and is the same file
                raise
            continue
        if _identity(file) == before:
            return connection
        connection.close()


def _identity(file: Path) -> tuple[object, ...]:
    """What tells a file from another of its name, and from itself before it was written to."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return ()
    return (stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns


def close_off(
    connection: duckdb.DuckDBPyConnection, folders: Iterable[Path], changing: Iterable[str] = ()
) -> None:
    """Let a database reach files of ``folders`` alone, for as long as it is open.

    Its settings are locked, but for those of ``changing``.
    """
    # Files are named in SQL by patterns, so a folder with a bracket has two spellings.
    spellings = dict.fromkeys(
        text for folder in folders for text in (str(folder), escape(str(folder)))
    )
    connection.execute(f"set allowed_directories = [{', '.join(map(literal, spellings))}]")
    connection.execute(f"set allowed_configs = [{', '.join(map(literal, changing))}]")
    connection.execute("set enable_external_access = false; set lock_configuration = true")


def within(column: str, days: Iterable[dt.date]) -> str:
    """An SQL condition: the column holds one of the days."""
    listed = ", ".join(map(literal, sorted(days)))
    return f"{column} in ({listed})" if listed else "false"
