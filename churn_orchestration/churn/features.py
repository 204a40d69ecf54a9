"""Point-in-time features: one declaration gives the SQL of an as_of and the catalogue of its columns.

A feature row of ``as_of`` is a function of the rows with ``day <= as_of and known_on <= as_of`` and of nothing
else. Rows become daily parts, parts become rings by age, rings are summed into nested windows. Amounts are
scaled integers until one final division, so that no sum depends on the order of its rows.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

ALL = "all"


@dataclass(frozen=True)
class Measure:
    """A number of an event. ``decimals``: how many are kept, exactly; ``unit``: of the column."""

    name: str
    column: str
    unit: str = ""
    decimals: int = 4


@dataclass(frozen=True)
class Category:
    """A category of an event; ``values`` are those whose share of the events is a feature."""

    name: str
    column: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flag:
    """A condition on an event whose share of the events is a feature."""

    name: str
    condition: str


@dataclass(frozen=True)
class EventSource:
    """A table of events: one row per event with ``day``, ``known_on`` and the entity's column.

    Parameters
    ----------
    name : prefix of its features
    table : ``layer.table``
    entity : the column that names who acted
    noun : what one event is called in a sentence
    key : columns that identify an event; of several versions, the one known last by as_of counts
    """

    name: str
    table: str
    entity: str
    noun: str
    key: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    categories: tuple[Category, ...] = ()
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class FeatureSet:
    """All that is declared of a feature table. Windows in days; ``trends`` compare a window with the one before."""

    entity: str
    sources: tuple[EventSource, ...]
    windows: tuple[int, ...] = (7, 30, 90, 180, 365)
    trends: tuple[int, ...] = (30, 90)

    @property
    def rings(self) -> list[int]:
        """Upper ends of the age rings, days, ascending; what is older than the last is one more ring."""
        return sorted({*self.windows, *self.trends, *(2 * window for window in self.trends)})


@dataclass(frozen=True)
class Feature:
    """One column: its SQL over a source's merged row, and how a person reads it."""

    name: str
    sql: str = field(repr=False)
    source: str = ""
    family: str = ""
    formula: str = ""
    window: str = ""
    unit: str = ""
    null_means: str = ""
    phrase: str = ""
    null_phrase: str = ""


def visible(source: EventSource, as_of: dt.date, columns: str = "*") -> str:
    """SQL: the events of a source that may be seen at ``as_of``, inclusive; the last known version of each.

    >>> visible(EventSource("orders", "silver.orders", "customer_id", "order"), dt.date(2024, 1, 31), "day")
    "select day from silver.orders where day <= date '2024-01-31' and known_on <= date '2024-01-31'
    and customer_id is not null"
    """
    until = f"date '{as_of.isoformat()}'"
    versions = ""
    if source.key:
        key = ", ".join(source.key)
        versions = (
            f" qualify row_number() over (partition by {key} order by known_on desc, _partition desc) = 1"
        )
    seen = (
        f"select {columns} from {source.table} "
        f"where day <= {until} and known_on <= {until} and {source.entity} is not null"
    )
    return seen + versions


def features_at(declared: FeatureSet, as_of: dt.date) -> str:
    """SQL: the feature table of one as_of, one row per entity seen by then, in the entity's order.

    Columns: the entity, ``as_of``, and the features in the order of the catalogue. Every entity of any source
    is there, however long ago it was last seen.
    """
    parts = [cte for source in declared.sources for cte in _source_ctes(declared, source, as_of)]
    entities = " union ".join(f"select entity from {source.name}_merged" for source in declared.sources)
    columns = ",\n  ".join(f"{feature.sql} as {feature.name}" for feature in catalogue(declared))
    joins = "\n".join(
        f"left join {source.name}_merged as {source.name}_m using (entity)" for source in declared.sources
    )
    return f"""
with {", ".join(parts)}
select entity as {declared.entity}, date '{as_of.isoformat()}' as as_of,
  {columns}
from ({entities}) {joins}
order by entity"""


