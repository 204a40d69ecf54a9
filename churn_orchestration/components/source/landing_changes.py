"""What changed in a source's days, judged as they land: its profile from bronze, its changes
kept.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from churn_orchestration.churn.calendar import DAY, ClosedDays, days_between
from churn_orchestration.churn.rows import contract as contracts
from churn_orchestration.churn.watching import profile as profiles
from churn_orchestration.churn.watching.change import Change, sentence
from churn_orchestration.components.source.source_rules import SourceRules
from churn_orchestration.storage.open_changes import (
    accepted_changes,
    changes_before,
    forget_changes,
    keep_changes,
)
from churn_orchestration.storage.warehouse import Tables, literal, quoted

BLOCK, IGNORE = "block", "ignore"
CONTINUES_DAYS = 7
"""A column that changes again within so many days is in the same change still."""
_MOMENTS = ("date", "timestamp", "timestamptz")


def profile_of(
    tables: Tables, name: str, contract: contracts.Contract, first: dt.date, last: dt.date
) -> profiles.Profile:
    """What landed in bronze from ``first`` to ``last``, in counts by day."""
    bronze, days = f"bronze.{name}", len(list(days_between(first, last)))
    period = f"known_on between {literal(first)} and {literal(last)}"

    def by_day(query: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        result = tables.db.execute(query).fetchnumpy()
        return (result.pop("day").astype("datetime64[D]") - np.datetime64(first)).astype(
            int
        ), result

    def laid_out(query: str) -> dict[str, np.ndarray]:
        places, result = by_day(query)
        laid = {each: np.zeros(days) for each in result}
        for each, values in result.items():
            laid[each][places] = values
        return laid

    def column(value: str, *, number: bool = False, few: bool = False) -> profiles.Column:
        cells = profiles.cells(bronze, value, first, last)
        tables.db.execute(f"create or replace temp table {profiles.CELLS} as {cells}")
        values = np.zeros((0, days))
        if few:
            places, result = by_day(profiles.VALUES)
            values = np.zeros((int(result["place"].max(initial=-1)) + 1, days))
            values[result["place"].astype(int), places] = result["rows"]
        return profiles.Column(laid_out(profiles.counted(number=number)), values)

    rows = laid_out(
        f"select known_on as day, count(*)::double as rows from {bronze} where {period} group by 1"
    )
    kinds = {each.name: each for each in contract.columns if each.pii != "drop"}
    columns = {}
    for each in kinds.values():
        if each.type not in _MOMENTS and each.name not in contract.key:
            number = each.type.startswith(("integer", "decimal", "double")) and not each.pii
            few = each.type != "id" and not each.pii
            columns[each.name] = column(quoted(each.name), number=number, few=few)
    rest = [quoted(name) for name in kinds if name not in contract.key]
    told_apart = [list(map(quoted, contract.key)), rest]
    repeated = tuple(column(f"hash({', '.join(names)})") for names in told_apart if names)
    return profiles.Profile(first, rows["rows"], columns, repeated)


def changes_of(
    tables: Tables,
    source: SourceRules,
    days: Iterable[dt.date],
    absent: Iterable[dt.date],
    closed: ClosedDays,
) -> tuple[dict[dt.date, str], dict[dt.date, str]]:
    """What changed on days that have just landed in bronze: of days that go on, and of those that
    are held.

    The initial load is what later days are compared with, and is not judged itself. A day that is
    held is taken out of bronze at once, for the days after it are judged without it.
    """
    from churn_orchestration.churn.watching import changes as judging

    bronze, noted, held = f"bronze.{source.name}", dict[dt.date, str](), dict[dt.date, str]()
    [(initial,)] = tables.rows(f"select min(_partition) from {bronze}")
    days = [day for day in sorted(days) if initial and day > initial]
    forget_changes(tables, bronze, days)
    silent = (tables.days.refused_or_waived(bronze) - set(days)) | set(absent)
    profile = None
    for day in days:
        if profile is None:
            first = day - judging.LOOK_BACK_DAYS * DAY
            profile = profile_of(tables, source.name, source.contract, first, days[-1])
            silent |= {each for each in days_between(first, days[-1]) if each in closed}
        before = Before.of(tables, bronze, day)
        result = [
            replace(change, since=before.since(change))
            for change in judging.changes(profile, day, silent, before.unusual, before.accepted)
            if source.watch.get(change.column) != IGNORE
        ]
        new = [change for change in result if not before.is_accepted(change)]
        holds = any(source.watch.get(change.column) == BLOCK for change in new)
        keep_changes(tables, bronze, day, result, held=holds)
        if new:
            (held if holds else noted)[day] = sentence(new)
        if holds:
            silent.add(day)
            tables.replace_days(bronze, [day], f"from {bronze} limit 0")
            profile = None
    return noted, held


@dataclass(frozen=True)
class Before:
    """The changes of a table on the days before one.

    ``unusual``: their days by column, but for accepted ones; ``accepted``: by column, the first day
    of the last change that was accepted; ``running``: by column, the first day of one that is not
    over; ``settled``: columns and first days of what was accepted.
    """

    unusual: dict[str, set[dt.date]]
    accepted: dict[str, dt.date]
    running: dict[str, dt.date]
    settled: set[tuple[str, dt.date]]

    @classmethod
    def of(cls, tables: Tables, table: str, day: dt.date) -> "Before":
        """Those that are on record."""
        known = cls({}, {}, {}, accepted_changes(tables, table))
        for column, on, since in changes_before(tables, table, day):
            if (column, since) in known.settled:
                known.accepted[column] = max(since, known.accepted.get(column, since))
            else:
                known.unusual.setdefault(column, set()).add(on)
            if (day - on).days <= CONTINUES_DAYS:
                known.running[column] = since
        return known

    def since(self, change: Change) -> dt.date:
        """The first day of a change; that of the one that it continues, if it does."""
        return self.running.get(change.column, change.since)

    def is_accepted(self, change: Change) -> bool:
        """Whether a person accepted it."""
        return (change.column, change.since) in self.settled
