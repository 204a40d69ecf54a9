"""Point-in-time features of one as_of as SQL: daily parts, grouped once into rings by age, then
windows.

A feature row of ``as_of`` is a function of the rows with ``day <= as_of and known_on <= as_of`` and
of nothing else. All is integers until one final division (``catalogue``), so that no sum depends on
the order of its rows. Names inside the SQL are numbered (source 0 is ``_s0``): no declared name
meets one of ours.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from churn_orchestration.churn.features.catalogue import features_alone, spans_of
from churn_orchestration.churn.features.changes import (
    changes_at,
    changes_until,
    changing,
    of_changes,
    outputs,
)
from churn_orchestration.churn.features.declared import ALL, AttributeTable, EventSource, FeatureSet
from churn_orchestration.churn.features.parts import (
    HIGH,
    LOW,
    SUM,
    VALUES,
    Part,
    ends,
    parts,
    repeats,
    scaled,
)
from churn_orchestration.churn.features.peers import among_peers, edges_of, fitted_on, slim
from churn_orchestration.churn.features.seen import last_known, visible_parts
from churn_orchestration.churn.sql import identifier, literal

RHYTHM = ("_youngest", "_oldest", "_gaps", "_gap_sum", "_gap_squares")
"""Of a merged row: days since the last and first active day; number, sum and squares of the gaps
between.
"""
THIRDS = ("_third1", "_third2", "_third3")
"""Of a merged row: events in each third of the life seen so far."""


@dataclass(frozen=True)
class Checkpoint:
    """What all days up to ``through`` come to by entity, as known on ``known_by``, in a table.

    It replaces the rows of those days at any as_of from ``known_by`` on, but for entities of
    which a row of those days became known in between. What is computed does not depend on whether
    there is one.
    """

    table: str
    through: dt.date
    known_by: dt.date


@dataclass(frozen=True)
class Checkpoints:
    """Of one source: the merged parts of days older than every window, and the rhythm up to a later
    day.
    """

    merged: Checkpoint
    rhythm: Checkpoint


def features_at(
    declared: FeatureSet, as_of: dt.date, checkpoints: Mapping[str, Checkpoints] | None = None
) -> str:
    """SQL: the feature table of one as_of, one row per entity seen by then, in the entity's order.

    Columns: the entity, ``as_of``, and the features in the order of the catalogue. Every entity of
    any source or attribute table is there, however long ago it was last seen. ``checkpoints``: by
    name of their source.
    """
    ctes: list[str] = []
    for number, source in enumerate(declared.sources):
        ctes += _source_ctes(
            declared, source, f"_s{number}", as_of, (checkpoints or {}).get(source.name)
        )
    for number, attributes in enumerate(declared.attributes):
        ctes.append(f"_a{number} as ({attributes_at(attributes, as_of)})")
    ctes += [f"_u{number} as ({own.at(as_of)})" for number, own in enumerate(declared.own)]
    alone = f"with {', '.join(ctes)}\n{final(declared, literal(as_of), '_entity')}"
    return f"{with_peers(declared, alone, as_of)}\norder by {identifier(declared.entity)}"


def with_peers(declared: FeatureSet, alone: str, as_of: dt.date) -> str:
    """SQL: the feature rows of one as_of with those among peers, from those that ``alone``
    gives.
    """
    edges = (
        edges_of(declared, features_at(slim(declared), fitted_on(as_of))) if declared.rfm else None
    )
    return among_peers(declared, alone, edges)


def final(declared: FeatureSet, as_of: str, shared: str) -> str:
    """SQL: the features alone from the merged rows ``_s0``, ..., attributes ``_a0``, ..., own
    ``_u0``, ...

    ``shared`` are the columns by which those hang together; ``as_of`` is a literal or a column of
    theirs. ``_h0``, ... have by ``_day`` how many days the data of a source had by then,
    ``_history``.
    """
    rows = [f"_s{n}" for n in range(len(declared.sources))]
    rows += [f"_a{n}" for n in range(len(declared.attributes))]
    columns = ",\n  ".join(
        f"{f.sql.replace('$as_of', as_of)} as {f.name}" for f in features_alone(declared)
    )
    entities, joins = rows[0], ""
    if len(rows) > 1:
        entities = "(" + " union ".join(f"select {shared} from {row}" for row in rows) + ")"
        joins = " ".join(f"left join {row} using ({shared})" for row in rows)
    joins += "".join(
        f" left join _u{number} using ({shared})" for number in range(len(declared.own))
    )
    joins += "".join(
        f" left join _h{number} on _h{number}._day = {as_of}"
        for number in range(len(declared.sources))
    )
    entity = identifier(declared.entity)
    return f"select _entity as {entity}, {as_of} as as_of,\n  {columns}\nfrom {entities} {joins}"


def _source_ctes(
    declared: FeatureSet,
    source: EventSource,
    name: str,
    as_of: dt.date,
    checkpoints: Checkpoints | None,
) -> Iterator[str]:
    """The steps from daily parts to one merged row per entity, which the last of them, ``name``,
    holds.
    """
    rings, spans = declared.rings, spans_of(declared, source)
    older, earlier = (checkpoints.merged, checkpoints.rhythm) if checkpoints else (None, None)
    yield from _days_seen(declared, source, f"{name}_days", as_of, older)
    yield from _days_seen(declared, source, f"{name}_rhythm", as_of, earlier)
    ring = " + ".join(f"cast(_age >= {upper} as tinyint)" for upper in rings)
    merged = ", ".join(
        f"{_merge(part)} as {part.name}" for part in parts(source) if part.merge != VALUES
    )
    yield f"""{name}_rings as materialized (
select _entity, cast({ring} as tinyint) as _ring, count(*) as _active, {merged}
from {name}_days group by _entity, _ring)"""
    yield (
        f"{name}_lives as materialized "
        f"({_lives(source, f'{name}_rhythm', as_of, bool(checkpoints))})"
    )
    yield (
        f"_h{name.removeprefix('_s')} as "
        f"(select {literal(as_of)} as _day, max(_oldest) + 1 as _history from {name}_lives)"
    )
    joined = " ".join(
        f"left join (from {name}_rings where _ring = {number}) as r{number} using (_entity)"
        for number in range(len(rings) + 1)
    )
    if checkpoints:
        joined += f" left join {name}_days_before as before using (_entity)"
    if source.thirds:
        yield from _days_seen(declared, source, f"{name}_whole", as_of, None)
        yield f"{name}_thirds as ({_thirds(name)})"
        joined += f" left join {name}_thirds using (_entity)"
    columns = [f"e.{column}" for column in (*RHYTHM, *ends(source))]
    columns += THIRDS if source.thirds else []
    for window in (*map(str, rings), ALL):
        last = len(rings) if window == ALL else rings.index(int(window))
        tables = [f"r{number}" for number in range(last + 1)]
        tables += ["before"] if checkpoints and window == ALL else []
        columns += [
            f"{_over(part, tables)} as {part.name}_{window}"
            for part in (Part("_active", ""), *parts(source))
            if part.merge != VALUES and window in spans[part.name]
        ]
    for number, part in enumerate(part for part in parts(source) if part.merge == VALUES):
        until = checkpoints.merged.through if checkpoints else None
        yield (
            f"{name}_v{number} as "
            f"({_distinct(source, part, f'{name}_days', as_of, spans[part.name], until)})"
        )
        counted = [part.name, *filter(None, [repeats(source).get(part.name)])]
        columns += [f"v{number}.{each}_{window}" for each in counted for window in spans[part.name]]
        joined += f" left join {name}_v{number} as v{number} using (_entity)"
    if changing(source):
        yield f"{name}_changes as ({_changes(declared, source, f'{name}_days', as_of, older)})"
        windows = [*map(str, declared.windows), ALL]
        columns += outputs(source, windows, "c", "before" if checkpoints else "")
        joined += f" left join {name}_changes as c using (_entity)"
    yield f"{name} as (select e._entity, {', '.join(columns)} from {name}_lives as e {joined})"


def _days_seen(
    declared: FeatureSet,
    source: EventSource,
    name: str,
    as_of: dt.date,
    checkpoint: Checkpoint | None,
) -> Iterator[str]:
    """The daily parts that count, with ``_entity`` and ``_age`` in days, under ``name``.

    With a checkpoint: the days after it, all days of entities for which it is void, and, as
    ``name``_before, what it holds of the others.
    """
    entity = identifier(declared.entity)
    read = f"select *, {entity} as _entity, {literal(as_of)} - day as _age from {source.days_table}"
    result = f"{read} where {visible_parts(as_of)} and events > 0"
    if not checkpoint:
        yield f"{name} as not materialized ({result})"
        return
    through = literal(checkpoint.through)
    yield f"""{name}_void as (
select distinct {entity} as _entity from {source.days_table}
where day <= {through} and known_on > {literal(checkpoint.known_by)} \
and known_on <= {literal(as_of)})"""
    kept = f"select * rename ({entity} as _entity) from {checkpoint.table}"
    yield f"{name}_before as (from ({kept}) anti join {name}_void using (_entity))"
    yield f"""{name} as not materialized (
{result} and day > {through}
union all select * from ({result} and day <= {through}) semi join {name}_void using (_entity))"""


def _thirds(name: str) -> str:
    """SQL: the events in each third of the days from the first to as_of."""
    third = "((_oldest - _age) * 3) // (_oldest + 1)"
    counts = ", ".join(
        f"cast(coalesce(sum(events) filter (_third = {number}), 0) as bigint) as {column}"
        for number, column in enumerate(THIRDS)
    )
    return f"""
