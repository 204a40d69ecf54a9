"""Daily parts: what a day of an entity comes to, in exact pieces that merge into any window.

A version of (entity, day) holds its *complete* parts as known on ``known_on``. It is current until
``superseded_on``, when a late row or a correction makes the next one, be it one of no event at all.
So what may be seen at an as_of are plain rows: ``day <= as_of and known_on <= as_of <
superseded_on``.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from churn_orchestration.churn.features.declared import EventSource, Measure, label_of
from churn_orchestration.churn.features.seen import read_from
from churn_orchestration.churn.sql import identifier, identifiers, literal

OPEN = dt.date(9999, 12, 31)
"""``superseded_on`` of a version that is current."""

SUM, LOW, HIGH, MASK, VALUES = "sum", "min", "max", "bit_or", "values"
EVENTS = "events"


@dataclass(frozen=True)
class Part:
    """One column of the daily parts.

    Parameters
    ----------
    name : of the column
    sql : aggregate over the events of a day
    meaning : in words
    merge : how the parts of days become those of a window: ``sum``, ``min``, ``max``, ``bit_or`` of
        a mask, or ``values``, a list of distinct values whose number is counted
    type : BIGINT, HUGEINT or VARCHAR[]
    """

    name: str
    sql: str
    meaning: str = ""
    merge: str = SUM
    type: str = "BIGINT"

    @property
    def of_nothing(self) -> str:
        """SQL: the part of a day without an event."""
        return f"cast({'0' if self.merge in (SUM, MASK) else 'null'} as {self.type})"


def parts(source: EventSource) -> list[Part]:
    """The daily parts of a source, in the order of its table. Amounts are integers of their last
    decimal.
    """
    counted = Part(
        EVENTS, "count(*)", f"{source.noun}s of the day; 0: what was known of it is void"
    )
    return [counted, *_of_measures(source), *_of_categories(source), *_of_flags(source)]


def ends(source: EventSource) -> dict[str, tuple[str, str]]:
    """The parts of the first and the last active day that slopes read: by name, the part and which
    end.
    """
    return {
        f"{m.name}_{end}_{part}": (f"{m.name}_{part}", end)
        for m in source.measures
        if m.slope
        for end in ("first", "last")
        for part in ("sum", "filled")
    }


def repeats(source: EventSource) -> dict[str, str]:
    """By part of distinct values, what the number of those on at least two days is called, where
    that is declared.
    """
    return {f"{c.name}_values": f"{c.name}_again" for c in source.categories if c.repeated}


def _of_measures(source: EventSource) -> Iterator[Part]:
    for m in source.measures:
        exact, unit = scaled(m), f"{m.unit or m.column} x {10**m.decimals}"
        squares = f"coalesce(sum(cast({exact} as hugeint) * {exact}), 0)"
        yield Part(
            f"{m.name}_filled", f"count({identifier(m.column)})", f"{source.noun}s with {m.column}"
        )
        yield Part(f"{m.name}_sum", f"coalesce(sum({exact}), 0)", f"sum of {m.column}, {unit}")
        yield Part(
            f"{m.name}_squares",
            squares,
            f"sum of squares of {m.column}, ({unit}) squared",
            type="HUGEINT",
        )
        yield Part(f"{m.name}_min", f"min({exact})", f"smallest {m.column}, {unit}", LOW)
        yield Part(f"{m.name}_max", f"max({exact})", f"largest {m.column}, {unit}", HIGH)


def _of_categories(source: EventSource) -> Iterator[Part]:
    for category in source.categories:
        name, column = category.name, identifier(category.column)
        for value in category.values:
            hit = f"count(*) filter ({column} = {literal(value)})"
            yield Part(
                f"{name}_is_{label_of(value)}", hit, f"{source.noun}s with {column} = {value}"
            )
        if category.closed:
            bits = " ".join(
                f"when {literal(value)} then {1 << n}" for n, value in enumerate(category.values)
            )
            known = f"case {column} {bits} else {1 << len(category.values)} end"
            mask = (
                f"coalesce(bit_or(cast(case when {column} is null then 0 "
                f"else {known} end as bigint)), 0)"
            )
            meaning = f"which values of {column}: a bit each, as declared; one for all others"
            yield Part(f"{name}_seen", mask, meaning, MASK)
        else:
            listed = f"list_sort(list(distinct {column}) filter ({column} is not null))"
            yield Part(
                f"{name}_values", listed, f"distinct values of {column}", VALUES, "VARCHAR[]"
            )


def _of_flags(source: EventSource) -> Iterator[Part]:
    for flag in source.flags:
        hits = f"count(*) filter ({flag.condition})"
        yield Part(f"{flag.name}_hits", hits, f"{source.noun}s with {flag.condition}")


def scaled(m: Measure) -> str:
    """SQL: a measure as an exact 64-bit integer, in units of its last kept decimal."""
    exact = f"cast({identifier(m.column)} as decimal(38, {m.decimals}))"
    return f"cast({exact} * {10**m.decimals} as bigint)"


def touched(source: EventSource, entity: str, days: Iterable[dt.date]) -> str:
    """SQL: every (_entity, _day) whose parts may change when ``days`` land, or land again.

    Those of the rows that landed on them; those that an earlier landing of the same days touched;
    and, with a key, those of every other version of the events that landed.
    """
    landed = f"_partition in ({', '.join(literal(day) for day in sorted(days))})"
    result = [
        f"select {identifier(source.entity)} as _entity, day as _day from {source.table} where "
        f"{landed}",
        f"select {identifier(entity)}, day from {source.days_table} where {landed}",
    ]
    if source.key:
        again = f"select {identifiers(source.key)} from {source.table} where {landed}"
        same = " and ".join(
            f"e.{name} is not distinct from k.{name}" for name in map(identifier, source.key)
        )
        result.append(
            f"select e.{identifier(source.entity)}, e.day from {source.table} as e "
            f"semi join ({again}) as k on {same}"
        )
    return (
        f"select * from ({' union '.join(result)}) where _entity is not null and _day is not null"
    )


def versions(source: EventSource, entity: str, start: dt.date, only: str | None = None) -> str:
    """SQL: every version of the daily parts of a source, in the order of entity, day and known_on.

    Parameters
    ----------
    entity : name of the entity's column in the table of parts
    start : the first partition, to which all that was known before it belongs
    only : a table of (_entity, _day): the versions of these alone; of all where not given
    """
    made = ", ".join(f"cast({part.sql} as {part.type}) as {part.name}" for part in parts(source))
    gone = ", ".join(f"{part.of_nothing} as {part.name}" for part in parts(source))
    return f"""
