"""Corrections in a history: rows of days taken in before that are others now are refused."""

import datetime as dt
import re
from collections.abc import Sequence

from churn_orchestration.churn.sql import literal, quoted, within
from churn_orchestration.landing.event_days import split_sql
from churn_orchestration.landing.raw_rows import together_sql
from churn_orchestration.landing.source_landing import FileLanding, Landed, TakenFile


def refuse_changed_history(
    landing: FileLanding, landed: Landed, taken: Sequence[TakenFile], groups: Sequence[str]
) -> None:
    """A history whose rows of days taken in before are others now is refused: they would be lost
    unsaid.

    Rows that are gone are no fault where rows have a day: many a history is the last months only.
    """
    tables, contract, raw = landing.tables, landing.contract, landing.raw
    valid = sorted(tables.days.stored(raw) - set(landed.rows))
    if _is_as_taken_in(landing, taken, valid):
        return
    arrived = together_sql(groups)
    split = split_sql(contract, landing.start, valid, f"({arrived})")
    there = set(tables.columns(raw)) & {n for n, *_ in tables.rows(f"describe {arrived}")}
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
    union all select {compared}, _partition, _file, -1 from {raw}
    where {within("_partition", valid)})
  group by {compared}, _partition)
group by _partition having bool_or(is_other) order by _partition limit 1"""
    )
    for day, now, before, file in result:
        message = (
            _late_rows_message(day, now, before)
            if contract.event_time
            else _undated_message(landing.files.pattern, day, file)
        )
        landed.refused |= dict.fromkeys(landed.rows, message)


def _is_as_taken_in(
    landing: FileLanding, taken: Sequence[TakenFile], days: Sequence[dt.date]
) -> bool:
    """Whether each of ``days`` took in the files with the content that they have."""
    recorded = landing.tables.manifest.newest_by_day(landing.name)
    contents = {place: entry.sha256 for place, entry in recorded.items()}
    return all(contents.get((item.file, day)) == item.content for item in taken for day in days)


def _undated_message(pattern: str, day: dt.date, file: str) -> str:
    dated = re.sub(r"(\.[^/]*)?$", r"_{day}\1", pattern, count=1)
    return (
        f"{file} changed after {day} took it in, and its rows have no day: what changed cannot "
        "be distinguished from what was there. Name the day in the file "
        f'(`files: "{dated}"`): what was taken in stays, and '
        f"what a file brings is known from its day on. Only if what {day} took in was wrong, "
        f"take it in again (--from {day}): all that the file says then counts as known on {day}"
    )


def _late_rows_message(day: dt.date, now: int, before: int) -> str:
    message = f"the history's rows of {day} are not those that were taken in: corrections"
    if now > before:
        message = f"the history has {now} rows of {day}, and {before} were taken in: late rows"
    return (
        f"{message} need daily files, or that day refreshed again (--from {day}), "
        "as if known on their day"
    )