select _entity, {counts}
from (select _entity, events, {third} as _third from {name}_whole join {name}_lives using (_entity))
group by _entity"""


def _changes(
    declared: FeatureSet,
    source: EventSource,
    days: str,
    as_of: dt.date,
    checkpoint: Checkpoint | None,
) -> str:
    """SQL: the changes of each entity by window; of days before a checkpoint only the last value
    counts.
    """
    before = ""
    if checkpoint:
        values = ", ".join(f"{of_changes(m)}_value" for m in changing(source))
        age = f"{literal(as_of)} - {literal(checkpoint.through)}"
        before = f"select _entity, {age}, {values} from {days}_before"
    return changes_at(source, days, [*map(str, declared.windows), ALL], before)


def _lives(source: EventSource, days: str, as_of: dt.date, has_checkpoint: bool) -> str:
    """SQL: when each entity was active: days since last and first, the gaps, and what the ends
    hold.
    """
    far = {"first": "max", "last": "min"}
    held = "".join(
        f", arg_{far[end]}({part}, _age) as {name}" for name, (part, end) in ends(source).items()
    )
    kept = "".join(f", {name}" for name in ends(source))
    lives = f"""
select _entity, _youngest, _oldest, _count, {_squares("_ages")} as _squares{kept}
from (select _entity, min(_age) as _youngest, max(_age) as _oldest, count(*) as _count,
    list_sort(list(cast(_age as double))) as _ages{held}
  from {days} group by _entity)"""
    if has_checkpoint:
        # Every entity by a union, and not by a full join: whether a column may hold nulls shows in
        # the bytes.
        between = f"({literal(as_of)} - _last_day - _oldest)"
        order = {"first": ("before", "lives"), "last": ("lives", "before")}
        kept = "".join(
            f", coalesce({', '.join(f'{table}.{name}' for table in order[end])}) as {name}"
            for name, (_, end) in ends(source).items()
        )
        lives = f"""
