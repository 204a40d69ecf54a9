"""Point-in-time features: one declaration gives the SQL of any as_of.

A feature row of ``as_of`` is a function of the rows with ``day <= as_of and known_on <= as_of`` and of
nothing else. Rows become daily parts, parts become rings by age, rings are summed into nested windows.
Amounts are scaled integers until one final division, so that no sum depends on the order of its rows. Names
inside the SQL are numbered (source 0 is ``_s0``, its measure 1 ``_m1``): no declared name meets one of ours.
"""

import datetime as dt
from collections.abc import Iterable, Iterator

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import ALL, AttributeTable, EventSource, FeatureSet, Measure


def visible(source: EventSource, as_of: dt.date, columns: str = "*") -> str:
    """SQL: the events of a source that may be seen at ``as_of``, inclusive; the last known version of each.

    >>> visible(EventSource("orders", "silver.orders", "customer_id", "order"), dt.date(2024, 1, 31), "day")
    "select day from silver.orders where known_on <= date '2024-01-31'
    and day <= date '2024-01-31' and customer_id is not null"
    """
    until = f"date '{as_of.isoformat()}'"
    seen = f"day <= {until} and {source.entity} is not null"
    if not source.key:
        return f"select {columns} from {source.table} where known_on <= {until} and {seen}"
    # The version is chosen before anything else is asked of it: a correction may move or void its event.
    order = ", ".join(["known_on desc", "_partition desc", source.entity, "day", *_read_from(source)])
    version = f"row_number() over (partition by {', '.join(source.key)} order by {order}) = 1"
    return (
        f"select {columns} from (select * from {source.table} where known_on <= {until} qualify {version}) "
        f"where {seen}"
    )


def latest(table: str, entity: str, used: Iterable[str], as_of: dt.date) -> str:
    """SQL: of each entity, the row of a table that was known last by ``as_of``, inclusive.

    ``used`` are the expressions that are read from that row: where two rows are equally late, they decide, so
    that the order in which rows are stored never does.
    """
    until = f"date '{as_of.isoformat()}'"
    order = ", ".join(["known_on desc", "day desc", "_partition desc", *(f"({sql})" for sql in used)])
    return (
        f"select * from {table} where known_on <= {until} and day <= {until} and {entity} is not null "
        f"qualify row_number() over (partition by {entity} order by {order}) = 1"
    )


def features_at(declared: FeatureSet, as_of: dt.date) -> str:
    """SQL: the feature table of one as_of, one row per entity seen by then, in the entity's order.

    Columns: the entity, ``as_of``, and the features in the order of the catalogue. Every entity of any source
    or attribute table is there, however long ago it was last seen.
    """
    ctes: list[str] = []
    rows: list[str] = []
    for number, source in enumerate(declared.sources):
        ctes += _source_ctes(declared, source, f"_s{number}", as_of)
        rows.append(f"_s{number}")
    for number, attributes in enumerate(declared.attributes):
        ctes.append(_attributes_cte(attributes, f"_a{number}", as_of))
        rows.append(f"_a{number}")
    entities = " union ".join(f"select _entity from {row}" for row in rows)
    columns = ",\n  ".join(f"{feature.sql} as {feature.name}" for feature in catalogue(declared))
    joins = " ".join(f"left join {row} using (_entity)" for row in rows)
    return f"""
with {", ".join(ctes)}
select _entity as {declared.entity}, date '{as_of.isoformat()}' as as_of,
  {columns}
from ({entities}) {joins}
order by _entity"""


