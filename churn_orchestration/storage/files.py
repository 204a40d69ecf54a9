"""Files put in place whole or not at all, and their names in SQL."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from churn_orchestration.churn.sql import literal


def literal_parquet(path: Path) -> str:
    """SQL that reads one Parquet file, whatever its name ends in."""
    return f"read_parquet({file_literal(path)})"


def swap_in(temporary: Path, path: Path) -> None:
    """Put a finished file in the place of another: synced, then renamed; no reader sees half of
    it.
    """
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    temporary.write_text(text, encoding="utf-8")
    swap_in(temporary, path)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file of JSON holds; where there is none, it is made and kept."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    result = make()
    write_text(path, json.dumps(result, indent=1))
    return result


def file_literal(path: Path) -> str:
    """An SQL literal of a file to read: DuckDB takes its name for a pattern, and may read another
    file.

    >>> file_literal(Path("orders[1].csv"))
    "'orders[[]1].csv'"
    """
    return literal(re.sub(r"([*?[])", r"[\1]", str(path)))