select _entity, coalesce(_youngest, {literal(as_of)} - _last_day) as _youngest,
  coalesce({literal(as_of)} - _first_day, _oldest) as _oldest,
  coalesce(_count, 0) + coalesce(_active, 0) as _count,
  coalesce(_squares, 0) + coalesce(_gap_squares, 0) + coalesce({between} * {between}, 0) \
as _squares{kept}
from (select _entity from {days} union select _entity from {days}_before)
left join ({lives}) as lives using (_entity) left join {days}_before as before using (_entity)"""
        kept = "".join(f", {name}" for name in ends(source))
    return (
        "select _entity, _youngest, _oldest, _count - 1 as _gaps, _oldest - _youngest as _gap_sum, "
        f"cast(_squares as bigint) as _gap_squares{kept} from ({lives})"
    )


def _squares(ages: str) -> str:
    """SQL: the sum of the squared differences of neighbours in a sorted list; exact, for it is
    below 2^53.
    """
    left, right = f"{ages}[:-2]", f"{ages}[2:]"
    return " - 2 * ".join(
        (
            f"list_inner_product({right}, {right}) + list_inner_product({left}, {left})",
            f"list_inner_product({left}, {right})",
        )
    )


def _distinct(
    source: EventSource,
    part: Part,
    days: str,
    as_of: dt.date,
    windows: Sequence[str],
    before: dt.date | None,
) -> str:
    """SQL: the distinct values of each entity by window, counted; each counts where it was last
    seen, and, of those on two days, where it was last but one.
    """
    again = repeats(source).get(part.name)
    rows = f"select _entity, unnest({part.name}) as _value, _age from {days}"
    if before:
        age = f"{literal(as_of)} - {literal(before)}"
        for kept in filter(None, (part.name, again)):
            rows += f" union all select _entity, unnest({kept}), {age} from {days}_before"
    counts = [
        f"count(*){'' if window == ALL else f' filter (_age < {window})'} as {part.name}_{window}"
        for window in windows
    ]
    ages = "min(_age) as _age"
    if again:
        ages = "min(_age, 2) as _ages, _ages[1] as _age, _ages[2] as _again"
        counts += [
            f"count(_again){'' if window == ALL else f' filter (_again < {window})'} "
            f"as {again}_{window}"
            for window in windows
        ]
    return f"""