def _source_ctes(declared: FeatureSet, source: EventSource, as_of: dt.date) -> Iterator[str]:
    rings, name = declared.rings, source.name
    ring = " ".join(f"when age < {upper} then {number}" for number, upper in enumerate(rings))
    sums, lows, highs = _parts(source)
    yield f"{name}_visible as (\n{visible(source, as_of)})"
    yield f"""{name}_days as (
select {source.entity} as entity, date '{as_of.isoformat()}' - day as age,
  {", ".join(f"{sql} as {part}" for part, sql in (sums | lows | highs).items())}
from {name}_visible group by all)"""
    carried = ", ".join(
        [f"sum({part}) as {part}" for part in sums]
        + [f"min({part}) as {part}" for part in lows]
        + [f"max({part}) as {part}" for part in highs]
    )
    yield f"""{name}_rings as (
select entity, case {ring} else {len(rings)} end as ring, count(*) as active, min(age) as youngest,
  max(age) as oldest, count(gap) as gaps, sum(gap) as gap_sum, sum(gap * gap) as gap_squares, {carried}
from (select *, lag(age) over (partition by entity order by age desc) - age as gap from {name}_days)
group by entity, ring)"""
    merged = []
    for window in _all_windows(declared):
        last_ring = len(rings) if window == ALL else rings.index(int(window))
        only = f"filter (ring <= {last_ring})"
        merged.append(f"sum(active) {only} as active_{window}")
        merged += [f"sum({part}) {only} as {part}_{window}" for part in sums]
        merged += [f"min({part}) {only} as {part}_{window}" for part in lows]
        merged += [f"max({part}) {only} as {part}_{window}" for part in highs]
    yield f"""{name}_windows as (
select entity, min(youngest) as youngest, max(oldest) as oldest, sum(gaps) as gaps, sum(gap_sum) as gap_sum,
  sum(gap_squares) as gap_squares, {", ".join(merged)}
from {name}_rings group by entity)"""
    joined = f"{name}_windows"
    for category in source.categories:
        counts = ", ".join(
            f"count(*){'' if w == ALL else f' filter (age < {w})'} as {category.name}_distinct_{w}"
            for w in (*map(str, declared.windows), ALL)
        )
        yield f"""{name}_{category.name} as (
select entity, {counts}
from (select {source.entity} as entity, {category.column} as category, min(date '{as_of.isoformat()}' - day) as age
  from {name}_visible where {category.column} is not null group by all)
group by entity)"""
        joined += f" left join {name}_{category.name} using (entity)"
    yield f"{name}_merged as (select * from {joined})"


