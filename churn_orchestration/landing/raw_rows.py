"""From the files of a landing to temporary tables of raw rows, one of each shape; a file that
cannot be read refuses its day.
"""

from collections.abc import Sequence

import duckdb

from churn_orchestration.landing.reading import Shape, read, shape_of
from churn_orchestration.landing.sniffing import UnreadableFileError, reason
from churn_orchestration.landing.source_landing import FileLanding, Landed, TakenFile


def read_all(
    landing: FileLanding, taken: Sequence[TakenFile], landed: Landed
) -> tuple[list[str], dict[str, list[str]]]:
    """The names of the temporary tables, and the columns of each file that could be read."""
    groups, headers = _by_shape(landing, taken, landed)
    tables = []
    for number, (shape, items) in enumerate(groups.items()):
        table = f"_group_{number}"
        try:
            _read(landing, table, shape, items)
        except (duckdb.Error, UnreadableFileError):
            sound = [item for item in items if _reads_alone(landing, shape, item, landed)]
            if not sound:
                continue
            _read(landing, table, shape, sound)
        tables.append(table)
    return tables, headers


def together_sql(tables: Sequence[str]) -> str:
    """SQL of the rows of all tables, a column that one lacks being null."""
    return " union all by name ".join(f"(from {table})" for table in tables)


def _by_shape(
    landing: FileLanding, taken: Sequence[TakenFile], landed: Landed
) -> tuple[dict[Shape, list[TakenFile]], dict[str, list[str]]]:
    before = {name.lower(): name for name in landing.tables.columns(landing.raw)}
    groups: dict[Shape, list[TakenFile]] = {}
    headers: dict[str, list[str]] = {}
    for item in taken:
        try:
            shape = shape_of(landing.tables.db, item.path, landing.files, landing.contract.sources)
            _refuse_other_case(before, shape)
        except UnreadableFileError as error:
            _refuse(landing, landed, item, str(error))
        else:
            groups.setdefault(shape, []).append(item)
            headers[item.file] = list(shape.names)
    return groups, headers


def _refuse_other_case(before: dict[str, str], shape: Shape) -> None:
    """``before``: the names in the raw table, by their lower case."""
    for name in shape.names:
        if before.get(name.lower(), name) != name:
            raise UnreadableFileError(
                f'its column "{name}" was called "{before[name.lower()]}" before; rename it'
            )


def _refuse(landing: FileLanding, landed: Landed, item: TakenFile, reason: str) -> None:
    """Refuse the day of a file; all days, where the file is a history that holds rows of any of
    them.
    """
    for day in [item.partition] if landing.files.is_daily else landed.rows:
        landed.refused[day] = f"{item.file}: {reason}"


def _reads_alone(landing: FileLanding, shape: Shape, item: TakenFile, landed: Landed) -> bool:
    try:
        _read(landing, "_group_alone", shape, [item])
    except UnreadableFileError as error:
        _refuse(landing, landed, item, str(error))
        return False
    except duckdb.Error as error:
        _refuse(landing, landed, item, reason(error))
        return False
    return True


def _read(landing: FileLanding, table: str, shape: Shape, items: Sequence[TakenFile]) -> None:
    db = landing.tables.db
    read(db, "_records", shape, [item.path for item in items], landing.files)
    db.execute(
        "create or replace temp table _taken (_path varchar, _file varchar, _partition date, "
        "known_on date)"
    )
    landing.tables.insert(
        "_taken", [[str(item.path), item.file, item.partition, item.known_on] for item in items]
    )
    rows = "select * exclude (_path) from _records join _taken using (_path)"
    db.execute(f"create or replace temp table {table} as {rows}")
