"""A feature table: aggregates of events, and attributes -> gold/x, one row per entity and as_of."""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field, field_validator, model_validator

from churn_orchestration.business import PACKAGE, Business, BusinessError, digest
from churn_orchestration.churn.features import declared as declarations
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.user_sql import parsed
from churn_orchestration.components.daily_parts import checkpoints, days_asset
from churn_orchestration.components.days import accepted_spec, daily, settle, table_of, wanted
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import feature_columns, keys, look
from churn_orchestration.warehouse import Tables, Warehouse, literal

_NAME = r"^[a-z][a-z0-9_]*$"


class MeasureSpec(dg.Model, dg.Resolvable):
    """A number of an event or an entity."""

    name: str = Field(pattern=_NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    unit: str = Field("", description="shown beside it, e.g. usd")
    decimals: int = Field(4, ge=0, le=9, description="decimals kept, exactly")


class CategorySpec(dg.Model, dg.Resolvable):
    """A category of an event or an entity."""

    name: str = Field(pattern=_NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    values: list[str] = Field(
        [], description="each is a feature: its share of the events, or whether it is the entity's"
    )


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

    def declared(self, entity: str) -> declarations.EventSource:
        """The same in the words of the engine."""
        return declarations.EventSource(
            self.name,
            self.table,
            self.entity or entity,
            self.noun,
            tuple(self.key),
            *_columns(self),
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
            self.name, self.table, self.entity or entity, self.noun, *_columns(self)
        )


def _columns(
    spec: EventSourceSpec | AttributeTableSpec,
) -> tuple[
    tuple[declarations.Measure, ...], tuple[declarations.Category, ...], tuple[declarations.Flag, ...]
]:
    return (
        tuple(declarations.Measure(m.name, m.column, m.unit, m.decimals) for m in spec.measures),
        tuple(declarations.Category(c.name, c.column, tuple(c.values)) for c in spec.categories),
        tuple(declarations.Flag(name, condition) for name, condition in spec.flags.items()),
    )


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

    @field_validator("windows", "trends")
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
    def _names_once(self) -> "FeatureTable":
        names = [feature.name for feature in catalogue(self.declared())]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: two features are called {twice[0]}")
        return self

    def declared(self) -> declarations.FeatureSet:
        """The same in the words of the engine."""
        sources = tuple(source.declared(self.entity) for source in self.sources)
        attributes = tuple(table.declared(self.entity) for table in self.attributes)
        return declarations.FeatureSet(
            self.entity, sources, tuple(self.windows), tuple(self.trends), attributes
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset gold/x."""
        business = Business.holding(context.path)
        declared = self.declared()
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
            check_specs=[accepted_spec(key)],
            code_version=feature_declaration(declared),
            **daily(business, key, {"duckdb", "parquet"}, [*keys(self.entity), *feature_columns(features)]),
        )
        def gold(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                rows, refused = build_days(tables, table_of(key), declared, business, wanted(context))
                write_catalogue(tables, table_of(key), features)
                yield from settle(
                    context, tables, key, feature_declaration(declared), rows, refused, upstream
                )

        parts = [days_asset(business, declared, source) for source in declared.sources]
        return dg.Definitions(assets=[*parts, gold])


def feature_declaration(declared: declarations.FeatureSet) -> str:
    """What makes a feature table what it is: its declaration, and the code that computes it."""
    code = sorted((PACKAGE / "churn" / "features").glob("*.py"))
    return digest(declared, *(path.read_text(encoding="utf-8") for path in code))


def build_days(
    tables: Tables, table: str, declared: declarations.FeatureSet, business: Business, days: list[dt.date]
) -> tuple[dict[dt.date, int], dict[dt.date, str]]:
    """Store the feature table of each as_of that may be built; rows by day, and the refused days."""
    upstream = declared.tables
    _require_columns(tables, declared)
    rows: dict[dt.date, int] = {}
    refused: dict[dt.date, str] = {}
    for as_of in days:
        reasons = [tables.not_standing(name, business.start, as_of) for name in upstream]
        if reason := next(filter(None, reasons), None):
            refused[as_of] = f"it reads days up to its own, and {reason}"
            tables.drop_day(table, as_of)
        else:
            select = features_at(declared, as_of, checkpoints(tables, declared, as_of))
            rows |= tables.replace_days(table, [as_of], select)
    return rows, refused


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
