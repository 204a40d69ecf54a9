"""A session of the warehouse: queries, and transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb


class WarehouseError(Exception):
    """A table cannot take what was given; the message names table, column and remedy."""


class StrangerError(WarehouseError):
    """A row came with a day that is not its own."""


class Session:
    """An open connection ``db`` to the warehouse of the folder ``state``."""

    def __init__(self, db: duckdb.DuckDBPyConnection, state: Path) -> None:
        self.db, self.state = db, state
        self._in_transaction = False

    def rows(self, query: str, parameters: list[object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query; the result is closed at once, as the client asks for."""
        return self.db.execute(query, parameters or []).fetchall()

    def records(self, query: str) -> list[dict[str, Any]]:
        """All rows of a query by the names of its columns; null is None."""
        result = self.db.execute(query)
        names = [name for name, *_ in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def columns(self, table: str) -> dict[str, str]:
        """Column names and types of a table or view, in order; empty where there is none of that
        name.
        """
        result = self.rows(
            "select column_name, data_type from duckdb_columns() where database_name = "
            "current_database() and schema_name || '.' || table_name = ? order by column_index",
            [table],
        )
        return dict(result)

    def insert(self, table: str, rows: list[list[Any]]) -> None:
        """Add rows, column by column: 70 times as fast as ``executemany`` row by row."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        values = ", ".join(f"unnest(${n})" for n in range(1, len(columns) + 1))
        self.db.execute(f"insert into {table} select {values}", columns)

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
