"""Reading one sheet of an Excel workbook as text, record by record."""

import datetime as dt
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from churn_orchestration.landing.sniffing import UnreadableFileError


@contextmanager
def _opened(path: Path, sheet: str | None) -> Iterator[Any]:
    """A sheet of a workbook; the only one where none is named. Raises UnreadableFileError."""
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # openpyxl tells of styles and validations that it leaves out
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except (BadZipFile, KeyError, ValueError, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            raise UnreadableFileError("it is no Excel workbook, or was cut") from None
        try:
            names = book.sheetnames
            if sheet is None and len(names) > 1:
                raise UnreadableFileError(
                    f"it has {len(names)} sheets: declare `sheet: {names[0]}` next to `files`, or "
                    f"another of {', '.join(names)}"
                )
            if sheet is not None and sheet not in names:
                raise UnreadableFileError(f'it has no sheet "{sheet}" (sheets: {", ".join(names)})')
            yield book[sheet or names[0]]
        finally:
            book.close()


def header_of(path: Path, sheet: str | None) -> list[str]:
    """The names in the first row, up to the last that is one. Raises UnreadableFileError."""
    with _opened(path, sheet) as result:
        first = next(result.iter_rows(values_only=True), ())
    names = [_text(cell) or "" for cell in first]
    while names and not names[-1].strip():
        names.pop()
    return [name.strip() for name in names]


def records(
    path: Path, sheet: str | None, width: int
) -> Iterator[tuple[list[str | None], int, str | None]]:
    """Every row below the first that holds something: its cells as text, its line, what is wrong
    with it.
    """
    with _opened(path, sheet) as result:
        for line, row in enumerate(result.iter_rows(min_row=2, values_only=True), 2):
            cells = [_text(cell) for cell in row]
            if any(cell is not None for cell in cells[width:]):
                message = "too many columns: " + ",".join(cell or "" for cell in cells)
                yield [None] * width, line, message
            elif any(cell is not None for cell in cells):
                yield (cells + [None] * width)[:width], line, None


def _text(cell: object) -> str | None:
    """A cell as a CSV file would have it: times in ISO, a day without its midnight.

    >>> _text(dt.datetime(2024, 1, 5)), _text(17850.0), _text(True)
    ('2024-01-05', '17850.0', 'true')
    """
    if cell is None or cell == "":
        return None
    if isinstance(cell, dt.datetime):
        return cell.date().isoformat() if cell.time() == dt.time() else cell.isoformat(" ")
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
