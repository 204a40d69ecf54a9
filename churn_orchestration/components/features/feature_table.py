"""A feature table: aggregates of events, and attributes -> gold/x, one row per entity and as_of."""

import dataclasses
import datetime as dt
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator, model_validator

from churn_orchestration import stages
from churn_orchestration.business import Business, digest, line_of
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features import declared as declarations
from churn_orchestration.churn.features.catalogue import catalogue, features_alone
from churn_orchestration.churn.features.derived import divided, sides
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.features.parts import parts
from churn_orchestration.churn.features.perturbation import Pipeline, Proof
from churn_orchestration.churn.rows.user_sql import parsed
from churn_orchestration.churn.sql import identifier
from churn_orchestration.components.days import (
    FULL_TAG,
    Computed,
    accepted_spec,
    blocked,
    blocked_since,
    daily,
    record_and_publish,
    wanted,
)
from churn_orchestration.components.features.daily_parts import days_asset
from churn_orchestration.components.features.feature_history import features_of
from churn_orchestration.components.features.feature_specs import (
    NAME,
    AttributeTableSpec,
    CohortSpec,
    EventSourceSpec,
    FeatureRatioSpec,
    RefreshSpec,
    RfmSpec,
)
from churn_orchestration.components.features.fitness import Place, require_columns
from churn_orchestration.components.features.mart_features import LANDED, marts_of, marts_read
from churn_orchestration.components.features.misfits import as_declared_result, as_declared_spec
from churn_orchestration.components.features.own_features import own_table, require_own
from churn_orchestration.components.features.proof import (
    pipeline_of,
    proof_result,
    proof_spec,
    proved,
)
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import feature_columns, keys, look
from churn_orchestration.components.source.landed_at_once import (
    dated_back,
    known_from,
    known_late_result,
    known_late_spec,
)
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_tables import silver_keys, sql_tables_of
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal


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

    name: str = Field(pattern=NAME, description="the table's name in gold")
    description: str = Field("", description="shown in the UI")
    entity: str = Field(pattern=NAME, description="the column that names whose features they are")
    sources: list[EventSourceSpec] = Field([], description="the event tables")
    attributes: list[AttributeTableSpec] = Field(
        [], description="the tables of what an entity is or has"
    )
    windows: list[int] = Field(
        [7, 30, 90, 180, 365], description="window lengths in days; all time comes with them"
    )
    trends: list[int] = Field([30, 90], description="windows that are compared with the one before")
    velocity: list[int] = Field(
        [],
        description=(
            "windows between which the change per day is measured, and the change of that change"
        ),
    )
    momentum: list[int] = Field(
        [], description="windows whose rate is compared with that of the whole life"
    )
    calendar: bool = Field(
        False,
        description="month, weekday and time of the year of as_of; a model takes them in "
        "where its as_ofs go round the year",
    )
    sql: list[str] = Field(
        [],
        description=(
            "files next to the YAML, each a select of one row per entity in which $as_of is the day"
        ),
    )
    ratios: list[FeatureRatioSpec] = Field(
        [], description="features over features; null where the lower one is 0 or null"
    )
    cohort: CohortSpec | None = Field(None, description="features relative to the entity's cohort")
    rfm: RfmSpec | None = Field(
        None, description="recency, frequency and monetary value in quintiles"
    )
    refresh: RefreshSpec = Field(RefreshSpec(), description="which days of a run are recomputed")
    keep_days: int | None = Field(
        None,
        ge=1,
        description="days up to the newest that are kept; older ones can be made again. Null: all",
    )
    _folder: Path | None = PrivateAttr(default=None)
    _dated_back: Callable[[], set[str]] = PrivateAttr(default=set)
    _marts: Callable[[], dict[str, declarations.Mart]] = PrivateAttr(default=dict)

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
                if not re.fullmatch(NAME, name):
                    raise ValueError(
                        f'{self.name}: {source.name}: flag "{name}": wanted a-z, 0-9 and _, e.g. '
                        "big_order"
                    )
                parsed(condition, f"{self.name}: {source.name}: flag {name}")
        return self

    @model_validator(mode="after")
    def _counts_of_flags(self) -> "FeatureTable":
        for spec, source in zip(self.sources, self.declared().sources, strict=True):
            names = [flag.name for flag in source.flags]
            if unknown := [name for name in spec.flag_counts if name not in names]:
                raise ValueError(
                    f'{self.name}: {source.name}: flag_counts names "{unknown[0]}", which is no '
                    f"flag of it ({', '.join(names) or 'it has none'}): declare it under `flags`, "
                    "or take it out"
                )
        return self

    @model_validator(mode="after")
    def _shares_over_windows(self) -> "FeatureTable":
        for source in self.declared().sources:
            for counted in (*source.categories, *source.flags):
                if unknown := [
                    days for days in counted.share_windows or () if days not in self.windows
                ]:
                    raise ValueError(
                        f"{self.name}: {source.name}: shares of {counted.name} are declared over "
                        f"{unknown[0]} days, which is none of the windows "
                        f"({', '.join(map(str, self.windows))})"
                    )
        return self

    @model_validator(mode="after")
    def _ratios_of_features(self) -> "FeatureTable":
        declared = self.declared()
        features = features_alone(dataclasses.replace(declared, ratios=(), own=(), calendar=False))
        for ratio in declared.ratios:
            place = f"{self.name}: ratio {ratio.name}"
            for name in (ratio.top, ratio.bottom):
                if not sides(name, features):
                    raise ValueError(
                        f'{place} names "{name}", which is no feature of a source or of attributes'
                        f"{_near(name, features)}: name one with its window, or without it for all "
                        "windows"
                    )
            if ratio.top == ratio.bottom:
                raise ValueError(f"{place} divides {ratio.top} by itself: name another `bottom`")
            if not divided(ratio, features):
                raise ValueError(
                    f"{place}: {ratio.top} and {ratio.bottom} have no window in common: name "
                    "one of them with its window"
                )
        return self

    @model_validator(mode="after")
    def _peers_have_what_they_compare(self) -> "FeatureTable":
        names = [feature.name for feature in features_alone(self.declared())]
        wanted = (
            [f"{self.cohort.source}_days_since_first", *self.cohort.features] if self.cohort else []
        )
        wanted += (
            declarations.Rfm(*self.rfm.model_dump().values()).columns.values() if self.rfm else []
        )
        if unknown := [name for name in wanted if name not in names]:
            raise ValueError(
                f'{self.name}: `cohort` and `rfm` compare "{unknown[0]}", which is no feature of '
                "it; is "
                "there such a source, measure and window?"
            )
        return self

    @model_validator(mode="after")
    def _names_once(self) -> "FeatureTable":
        features = catalogue(self.declared())
        names = [feature.name for feature in features]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            made_by = dict.fromkeys(f.source for f in features if f.name == twice[0])
            raise ValueError(
                f"{self.name}: two features are called {twice[0]} (of {', '.join(made_by)}): give "
                "what one of them is made of another name"
            )
        for source in self.declared().sources:
            columns = [part.name for part in parts(source)]
            if twice := sorted({name for name in columns if columns.count(name) > 1}):
                raise ValueError(
                    f"{self.name}: {source.days_table} would have two columns {twice[0]}"
                )
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the folder that its ``sql`` lies in and the tables of its
        business.
        """
        loaded = super().load(attributes, context)
        loaded._folder = Path(context.path)

        @cache
        def tables() -> set[str]:
            sources = context.component_tree.get_all_components(of_type=SourceTable)
            return dated_back(sources, sql_tables_of(Business.holding(context.path)))

        @cache
        def marts() -> dict[str, declarations.Mart]:
            inputs: list[EventSourceSpec | AttributeTableSpec] = []
            inputs += [*loaded.sources, *loaded.attributes]
            if all(spec.table.partition(".")[0] in LANDED for spec in inputs):
                return {}
            business = Business.holding(context.path)
            sources = context.component_tree.get_all_components(of_type=SourceTable)
            keys = {f"bronze.{source.name}": source.key for source in sources}
            return marts_read(
                inputs, loaded.entity, marts_of(business), keys | silver_keys(business), tables(),
                (Path(context.path) / "defs.yaml", loaded.name),
            )  # fmt: skip

        loaded._dated_back, loaded._marts = tables, marts
        return loaded

    def declared(self, timezone: str = "UTC") -> declarations.FeatureSet:
        """The same in the words of the engine; ``timezone`` is the business's."""
        return declarations.FeatureSet(
            self.entity,
            tuple(source.declared(self.entity, timezone) for source in self.sources),
            tuple(self.windows),
            tuple(self.trends),
            tuple(
                table.declared(
                    self.entity, table.table in self._dated_back(), self._marts().get(table.table)
                )
                for table in self.attributes
            ),
            tuple(self.velocity),
            tuple(self.momentum),
            self.calendar,
            tuple(own_table(self._folder / name, self.entity) for name in self.sql)
            if self._folder
            else (),
            declarations.Cohort(
                self.cohort.source,
                tuple(self.cohort.features),
                tuple(dict.fromkeys(self.cohort.kinds)),
            )
            if self.cohort
            else None,
            declarations.Rfm(self.rfm.source, self.rfm.measure, self.rfm.window)
            if self.rfm
            else None,
            tuple(declarations.FeatureRatio(**ratio.model_dump()) for ratio in self.ratios),
        )

    def pipeline(self, tree: dg.ComponentTree, business: Business) -> Pipeline:
        """The way from bronze to its features, for the point-in-time proof."""
        declared = self.declared(business.settings.timezone)
        sources = tree.get_all_components(of_type=SourceTable)
        return pipeline_of(declared, business.start, sources, sql_tables_of(business))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset gold/x, and those of the daily parts of its sources."""
        business = Business.holding(context.path)
        declared = self.declared(business.settings.timezone)
        pipeline = self.pipeline(context.component_tree, business)
        place: Place = partial(line_of, Path(context.path) / "defs.yaml")
        daily_parts = [days_asset(business, declared, source, place) for source in declared.sources]
        return dg.Definitions(
            assets=[*daily_parts, self._gold(business, declared, pipeline, place)]
        )

    def _gold(
        self,
        business: Business,
        declared: declarations.FeatureSet,
        pipeline: Pipeline,
        place: Place,
    ) -> dg.AssetsDefinition:
        key, name = dg.AssetKey(["gold", self.name]), f"gold.{self.name}"
        window = dg.TimeWindowPartitionMapping(
            start_offset=-max(declared.rings), allow_nonexistent_upstream_partitions=True
        )
        upstream, features = [*declared.tables, *declared.marts], catalogue(declared)
        declaration = feature_declaration(declared)
        silent = [
            table.name
            for spec, table in zip(self.attributes, declared.attributes, strict=True)
            if table.known_late and spec.fixed is None and table.mart is None
        ]

        @dg.asset(
            key=key,
            deps=[
                dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=window)
                for table in declared.tables
            ]
            + [dg.AssetDep(dg.AssetKey(mart.split("."))) for mart in declared.marts],
            description=f"One row per {self.entity} and as_of: {len(features)} features from the "
            "rows with day <= as_of and known_on <= as_of, and from nothing else.\n\n"
            f"{self.description}{look(business, key)}",
            check_specs=[
                accepted_spec(key),
                proof_spec(key),
                as_declared_spec(key),
                *([known_late_spec(key)] if silent else []),
            ],
            code_version=declaration,
            **daily(
                business,
                key,
                {"duckdb", "parquet"},
                [*keys(self.entity), *feature_columns(features)],
            ),
        )
        def gold(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                days = wanted(context)
                for source in declared.inputs:
                    require_columns(tables, source, place)
                yield as_declared_result(tables, key, declared.inputs, business.start, days)
                refused, proof = _refused(tables, declared, pipeline, business.start, days)
                tables.keep_to(name, days, self.refresh.look_back_days, self.keep_days)
                good = [day for day in days if day not in refused]
                keeps = self.refresh.mode == "incremental" and FULL_TAG not in context.run.tags
                recomputed = _missing_or_stale(tables, name, declared, good) if keeps else good
                rows = build_days(tables, name, declared, recomputed)
                for day in refused:
                    tables.drop_day(name, day)
                write_catalogue(tables, name, declared)
                checks = [proof_result(key, proof)]
                if silent:
                    checks.append(known_late_result(key, known_from(tables, declared), silent))
                yield from record_and_publish(
                    context,
                    tables,
                    key,
                    Computed(
                        declaration=declaration,
                        rows=rows,
                        refused=refused,
                        upstream=upstream,
                        unchanged=[day for day in good if day not in rows],
                        checks=checks,
                    ),
                )

        return gold


def _near(name: str, features: Iterable[Feature]) -> str:
    """The features that are called nearly so, in brackets; nothing if none is."""
    stems = (f.name.removesuffix(f"_{f.window}") if f.window else f.name for f in features)
    near = difflib.get_close_matches(name, dict.fromkeys(stems), 3, 0.5)
    return f" (near: {', '.join(near)})" if near else ""


def _refused(
    tables: Tables,
    declared: declarations.FeatureSet,
    pipeline: Pipeline,
    start: dt.date,
    days: list[dt.date],
) -> tuple[dict[dt.date, Refusal], Proof | None]:
    """Those of ``days`` whose ground is not valid, all of them where the point-in-time proof of the
    newest fails; and that proof, of valid days.
    """
    refused = blocked_since(tables, declared.tables, start, days)
    refused |= blocked(tables, declared.marts, [day for day in days if day not in refused])
    valid = [day for day in days if day not in refused]
    if not valid:
        return refused, None
    require_own(tables, declared, valid[-1])
    proof = proved(tables, pipeline, valid[-1])
    return refused | (dict.fromkeys(valid, proof.faults[0]) if proof.faults else {}), proof


def _missing_or_stale(
    tables: Tables, table: str, declared: declarations.FeatureSet, days: list[dt.date]
) -> list[dt.date]:
    read = [*declared.tables, *declared.marts]
    stale = tables.days.stale(table, feature_declaration(declared), read, days)
    there = tables.days.stored(table)
    return [day for day in days if day in stale or day not in there]


def feature_declaration(declared: declarations.FeatureSet) -> str:
    """What makes a feature table what it is: its declaration, and the code that computes it."""
    return stages.version(digest(declared), stages.GOLD)


def build_days(
    tables: Tables, table: str, declared: declarations.FeatureSet, days: list[dt.date]
) -> dict[dt.date, int]:
    """Store the feature table of each as_of; rows by day."""
    rows: dict[dt.date, int] = {}
    with features_of(tables, declared, days, tables.state / "gold" / f".{table}") as features:
        for as_of in days:
            select = f"from {features(as_of)} order by {identifier(declared.entity)}"
            rows |= tables.replace_days(table, [as_of], select)
    return rows


def write_catalogue(tables: Tables, table: str, declared: declarations.FeatureSet) -> None:
    """The table of a feature table's columns: what each means, its type, how its null reads, since
    when.

    ``available_from``: the first as_of whose window lies wholly within the data; of all time, the
    first day; of a ratio, the later of its sides; never before a column is recorded.
    """
    begun, late = {}, known_from(tables, declared)
    for source in declared.sources:
        if tables.columns(source.days_table):
            [(first,)] = tables.rows(f"select min(day) from {source.days_table}")
            begun[source.name] = first
    hidden = ("name", "sql", "made_of", "recorded_from")
    about, available = [], dict[str, dt.date | None]()
    for f in catalogue(declared):
        said = {k: v for k, v in dataclasses.asdict(f).items() if k not in hidden}
        first, window = begun.get(f.source), f.window.removesuffix("d")
        since = (
            first + DAY * (int(window) - 1)
            if first and window.isdigit()
            else late.get(f.name, first)
        )
        if f.made_of:
            since = max((day for name in f.made_of if (day := available[name])), default=None)
        if f.recorded_from:
            since = max(since or f.recorded_from, f.recorded_from)
        available[f.name] = since
        about.append(
            {"feature": f.name} | said | {"type": f.type, "available_from": str(since or "")}
        )
    shape = json.dumps([dict.fromkeys(about[0], "VARCHAR")])
    rows = (
        f"select unnest(from_json({literal(json.dumps(about))}, {literal(shape)}), "
        "recursive := true)"
    )
    tables.db.execute(
        f"create or replace table {table}_catalogue as select * replace "
        f"(try_cast(available_from as date) as available_from) from ({rows})"
    )
