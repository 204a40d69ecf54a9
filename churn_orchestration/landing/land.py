"""Landing: from files to raw rows, as they came. The manifest says which day took in which file.

A file first taken in while day k is refreshed belongs to k for ever; a repeated refresh reads the
same files.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from churn_orchestration.churn.sql import quoted, within
from churn_orchestration.landing.arrivals import arrivals_of, missing
from churn_orchestration.landing.corrections import refuse_changed_history
from churn_orchestration.landing.event_days import beyond, split_sql
from churn_orchestration.landing.raw_rows import read_all, together_sql
from churn_orchestration.landing.repeats import drop_repeated, drop_what_came_again
from churn_orchestration.landing.source_landing import FileLanding, Landed, TakenFile


def land(landing: FileLanding) -> Landed:
    """Take in what has come for the days of a landing; manifest and rows are stored together."""
    tables, contract, is_daily = landing.tables, landing.contract, landing.files.is_daily
    arrivals = arrivals_of(landing)
    taken = arrivals.taken
    landed = Landed(rows=dict.fromkeys(landing.days, 0), refused=arrivals.refused)
    groups, headers = read_all(landing, taken, landed)
    if (
        not is_daily or contract.event_time
    ):  # else the same rows of another day say that nothing changed
        landed.repeated = drop_repeated(landing, arrivals, groups)
    if not is_daily and groups:
        refuse_changed_history(landing, landed, taken, groups)
        landed.beyond = beyond(
            tables, contract, landing.files.pattern, together_sql(groups), max(landing.days)
        )
    entries = [replace(entry, header=headers.get(entry.file)) for entry in arrivals.entries]
    with tables.transaction():
        tables.manifest.record(landing.name, entries)
        landed.rows |= _replace(landing, taken, groups, landed)
    if is_daily:
        _look_for_missing_files(landing, taken, landed)
    return landed


def _look_for_missing_files(
    landing: FileLanding, taken: Sequence[TakenFile], landed: Landed
) -> None:
    """Note days without a file; an initial load without any file is refused."""
    files, start = landing.files, landing.start
    landed.missing = missing(landing)
    landed.strays = files.strays(landing.folder)
    if start in landing.days and not landed.rows[start] and not taken:
        unread = f"; no day can be read in {', '.join(landed.strays[:5])}" if landed.strays else ""
        landed.refused.setdefault(
            start, f"no file {files.pattern} in the landing folder {landing.folder}{unread}"
        )


def _replace(
    landing: FileLanding, taken: Sequence[TakenFile], groups: Sequence[str], landed: Landed
) -> dict[dt.date, int]:
    """Store what was read; rows whose file is gone from the landing folder by now stay as they are.

    But not those of a history that are in another file now, as after a renaming.
    """
    tables, raw, days = landing.tables, landing.raw, landing.days
    is_daily = landing.files.is_daily
    arrived = together_sql(groups or [_empty(landing)])
    if not is_daily:
        arrived = split_sql(landing.contract, landing.start, days, f"({arrived})")
    if tables.columns(raw):
        tables.db.execute("create or replace temp table _again (_file varchar, _partition date)")
        partitions = {item: [item.partition] if is_daily else days for item in taken}
        if again := [[item.file, day] for item, those in partitions.items() for day in those]:
            tables.insert("_again", again)
        kept = (
            f"from {raw} anti join _again using (_file, _partition) "
            f"where {within('_partition', days)}"
        )
        if not is_daily:
            tables.db.execute(f"create or replace temp table _kept as {kept}")
            landed.repeated += drop_what_came_again(landing, f"({arrived})")
            kept = "from _kept"
        arrived = f"({arrived}) union all by name ({kept})"
    return tables.replace_days(raw, days, f"from ({arrived}) order by _partition, _file, _line")


def _empty(landing: FileLanding) -> str:
    """The name of a temporary table of raw rows without any."""
    columns = "".join(f"{quoted(name)} varchar, " for name in landing.contract.sources)
    landing.tables.db.execute(
        f"create or replace temp table _none ({columns}_line bigint, _error varchar, _file "
        "varchar, _partition date, known_on date)"
    )
    return "_none"
