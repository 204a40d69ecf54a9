"""Changes in what landed that nobody has accepted, and how they are accepted."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.sql import within
from churn_orchestration.churn.watching.change import Change, sentence
from churn_orchestration.storage.warehouse import Tables

HELD = "held: "
"""How the reason reads for which a day is refused that changed where `block` is declared: a
person sees it first, and ``meta.changes`` says it to programs.
"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A change that nobody has accepted: all that changed from one day on.

    ``tables``: what is said of each; ``columns``: of each, which changed; ``since_shown`` and
    ``last``: the first day that shows it, and the newest; ``held``: days that are held back for it.
    """

    since: dt.date
    since_shown: dt.date
    last: dt.date
    tables: dict[str, str]
    columns: dict[str, set[str]]
    held: list[dt.date]

    def says(self) -> str:
        """In a sentence."""
        return "; ".join(f"{table}: {said}" for table, said in self.tables.items())


def open_events(tables: Tables, until: dt.date = dt.date.max) -> list[Event]:
    """The changes up to a day that nobody has accepted, the oldest first; as they were said
    first.
    """
    if not tables.columns("meta.changes"):  # a door that was published before there were any
        return []
    rows = tables.rows(_OPEN, [until])
    result = []
    for since in dict.fromkeys(row[2] for row in rows):
        of = [row for row in rows if row[2] == since]
        by_table: dict[str, list[Change]] = {}
        for table, column, _, day, _, factor, says, _ in of:
            by_table.setdefault(table, []).append(Change(column, day, since, factor, says))
        result.append(
            Event(
                since=since,
                since_shown=min(row[3] for row in of),
                last=max(row[4] for row in of),
                tables={table: sentence(changes) for table, changes in by_table.items()},
                columns={
                    table: {change.column for change in changes}
                    for table, changes in by_table.items()
                },
                held=sorted({day for row in of for day in row[7]}),
            )
        )
    return result


_OPEN = """
select table_name, column_name, since, min(day), max(day), arg_min(factor, day), arg_min(says, day),
  coalesce(list(distinct day) filter (held), [])
from meta.changes anti join meta.accepted using (table_name, column_name, since)
where day <= ? group by table_name, column_name, since
order by since, table_name, column_name <> 'rows', column_name"""


def forget_changes(tables: Tables, table: str, days: Iterable[dt.date]) -> None:
    """Drop what changed in a table on days that are judged again."""
    tables.db.execute(
        f"delete from meta.changes where table_name = ? and {within('day', days)}", [table]
    )


def keep_changes(
    tables: Tables, table: str, day: dt.date, changes: Sequence[Change], *, held: bool
) -> None:
    """Store what changed in a table on a day; ``held``: whether the day is held back for it."""
    if rows := [[table, day, c.column, c.since, c.factor, c.says, held] for c in changes]:
        tables.insert("meta.changes", rows)


def changes_before(tables: Tables, table: str, day: dt.date) -> list[tuple[str, dt.date, dt.date]]:
    """Column, day and first day of each change that was seen in a table before a day, by day."""
    return tables.rows(_BEFORE, [table, day])


_BEFORE = """
select column_name, day, since from meta.changes where table_name = ? and day < ?
order by day, column_name"""


def accepted_changes(tables: Tables, table: str) -> set[tuple[str, dt.date]]:
    """Column and first day of each change in a table that a person accepted."""
    return set(
        tables.rows("select column_name, since from meta.accepted where table_name = ?", [table])
    )


def accept(tables: Tables, table: str, day: dt.date, reason: str) -> str:
    """Let what has changed in a table up to a day be right: it is not an open change any more; what
    it was.

    Raises
    ------
    BusinessError : nothing has changed in it by then that is not accepted yet
    """
    events = [
        event for event in open_events(tables) if event.since <= day and table in event.tables
    ]
    if not events:
        there = sorted(
            {f"{t} {event.since}" for event in open_events(tables) for t in event.tables}
        )
        message = f"open are {', '.join(there)}" if there else "no change is open"
        raise BusinessError(f"{table}: no change up to {day} waits for anybody: {message}")
    accepted = [
        [table, column, event.since, reason] for event in events for column in event.columns[table]
    ]
    tables.insert("meta.accepted", accepted)
    return "; ".join(event.tables[table] for event in events)