def _parts(source: EventSource) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The mergeable parts of a day: those that add up, those with a minimum, those with a maximum."""
    sums, lows, highs = {"n": "count(*)"}, {}, {}
    for m in source.measures:
        scaled = f"cast(round({m.column} * {10**m.decimals}) as bigint)"
        sums[f"{m.name}_n"] = f"count({m.column})"
        sums[f"{m.name}_sum"] = f"sum({scaled})"
        sums[f"{m.name}_squares"] = f"sum(cast({scaled} as hugeint) * {scaled})"
        lows[f"{m.name}_min"] = f"min({scaled})"
        highs[f"{m.name}_max"] = f"max({scaled})"
    for category in source.categories:
        for number, value in enumerate(category.values):
            text = value.replace("'", "''")
            sums[f"{category.name}_{number}"] = f"count(*) filter ({category.column} = '{text}')"
    for flag in source.flags:
        sums[f"{flag.name}_flag"] = f"count(*) filter ({flag.condition})"
    return sums, lows, highs


def _all_windows(declared: FeatureSet) -> list[str]:
    return [*map(str, declared.rings), ALL]


def catalogue(declared: FeatureSet) -> list[Feature]:
    """Every feature of the table, in its order. Names: ``<source>[_<measure>]_<aggregate>[_<window>d|_all]``."""
    return [feature for source in declared.sources for feature in _features(declared, source)]


def _features(declared: FeatureSet, source: EventSource) -> Iterator[Feature]:
    name, noun = source.name, source.noun
    row = f"{name}_m"
    never = f"no {noun} yet"
    plural = f"{noun}s"

    def feature(suffix: str, sql: str, family: str, **about: str) -> Feature:
        return Feature(f"{name}_{suffix}", sql, name, family, **({"null_phrase": never} | about))

    yield feature(
        "days_since_last", f"{row}.youngest", "recency", formula=f"as_of - day of the last {noun}", unit="days",
        null_means=f"never: {never}", phrase=f"last {noun} {{value:.0f}} days ago",
    )  # fmt: skip
    yield feature(
        "days_since_first", f"{row}.oldest", "tenure", formula=f"as_of - day of the first {noun}", unit="days",
        null_means=f"never: {never}", phrase=f"first {noun} {{value:.0f}} days ago",
    )  # fmt: skip
    mean_gap = f"cast({row}.gap_sum as double) / nullif({row}.gaps, 0)"
    once = f"only one day with {plural} so far"
    gap = {"unit": "days", "window": ALL, "null_means": "fewer than two active days", "null_phrase": once}
    yield feature(
        "gap_days_mean_all", mean_gap, "rhythm", formula="mean of the days between active days",
        phrase=f"usually {{value:.0f}} days between {plural}", **gap,
    )  # fmt: skip
    yield feature(
        "gap_days_std_all", _std(f"{row}.gaps", f"{row}.gap_sum", f"{row}.gap_squares"), "rhythm",
        formula="standard deviation of the days between active days",
        phrase=f"days between {plural} vary by {{value:.0f}}", **(gap | {"null_means": "fewer than three active days"}),
    )  # fmt: skip
    yield feature(
        "gap_ratio_all", f"{row}.youngest / nullif({mean_gap}, 0)", "recency", formula="days since last / mean gap",
        phrase="silent for {value:.1f} times the usual gap", **(gap | {"unit": "ratio"}),
    )  # fmt: skip
    for window in (*map(str, declared.windows), ALL):
        yield from _window_features(source, window, feature)
    for trend in declared.trends:
        now, both = f"coalesce({row}.n_{trend}, 0)", f"coalesce({row}.n_{2 * trend}, 0)"
        about = {"unit": "-1 to 1", "window": f"{trend}d", "null_means": "nothing in either window"}
        yield feature(
            f"count_trend_{trend}d", f"(2 * {now} - {both}) / cast(nullif({both}, 0) as double)", "trend",
            formula=f"(n - n before) / (n + n before), windows of {trend} days",
            phrase=f"trend of {plural} over {trend} days {{value:+.2f}} (-1: stopped, +1: began)",
            **(about | {"null_phrase": f"no {noun} in {2 * trend} days"}),
        )  # fmt: skip
        for m in source.measures:
            now = f"coalesce({row}.{m.name}_sum_{trend}, 0)"
            before = f"(coalesce({row}.{m.name}_sum_{2 * trend}, 0) - {now})"
            yield feature(
                f"{m.name}_sum_trend_{trend}d",
                f"cast({now} - {before} as double) / nullif(cast(abs({now}) + abs({before}) as double), 0)", "trend",
                formula=f"(sum - sum before) / (|sum| + |sum before|), windows of {trend} days",
                phrase=f"trend of {m.name} over {trend} days {{value:+.2f}} (-1: stopped, +1: began)",
                **(about | {"null_phrase": f"no {noun} in {2 * trend} days"}),
            )  # fmt: skip


def _window_features(source: EventSource, window: str, feature: Callable[..., Feature]) -> Iterator[Feature]:
    row, noun, plural = f"{source.name}_m", source.noun, f"{source.noun}s"
    suffix = ALL if window == ALL else f"{window}d"
    when = "so far" if window == ALL else f"in the last {window} days"
    none = {"window": suffix, "null_means": f"no {noun} {when}", "null_phrase": f"no {noun} {when}"}
    n = f"{row}.n_{window}"
    yield feature(
        f"count_{suffix}", f"cast(coalesce({n}, 0) as bigint)", "frequency", formula="number of rows", unit="count", window=suffix,
        null_means="never null", phrase=f"{{value:.0f}} {plural} {when}",
    )  # fmt: skip
    yield feature(
        f"active_days_{suffix}", f"cast(coalesce({row}.active_{window}, 0) as bigint)", "frequency",
        formula="number of distinct days", unit="days", window=suffix, null_means="never null",
        phrase=f"{plural} on {{value:.0f}} days {when}",
    )  # fmt: skip
    for m in source.measures:
        count, total, squares = (f"{row}.{m.name}_{part}_{window}" for part in ("n", "sum", "squares"))
        scale = f"{10**m.decimals}.0::double"
        unit = f" {m.unit}" if m.unit else ""
        yield feature(
            f"{m.name}_sum_{suffix}", f"cast(coalesce({total}, 0) as double) / {scale}", "value",
            formula=f"sum of {m.column}", unit=m.unit, window=suffix, null_means="never null",
            phrase=f"{m.name} of {{value:,.0f}}{unit} {when}",
        )  # fmt: skip
        shapes = {
            "mean": f"cast({total} as double) / nullif({count}, 0)",
            "max": f"cast({row}.{m.name}_max_{window} as double)",
            "min": f"cast({row}.{m.name}_min_{window} as double)",
            "std": _std(count, total, squares),
        }
        for aggregate, sql in shapes.items():
            yield feature(
                f"{m.name}_{aggregate}_{suffix}", f"({sql}) / {scale}", "size", formula=f"{aggregate} of {m.column}",
                unit=m.unit, phrase=f"{aggregate} {m.name} {{value:,.2f}}{unit} {when}",
                **(none | ({"null_means": f"fewer than two {plural} {when}"} if aggregate == "std" else {})),
            )  # fmt: skip
    for category in source.categories:
        yield feature(
            f"{category.name}_distinct_{suffix}", f"coalesce({row}.{category.name}_distinct_{window}, 0)", "variety",
            formula=f"distinct values of {category.column}", unit="count", window=suffix, null_means="never null",
            phrase=f"{{value:.0f}} different {category.name} {when}",
        )  # fmt: skip
        for number, value in enumerate(category.values):
            label = "".join(letter if letter.isalnum() else "_" for letter in value.lower())
            yield feature(
                f"{category.name}_{label}_share_{suffix}",
                f"cast({row}.{category.name}_{number}_{window} as double) / nullif({n}, 0)", "variety",
                formula=f"share of rows with {category.column} = {value}", unit="share",
                phrase=f"{{value:.0%}} of {plural} {when}: {category.name} {value}", **none,
            )  # fmt: skip
    for flag in source.flags:
        yield feature(
            f"{flag.name}_share_{suffix}", f"cast({row}.{flag.name}_flag_{window} as double) / nullif({n}, 0)",
            "quality", formula=f"share of rows with {flag.condition}", unit="share",
            phrase=f"{{value:.0%}} of {plural} {when}: {flag.name}", **none,
        )  # fmt: skip


def _std(count: str, total: str, squares: str) -> str:
    """Sample standard deviation from integer parts: exact until the one division. Null below two values."""
    spread = f"({count}::hugeint * {squares}::hugeint - {total}::hugeint * {total}::hugeint)::double"
    return f"sqrt({spread} / nullif({count} * ({count} - 1), 0)::double)"
