"""Rows of monitoring and measures: kept in Parquet by the day they were measured, read back over
many.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from churn_orchestration.churn.sql import identifier
from churn_orchestration.storage.files import file_literal
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, tuple[str, str]]
"""Name -> type and meaning."""
Rows: TypeAlias = "Sequence[Mapping[str, Any]] | pd.DataFrame"


def read_files(files: Iterable[Path]) -> str:
    """SQL, in brackets: the rows of Parquet files, one after the other."""
    return f"(from read_parquet([{', '.join(map(file_literal, files))}]))"


def put_rows(
    tables: Tables, table: str, day: dt.date, rows: Rows, columns: Columns, order: str
) -> int:
    """Store rows as a day of a table; their number. A day without one keeps the types."""
    import pandas as pd

    tables.db.register("_measured", pd.DataFrame(rows, columns=list(columns)))
    typed = ", ".join(
        f"{identifier(name)}::{'varchar' if kind == 'text' else kind} as {identifier(name)}"
        for name, (kind, _) in columns.items()
    )
    count = tables.put_day(table, day, f"select {typed} from _measured order by {order}")
    tables.db.unregister("_measured")
    return count


def described(columns: Columns) -> list[dg.TableColumn]:
    """The columns as the UI shows them."""
    return [dg.TableColumn(name, *words) for name, words in columns.items()]