def _source_ctes(declared: FeatureSet, source: EventSource, name: str, as_of: dt.date) -> Iterator[str]:
    """The steps from events to one row per entity, which the last of them, ``name``, holds."""
    age = f"date '{as_of.isoformat()}' - day"
    sums, lows, highs = _parts(source)
    yield f"{name}_visible as (\n{visible(source, as_of)})"
    yield f"""{name}_days as (
select {source.entity} as _entity, {age} as _age,
  {", ".join(f"{sql} as {part}" for part, sql in (sums | lows | highs).items())}
from {name}_visible group by all)"""
    rings = declared.rings
    ring = " ".join(f"when _age < {upper} then {number}" for number, upper in enumerate(rings))
    merge = {"sum": sums, "min": lows, "max": highs}
    carried = ", ".join(f"{how}({part}) as {part}" for how, parts in merge.items() for part in parts)
    yield f"""{name}_rings as (
select _entity, case {ring} else {len(rings)} end as _ring, count(*) as _active, min(_age) as _youngest,
  max(_age) as _oldest, count(_gap) as _gaps, sum(_gap) as _gap_sum, sum(_gap * _gap) as _gap_squares,
  {carried}
from (select *, lag(_age) over (partition by _entity order by _age desc) - _age as _gap from {name}_days)
group by _entity, _ring)"""
    windows = {**{str(upper): number for number, upper in enumerate(rings)}, ALL: len(rings)}
    nested = {"sum": {"_active": "", **sums}, "min": lows, "max": highs}
    merged = ", ".join(
        f"{how}({part}) filter (_ring <= {last}) as {part}_{window}"
        for window, last in windows.items()
        for how, parts in nested.items()
        for part in parts
    )
    yield f"""{name}_windows as (
select _entity, min(_youngest) as _youngest, max(_oldest) as _oldest, sum(_gaps) as _gaps,
  sum(_gap_sum) as _gap_sum, sum(_gap_squares) as _gap_squares, {merged}
from {name}_rings group by _entity)"""
    joined = f"{name}_windows"
    for number, category in enumerate(source.categories):
        counts = ", ".join(
            f"count(*){'' if window == ALL else f' filter (_age < {window})'} as _d{number}_{window}"
            for window in (*map(str, declared.windows), ALL)
        )
        yield f"""{name}_d{number} as (
select _entity, {counts}
from (select {source.entity} as _entity, {category.column} as _category, min({age}) as _age
  from {name}_visible where {category.column} is not null group by all)
group by _entity)"""
        joined += f" left join {name}_d{number} using (_entity)"
    yield f"{name} as (select * from {joined})"


def _attributes_cte(table: AttributeTable, name: str, as_of: dt.date) -> str:
    """One row per entity with its attributes: scaled integers, 0 or 1, null where not given."""
    parts = {f"_m{number}": _scaled(m) for number, m in enumerate(table.measures)}
    for number, category in enumerate(table.categories):
        for position, value in enumerate(category.values):
            parts[f"_c{number}_{position}"] = f"cast(({category.column} = {_text(value)}) as bigint)"
    for number, flag in enumerate(table.flags):
        parts[f"_f{number}"] = f"cast(({flag.condition}) as bigint)"
    columns = ", ".join(f"{sql} as {part}" for part, sql in parts.items())
    return f"""{name} as (
select {table.entity} as _entity, {columns}
from ({latest(table.table, table.entity, _read_from(table), as_of)}))"""


def _read_from(source: EventSource | AttributeTable) -> list[str]:
    """Every expression that the features of a table read from one of its rows."""
    return [
        *(m.column for m in source.measures),
        *(c.column for c in source.categories),
        *(flag.condition for flag in source.flags),
    ]


def _scaled(m: Measure) -> str:
    """A measure as an exact integer, in units of its last kept decimal."""
    exact = f"cast({m.column} as decimal(38, {m.decimals}))"
    return f"cast({exact} * {10**m.decimals} as hugeint)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _parts(source: EventSource) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The mergeable parts of a day: those that add up, those with a minimum, those with a maximum."""
    sums, lows, highs = {"_n": "count(*)"}, {}, {}
    for number, m in enumerate(source.measures):
        scaled = _scaled(m)
        sums[f"_m{number}_n"] = f"count({m.column})"
        sums[f"_m{number}_sum"] = f"sum({scaled})"
        sums[f"_m{number}_squares"] = f"sum({scaled} * {scaled})"
        lows[f"_m{number}_min"] = f"min({scaled})"
        highs[f"_m{number}_max"] = f"max({scaled})"
    for number, category in enumerate(source.categories):
        for position, value in enumerate(category.values):
            sums[f"_c{number}_{position}"] = f"count(*) filter ({category.column} = {_text(value)})"
    for number, flag in enumerate(source.flags):
        sums[f"_f{number}"] = f"count(*) filter ({flag.condition})"
    return sums, lows, highs