select _entity, {", ".join(counts)}
from (select _entity, _value, {ages} from ({rows}) group by all)
group by _entity"""


def history_at(source: EventSource, as_of: dt.date) -> str:
    """SQL: one row, how many days lie between the first event of anybody and ``as_of``, both
    included.
    """
    days = f"{source.days_table} where {visible_parts(as_of)} and events > 0"
    return (
        f"select {literal(as_of)} as _day, {literal(as_of)} - min(day) + 1 as _history from {days}"
    )


def distinct_at(
    declared: FeatureSet, source: EventSource, part: Part, windows: Sequence[str], as_of: dt.date
) -> str:
    """SQL: the same by itself."""
    [seen] = _days_seen(declared, source, "_days", as_of, None)
    return f"with {seen} {_distinct(source, part, '_days', as_of, windows, None)}"


def merged_until(
    declared: FeatureSet, source: EventSource, through: dt.date, known_by: dt.date
) -> str:
    """SQL: the rows of the checkpoint ``merged``: the parts of all days up to ``through`` by
    entity.
    """
    merged = ", ".join(
        f"list_sort(list_distinct(flatten(list({part.name})))) as {part.name}"
        if part.merge == VALUES
        else f"{_merge(part)} as {part.name}"
        for part in parts(source)
    )
    merged += "".join(
        f", list_sort(list_transform(list_filter(map_entries(list_histogram(flatten(list({values}))"
        f")), lambda e: e.value > 1), lambda e: e.key)) as {again}"
        for values, again in repeats(source).items()
    )
    entity = identifier(declared.entity)
    days = (
        f"{source.days_table} where {visible_parts(known_by)} and events > 0 "
        f"and day <= {literal(through)}"
    )
    rows = f"select {entity}, count(*) as _active, {merged} from {days} group by 1"
    if changing(source):
        more = changes_until(source, entity, f"from {days}")
        rows = f"from ({rows}) left join ({more}) using ({entity})"
    return f"{rows} order by 1"


def rhythm_until(
    declared: FeatureSet, source: EventSource, through: dt.date, known_by: dt.date
) -> str:
    """SQL: the rows of the checkpoint ``rhythm``: active days, their first and last, squared
    gaps.
    """
    far = {"first": "min", "last": "max"}
    held = "".join(
        f", arg_{far[end]}({part}, day) as {name}" for name, (part, end) in ends(source).items()
    )
    kept = "".join(f", {name}" for name in ends(source))
    entity = identifier(declared.entity)
    return f"""
select {entity}, _active, _first_day, _last_day, {_squares("_days")} as _gap_squares{kept}
from (select {entity}, count(*) as _active, min(day) as _first_day, max(day) as _last_day,
    list_sort(list(cast(day - date '1970-01-01' as double))) as _days{held}
  from {source.days_table}
  where {visible_parts(known_by)} and events > 0 and day <= {literal(through)} group by 1)
order by 1"""


def attributes_at(table: AttributeTable, as_of: dt.date) -> str:
    """SQL: one row per entity with its attributes: scaled integers, 0 or 1, days, null where not
    given.
    """

    def known(sql: str, read: str) -> str:
        late = not table.is_known_with_its_row(read)
        return f"case when _partition <= {literal(as_of)} then {sql} end" if late else sql

    columns = {f"_m{number}": known(scaled(m), m.column) for number, m in enumerate(table.measures)}
    for number, category in enumerate(table.categories):
        for position, value in enumerate(category.values):
            holds = f"cast(({identifier(category.column)} = {literal(value)}) as bigint)"
            columns[f"_c{number}_{position}"] = known(holds, category.column)
    for number, flag in enumerate(table.flags):
        columns[f"_f{number}"] = known(f"cast(({flag.condition}) as bigint)", flag.condition)
    for number, of in enumerate(table.dates):
        since = f"date_diff('day', cast({identifier(of.column)} as date), {literal(as_of)})"
        columns[f"_d{number}"] = known(since, of.column)
    listed = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    return f"""
select {identifier(table.entity)} as _entity, {listed}
from ({last_known(table, as_of)})"""


def _merge(part: Part) -> str:
    return f"cast({part.merge}({part.name}) as {part.type})"


def _over(part: Part, tables: Sequence[str]) -> str:
    """SQL: a part merged over several rows, each of which may be missing."""
    if part.merge in (LOW, HIGH):
        either = ", ".join(f"{table}.{part.name}" for table in tables)
        return f"{'least' if part.merge == LOW else 'greatest'}({either})"
    cells = [f"coalesce({table}.{part.name}, 0)" for table in tables]
    return (" + " if part.merge == SUM else " | ").join(cells)
