"""A feature table: aggregates of events, and attributes -> gold/x, one row per entity and as_of."""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
import duckdb
from pydantic import Field, PrivateAttr, field_validator, model_validator

from churn_orchestration.business import PACKAGE, Business, BusinessError, digest
from churn_orchestration.churn.features import declared as declarations
from churn_orchestration.churn.features.catalogue import catalogue, features_alone
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.user_sql import parsed
from churn_orchestration.components.daily_parts import days_asset
from churn_orchestration.components.days import accepted_spec, daily, settle, table_of, wanted
from churn_orchestration.components.feature_history import features_of
from churn_orchestration.components.proof import pipeline_of, proof_result, proof_spec, proved
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import feature_columns, keys, look, selected
from churn_orchestration.components.source_table import SourceTable
from churn_orchestration.components.sql_tables import Select, sql_tables_of
from churn_orchestration.warehouse import Tables, Warehouse, literal

_NAME = r"^[a-z][a-z0-9_]*$"
MOST_CLOSED = 62
"""Values of a closed category: a bit each of a 64-bit mask, one for all others, one for the sign."""


class MeasureSpec(dg.Model, dg.Resolvable):
    """A number of an event or an entity."""

    name: str = Field(pattern=_NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    unit: str = Field("", description="shown beside it, e.g. usd")
    decimals: int = Field(4, ge=0, le=9, description="decimals kept, exactly")
    slope: bool = Field(False, description="events: how it changed from the first active day to the last")


class CategorySpec(dg.Model, dg.Resolvable):
    """A category of an event or an entity."""

    name: str = Field(pattern=_NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    values: list[str] = Field(
        [], description="each is a feature: its share of the events, or whether it is the entity's"
    )
    closed: bool = Field(
        False, description="events: `values` are all there are, at most 62; quicker, and others count as one"
    )
    share_windows: list[int] | None = Field(
        None, description="events: windows over which shares are taken; all, and all time, if not given"
    )
    concentration: bool = Field(
        False, description="events: top share, Herfindahl index and entropy over the values"
    )

    @model_validator(mode="after")
    def _values_where_needed(self) -> "CategorySpec":
        if (self.closed or self.concentration) and not self.values:
            raise ValueError(f"category {self.name}: `closed` and `concentration` need `values`")
        if self.closed and len(self.values) > MOST_CLOSED:
            raise ValueError(
                f"category {self.name}: {len(self.values)} values are too many for `closed`, which takes "
                f"{MOST_CLOSED}: take it out"
            )
        return self


class RatioSpec(dg.Model, dg.Resolvable):
    """The sum of one measure over the sum of another, in every window."""

    name: str = Field(pattern=_NAME, description="its name in the features, e.g. discount_rate")
    top: str = Field(description="name of a measure")
    bottom: str = Field(description="name of a measure")


class CadenceSpec(dg.Model, dg.Resolvable):
    """When in the week, and in the day, the events happen."""

    time: str | None = Field(None, description="a timestamp column (UTC): shares of night, morning, ... too")
    windows: list[int] = Field([365], description="windows over which the shares are taken, days")

    def flags(self, timezone: str) -> dict[str, str]:
        """The conditions whose shares these are, in the business's zone."""
        bands = {"weekend": "isodow(day) > 5"}
        if self.time:
            hour = f"hour(timezone('{timezone}', timezone('UTC', {self.time})))"
            for name, first in (("night", 0), ("morning", 6), ("afternoon", 12), ("evening", 18)):
                bands[name] = f"{hour} between {first} and {first + 5}"
        return bands


class EventSourceSpec(dg.Model, dg.Resolvable):
    """A table of events."""

    name: str = Field(pattern=_NAME, description="prefix of its features")
    table: str = Field(pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$", description="layer.table, e.g. silver.orders")
    noun: str = Field(description="what one event is called in a sentence, e.g. order")
    entity: str | None = Field(None, description="the column of the entity, where it has another name here")
    key: list[str] = Field([], description="columns that identify an event, where it may be corrected")
    measures: list[MeasureSpec] = Field([], description="numbers to aggregate")
    categories: list[CategorySpec] = Field([], description="categories to count")
    flags: dict[str, str] = Field(
        {}, description="name: SQL condition, whose share of the events is a feature"
    )
    cadence: CadenceSpec | None = Field(None, description="shares of the weekend and of times of the day")
    ratios: list[RatioSpec] = Field([], description="measures over measures")
    thirds: bool = Field(False, description="shares of the events in each third of the life seen so far")

    @model_validator(mode="after")
    def _ratios_of_measures(self) -> "EventSourceSpec":
        names = [measure.name for measure in self.measures]
        for ratio in self.ratios:
            if unknown := [each for each in (ratio.top, ratio.bottom) if each not in names]:
                raise ValueError(
                    f'{self.name}: ratio {ratio.name} names "{unknown[0]}", which is no measure of it '
                    f"({', '.join(names)})"
                )
        return self

    def declared(self, entity: str, timezone: str) -> declarations.EventSource:
        """The same in the words of the engine."""
        measures, categories, flags = _columns(self)
        if self.cadence:
            windows = tuple(self.cadence.windows)
            bands = self.cadence.flags(timezone).items()
            flags += tuple(declarations.Flag(name, condition, windows) for name, condition in bands)
        return declarations.EventSource(
            self.name,
            self.table,
            self.entity or entity,
            self.noun,
            tuple(self.key),
            measures,
            categories,
            flags,
            tuple(declarations.Ratio(ratio.name, ratio.top, ratio.bottom) for ratio in self.ratios),
            self.thirds,
        )


class AttributeTableSpec(dg.Model, dg.Resolvable):
    """A table with one row per entity and landing; of several rows, the one known last by as_of counts."""

    name: str = Field(pattern=_NAME, description="prefix of its features")
    table: str = Field(pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$", description="layer.table, e.g. silver.customers")
    noun: str = Field("", description="whose attributes they are, where a sentence should say so")
    entity: str | None = Field(None, description="the column of the entity, where it has another name here")
    measures: list[MeasureSpec] = Field([], description="numbers, each a feature")
    categories: list[CategorySpec] = Field([], description="categories; each of their values is a feature")
    flags: dict[str, str] = Field({}, description="name: SQL condition, which holds (1) or does not (0)")
    latest: Literal["landing", "day"] = Field(
        "landing",
        description="which row of an entity counts, of those known by as_of: that of the last landing or, as "
        "a history of states wants it, of the latest day",
    )

    @model_validator(mode="after")
    def _says_something(self) -> "AttributeTableSpec":
        if mute := [category.name for category in self.categories if not category.values]:
            raise ValueError(f"{self.name}: category {mute[0]}: give its `values`; each becomes a feature")
        if not (self.measures or self.categories or self.flags):
            raise ValueError(
                f"{self.name}: give measures, categories or flags: without one it has no feature"
            )
        return self

    def declared(self, entity: str) -> declarations.AttributeTable:
        """The same in the words of the engine."""
        return declarations.AttributeTable(
            self.name, self.table, self.entity or entity, self.noun, *_columns(self), self.latest == "day"
        )


def _columns(
    spec: EventSourceSpec | AttributeTableSpec,
) -> tuple[
    tuple[declarations.Measure, ...], tuple[declarations.Category, ...], tuple[declarations.Flag, ...]
]:
    return (
        tuple(declarations.Measure(m.name, m.column, m.unit, m.decimals, m.slope) for m in spec.measures),
        tuple(
            declarations.Category(
                c.name,
                c.column,
                tuple(c.values),
                c.closed,
                None if c.share_windows is None else tuple(c.share_windows),
                c.concentration,
            )
            for c in spec.categories
        ),
        tuple(declarations.Flag(name, condition) for name, condition in spec.flags.items()),
    )


class CohortSpec(dg.Model, dg.Resolvable):
    """Features relative to the mean of those whose first event was in the same month."""

    source: str = Field(description="name of the source whose first event says when an entity began")
    features: list[str] = Field(min_length=1, description="names of features, e.g. orders_count_90d")


class RfmSpec(dg.Model, dg.Resolvable):
    """Quintiles of recency, frequency and monetary value, fitted at the end of the month before as_of."""

    source: str = Field(description="name of a source")
    measure: str = Field(description="name of one of its measures")
    window: int = Field(365, description="days over which events are counted and amounts summed")


@dg.scaffold_with(
    example(
        entity="customer_id",
        sources=[
            {
                "name": "purchases",
                "table": "silver.orders",
                "noun": "order",
                "measures": [{"name": "amount", "column": "amount_usd", "unit": "usd"}],
            }
        ],
    )
)
class FeatureTable(dg.Component, dg.Model, dg.Resolvable):
    """Point-in-time features of an entity, declared."""

    name: str = Field(pattern=_NAME, description="the table's name in gold")
    description: str = Field("", description="shown in the UI")
    entity: str = Field(pattern=_NAME, description="the column that names whose features they are")
    sources: list[EventSourceSpec] = Field([], description="the event tables")
    attributes: list[AttributeTableSpec] = Field([], description="the tables of what an entity is or has")
    windows: list[int] = Field(
        [7, 30, 90, 180, 365], description="window lengths in days; all time comes with them"
    )
    trends: list[int] = Field([30, 90], description="windows that are compared with the one before")
    velocity: list[int] = Field(
        [], description="windows between which change per day is told, and the change of that change"
    )
    momentum: list[int] = Field([], description="windows whose rate is compared with that of the whole life")
    calendar: bool = Field(False, description="month, weekday and day of the year of as_of")
    sql: list[str] = Field(
        [],
        description="files beside the YAML, each a select of one row per entity in which $as_of is the day",
    )

    cohort: CohortSpec | None = Field(None, description="features relative to the entity's cohort")
    rfm: RfmSpec | None = Field(None, description="recency, frequency and monetary value in quintiles")
    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("windows", "trends", "velocity", "momentum")
    @classmethod
    def _positive(cls, days: list[int]) -> list[int]:
        if wrong := [window for window in days if window <= 0]:
            raise ValueError(f"a window of {wrong[0]} days: windows are whole days, at least 1")
        return sorted(set(days))

    @model_validator(mode="after")
    def _reads_something(self) -> "FeatureTable":
        if not (self.sources or self.attributes):
            raise ValueError(f"{self.name}: give `sources` (events), `attributes`, or both")
        return self

    @model_validator(mode="after")
    def _flags_parse(self) -> "FeatureTable":
        inputs: list[EventSourceSpec | AttributeTableSpec] = [*self.sources, *self.attributes]
        for source in inputs:
            for name, condition in source.flags.items():
                if not re.fullmatch(_NAME, name):
                    raise ValueError(
                        f'{self.name}: {source.name}: flag "{name}": wanted a-z, 0-9 and _, e.g. big_order'
                    )
                parsed(condition, f"{self.name}: {source.name}: flag {name}")
        return self

    @model_validator(mode="after")
    def _peers_have_what_they_compare(self) -> "FeatureTable":
        names = [feature.name for feature in features_alone(self.declared())]
        wanted = [f"{self.cohort.source}_days_since_first", *self.cohort.features] if self.cohort else []
        wanted += declarations.Rfm(*self.rfm.model_dump().values()).columns.values() if self.rfm else []
        if unknown := [name for name in wanted if name not in names]:
            raise ValueError(
                f'{self.name}: `cohort` and `rfm` compare "{unknown[0]}", which is no feature of it; is '
                "there such a source, measure and window?"
            )
        return self

    @model_validator(mode="after")
    def _names_once(self) -> "FeatureTable":
        names = [feature.name for feature in catalogue(self.declared())]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: two features are called {twice[0]}")
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the folder that its ``sql`` lies in."""
        loaded = super().load(attributes, context)
        loaded._folder = Path(context.path)
        return loaded

    def declared(self, timezone: str = "UTC") -> declarations.FeatureSet:
        """The same in the words of the engine; ``timezone`` is the business's."""
        return declarations.FeatureSet(
            self.entity,
            tuple(source.declared(self.entity, timezone) for source in self.sources),
            tuple(self.windows),
            tuple(self.trends),
            tuple(table.declared(self.entity) for table in self.attributes),
            tuple(self.velocity),
            tuple(self.momentum),
            self.calendar,
            tuple(own_table(self._folder / name, self.entity) for name in self.sql) if self._folder else (),
            declarations.Cohort(self.cohort.source, tuple(self.cohort.features)) if self.cohort else None,
            declarations.Rfm(self.rfm.source, self.rfm.measure, self.rfm.window) if self.rfm else None,
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset gold/x."""
        business = Business.holding(context.path)
        declared = self.declared(business.settings.timezone)
        pipeline = pipeline_of(
            declared,
            business.start,
            context.component_tree.get_all_components(of_type=SourceTable),
            sql_tables_of(business),
        )
        key = dg.AssetKey(["gold", self.name])
        window = dg.TimeWindowPartitionMapping(
            start_offset=-max(declared.rings), allow_nonexistent_upstream_partitions=True
        )
        upstream = declared.tables
        features = catalogue(declared)

        @dg.asset(
            key=key,
            deps=[dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=window) for table in upstream],
            description=f"One row per {self.entity} and as_of: {len(features)} features from the rows with "
            f"day <= as_of and known_on <= as_of, and from nothing else.\n\n{self.description}"
            f"{look(business, key)}",
            check_specs=[accepted_spec(key), proof_spec(key)],
            code_version=feature_declaration(declared),
            **daily(business, key, {"duckdb", "parquet"}, [*keys(self.entity), *feature_columns(features)]),
        )
        def gold(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                days = wanted(context)
                refused = not_standing(tables, declared, business, days)
                standing = [day for day in days if day not in refused]
                proof = proved(tables, pipeline, standing[-1]) if standing else None
                yield proof_result(key, proof)
                if proof and proof.faults:
                    refused |= dict.fromkeys(standing, proof.faults[0])
                rows = build_days(
                    tables, table_of(key), declared, [day for day in days if day not in refused]
                )
                for day in refused:
                    tables.drop_day(table_of(key), day)
                write_catalogue(tables, table_of(key), features)
                yield from settle(
                    context, tables, key, feature_declaration(declared), rows, refused, upstream
                )

        parts = [days_asset(business, declared, source) for source in declared.sources]
        return dg.Definitions(assets=[*parts, gold])


def own_table(path: Path, entity: str) -> declarations.UserTable:
    """A user's own select of features, checked. Raises BusinessError with file and remedy."""
    if not path.is_file():
        raise BusinessError(f"{path} does not exist; `sql` names files beside the YAML")
    select = Select.read(path)
    carried = select.tree.named_selects
    if "*" in carried or entity not in carried:
        raise BusinessError(
            f"{path}: wanted {entity} and the features by name, one row per {entity}; no star"
        )
    if "$as_of" not in select.text:
        raise BusinessError(
            f"{path}: does not say $as_of: bound what it reads by `day <= $as_of and known_on <= $as_of`"
        )
    if wrong := [name for name in carried if not re.fullmatch(_NAME, name)]:
        raise BusinessError(f'{path}: a column "{wrong[0]}": name it with a-z, 0-9 and _, by `as`')
    told = {column.name: column.description or "" for column in selected(carried, select.description, {})}
    return declarations.UserTable(
        path.stem,
        entity,
        select.text,
        tuple((name, told[name]) for name in carried if name != entity),
        select.upstream,
        path.name,
    )


def feature_declaration(declared: declarations.FeatureSet) -> str:
    """What makes a feature table what it is: its declaration, and the code that computes it."""
    code = sorted((PACKAGE / "churn" / "features").glob("*.py"))
    return digest(declared, *(path.read_text(encoding="utf-8") for path in code))


def not_standing(
    tables: Tables, declared: declarations.FeatureSet, business: Business, days: list[dt.date]
) -> dict[dt.date, str]:
    """Those as_ofs that would read over a day which does not stand, with the reason."""
    refused = {}
    for as_of in days:
        reasons = [tables.not_standing(name, business.start, as_of) for name in declared.tables]
        if reason := next(filter(None, reasons), None):
            refused[as_of] = f"it reads days up to its own, and {reason}"
    return refused


def build_days(
    tables: Tables, table: str, declared: declarations.FeatureSet, days: list[dt.date]
) -> dict[dt.date, int]:
    """Store the feature table of each as_of; rows by day."""
    _require_columns(tables, declared)
    if days:
        _require_own(tables, declared, days[-1])
    rows: dict[dt.date, int] = {}
    with features_of(tables, declared, days, tables.state / "gold" / f".{table}") as features:
        for as_of in days:
            select = f"from {features(as_of)} order by {declared.entity}"
            rows |= tables.replace_days(table, [as_of], select)
    return rows


def _require_columns(tables: Tables, declared: declarations.FeatureSet) -> None:
    for source in declared.inputs:
        there = {name.lower() for name in tables.columns(source.table)}
        used = {source.entity: "entity"} | {m.column: f"measure {m.name}" for m in source.measures}
        used |= {c.column: f"category {c.name}" for c in source.categories}
        if isinstance(source, declarations.EventSource):
            used |= dict.fromkeys(source.key, "key")
        if there and (absent := [name for name in used if name.lower() not in there]):
            raise BusinessError(
                f'the features read "{absent[0]}" ({source.name}: {used[absent[0]]}), and {source.table} has '
                f"no such column (it has {', '.join(sorted(there))}): mend it here, or declare it there"
            )


def _require_own(tables: Tables, declared: declarations.FeatureSet, as_of: dt.date) -> None:
    for own in declared.own:
        try:
            columns = tables.rows(f"describe {own.at(as_of)}")
        except duckdb.Error as error:
            told = str(error).split("\n\nLINE")[0].replace("\n", " ")
            raise BusinessError(f"{own.file}: {told}") from None
        for name, kind, *_ in columns[1:]:
            if not re.match("[U]?(TINY|SMALL|BIG|HUGE)?INT|DECIMAL|FLOAT|DOUBLE|BOOLEAN", kind):
                raise BusinessError(
                    f'{own.file}: "{name}" is {kind.lower()}; a feature is a number or a boolean: '
                    f"say a condition, such as ({name} = 'gold') as {name}_is_gold"
                )
        counted = f"select _entity, count(*) from ({own.at(as_of)}) group by 1"
        for entity, count in tables.rows(f"{counted} having count(*) > 1 order by 1 limit 1"):
            raise BusinessError(
                f"{own.file}: {count} rows of {own.entity} {entity} at {as_of}; wanted one: "
                f"group by {own.entity}"
            )


def write_catalogue(tables: Tables, table: str, features: list[Feature]) -> None:
    """The table of a feature table's columns: what each means and how its null reads."""
    hidden = ("name", "sql")
    about = [
        {"feature": f.name} | {k: v for k, v in dataclasses.asdict(f).items() if k not in hidden}
        for f in features
    ]
    shape = json.dumps([dict.fromkeys(about[0], "VARCHAR")])
    rows = f"select unnest(from_json({literal(json.dumps(about))}, {literal(shape)}), recursive := true)"
    tables.db.execute(f"create or replace table {table}_catalogue as {rows}")