with _events as ({_intervals(source, only)}),
_spans as (
  select _entity, _day, min(known_on) < max(known_on) or min(_until) < {literal(OPEN)} as _changes
  from _events group by all),
_plain as (
  select _entity, _day, known_on, {made}
  from _events semi join (from _spans where not _changes) using (_entity, _day) group by all),
_several as (from _events semi join (from _spans where _changes) using (_entity, _day)),
_points as (
  select _entity, _day, known_on as _point from _several
  union select _entity, _day, _until from _several where _until < {literal(OPEN)}),
_changed as (
  select _entity, _day, _point as known_on, {made}
  from _several join _points using (_entity, _day) where known_on <= _point and _point < _until
  group by _entity, _day, _point),
_gone as (
  select _entity, _day, _point as known_on, {gone}
  from _points anti join (select _entity, _day, known_on as _point from _changed)
    using (_entity, _day, _point))
select _entity as {identifier(entity)}, _day as day, known_on,
  lead(known_on, 1, {literal(OPEN)}) over (partition by _entity, _day order by known_on) \
as superseded_on,
  greatest(known_on, {literal(start)}) as _partition, \
{", ".join(part.name for part in parts(source))}
from (from _plain union all by name from _changed union all by name from _gone)
order by _entity, _day, known_on"""


def _intervals(source: EventSource, only: str | None) -> str:
    """SQL: the events with ``_entity``, ``_day`` and the day ``_until`` which each version of them
    stood.
    """
    chosen = "where _entity is not null and _day is not null"
    pairs = f"semi join {only} using (_entity, _day)" if only else ""
    named = f"select *, {identifier(source.entity)} as _entity, day as _day"
    if not source.key:
        rows = f"{named}, {literal(OPEN)} as _until from {source.table}"
        return f"select * from ({rows}) {pairs} {chosen}"
    events = source.table
    if only:
        keys = f"select {identifiers(source.key)} from ({named} from {source.table}) {pairs}"
        same = " and ".join(
            f"e.{name} is not distinct from k.{name}" for name in map(identifier, source.key)
        )
        events = f"(select e.* from {source.table} as e semi join ({keys}) as k on {same})"
    # Of two versions that became known on one day the last in this order counts, as in `visible`.
    later = [
        f"{sql} desc nulls first" for sql in (identifier(source.entity), "day", *read_from(source))
    ]
    order = ", ".join(["known_on", "_partition", *later])
    until = (
        f"lead(known_on, 1, {literal(OPEN)}) over (partition by {identifiers(source.key)} "
        f"order by {order})"
    )
    return (
        f"select * from ({named}, {until} as _until from {events}) {pairs} {chosen} "
        "and _until > known_on"
    )
