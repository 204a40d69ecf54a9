"""Rows as a file for people, .csv or .xlsx, or for machines, .parquet."""

import csv
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.storage.warehouse import literal
from churn_orchestration.terminal import visible

if TYPE_CHECKING:
    import duckdb

_FORMULA = re.compile(r"(^|;\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet begins to compute, full-width signs too; in many countries a `;` begins a
cell.
"""
Rows = tuple[list[str], list[tuple[Any, ...]]]
"""Header and cells."""


def refuse_other_names(out: Path) -> None:
    """Refuse a file whose name does not say how it is written. Raises BusinessError."""
    if out.suffix not in (".parquet", *_WRITERS):
        raise BusinessError(f"--out {out}: wanted a name that ends in .csv, .xlsx or .parquet")


def write_rows(db: "duckdb.DuckDBPyConnection", select: str, out: Path) -> int:
    """Write what a query selects, in its order; the number of rows.

    A CSV begins with a byte-order mark, without which spreadsheets read UTF-8 wrongly, and in it as
    in a workbook a text that a spreadsheet would compute begins with an apostrophe. A Parquet file
    has the values as they are.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".parquet":
        [(count,)] = db.execute(f"copy ({select}) to {literal(out)} (format parquet)").fetchall()
        return int(count)
    result = db.execute(select)
    header = [name for name, *_ in result.description]
    rows = [tuple(map(_cell, row)) for row in result.fetchall()]
    _WRITERS[out.suffix](header, rows, out)
    return len(rows)


def _cell(value: Any) -> Any:
    r"""A value as a cell that no spreadsheet takes for a formula, and no terminal for a command.

    >>> _cell("=1+1"), _cell("a;-1"), _cell(-5), _cell("\t=A1"), _cell("C-7")
    ("'=1+1", "a;'-1", -5, '\\t=A1', 'C-7')
    >>> _cell(["orders_count_90d", "=x"])
    "orders_count_90d; '=x"
    """
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", visible(value).replace("\t", r"\t").replace("\n", r"\n"))


def _write_csv(header: Sequence[str], rows: Sequence[tuple[Any, ...]], out: Path) -> None:
    with out.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(chain([header], rows))


def _write_xlsx(header: Sequence[str], rows: Sequence[tuple[Any, ...]], out: Path) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("customers")
    sheet.freeze_panes = "C2"
    for cells in chain([header], rows):
        sheet.append(list(cells))
    book.save(out)


_WRITERS: dict[str, Callable[[Sequence[str], Sequence[tuple[Any, ...]], Path], None]] = {
    ".csv": _write_csv,
    ".xlsx": _write_xlsx,
}
