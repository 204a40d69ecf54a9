"""Fuzzy axes -> segments/x, one row per entity and day: how much it belongs to each cluster."""

import datetime as dt
import difflib
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from pydantic import Field, PrivateAttr, model_validator

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest, line_of
from churn_orchestration.churn.calendar import last_month_end
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.sql import identifier, identifiers, literal
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.segments.changes import ChangesSpec, ChangesTable
from churn_orchestration.components.shown import keys
from churn_orchestration.storage.files import kept
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.segments.axes import Axis

NAME = r"^[a-z][a-z0-9_]*$"
MOST_SHOWN = 12
TAKEN = ("as_of", "segment", "priority", "action", "strength", "fitted_on")


class AxisSpec(dg.Model, dg.Resolvable):
    """One axis."""

    name: str = Field(pattern=NAME, description="what it is called")
    features: list[str] = Field(
        min_length=1, description="features by which customers are like each other along it"
    )


@dg.scaffold_with(
    example(
        features="customer_features",
        axes=[{"name": "frequency", "features": ["orders_count_90d"]}],
    )
)
class Axes(dg.Component, dg.Model, dg.Resolvable):
    """Clusters of customers along several axes; each belongs to every cluster by a degree."""

    name: str = Field(pattern=NAME, description="the table's name in segments")
    description: str = Field("", description="shown in the UI")
    features: str = Field(pattern=NAME, description="the feature table whose customers they are")
    axes: list[AxisSpec] = Field(min_length=1, description="in what customers are compared")
    changes: ChangesSpec | None = Field(
        None, description="with it, a second table: how far customers moved between two days"
    )
    _place: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _names_once(self) -> "Axes":
        names = [axis.name for axis in self.axes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: two axes are called {twice[0]}")
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    @property
    def sets(self) -> list[str]:
        """The names of its tables."""
        return [self.name, *([f"{self.name}_changes"] if self.changes else [])]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset segments/x and, with changes, segments/x_changes."""
        business, tree = Business.holding(context.path), context.component_tree
        tables = {each.name: each for each in tree.get_all_components(of_type=FeatureTable)}
        place = line_of(self._place, self.name)
        if self.features not in tables:
            there = ", ".join(tables) or "none at all"
            raise BusinessError(
                f"{place}: {self.name}: features: there is no {self.features} ({there})"
            )
        declared = tables[self.features].declared(business.settings.timezone)
        known = [feature.name for feature in catalogue(declared)]
        columns = [name.lower() for name in (declared.entity, *TAKEN)]
        for axis in self.axes:
            columns += [axis.name, f"{axis.name}_memberships"]
        if twice := next((name for name in columns if columns.count(name) > 1), None):
            raise BusinessError(f"{place}: {self.name}: two columns would be called {twice}")
        for axis in self.axes:
            for feature in axis.features:
                if feature not in known:
                    near = ", ".join(difflib.get_close_matches(feature, known, 3)) or "none is near"
                    raise BusinessError(
                        f"{line_of(self._place, self.name, axis.name)}: {self.name}: {axis.name}: "
                        f'{self.features} has no feature "{feature}"; did you mean {near}?'
                    )
        gold = f"gold.{self.features}"
        version = stages.version(digest(self._declared(), declared), stages.AXES)
        asset = DayTable(
            business=business,
            table=f"segments.{self.name}",
            says=f"One row per {declared.entity} of {gold} and as_of: its cluster along "
            f"{', '.join(axis.name for axis in self.axes)}, and how much. The clusters are "
            "those of the customers of the last month-end, applied as they are.",
            about=self.description,
            like=gold,
            columns=self._columns(declared.entity),
            version=version,
            upstream=[gold, *declared.tables],
            store=partial(self._store, declared, version),
        ).asset()
        if self.changes is None:
            return dg.Definitions(assets=[asset])
        changes = ChangesTable(
            self.name, self.features, self.changes, declared, [axis.name for axis in self.axes],
            fitted_on=partial(self._fitted_on, declared),
            fitted=partial(self._fitted, declared, version),
        )  # fmt: skip
        changes.require(known, place)
        moved = changes.table(business, digest(self._declared(), declared), self.description)
        return dg.Definitions(assets=[asset, moved.asset()])

    def _declared(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(axis.name, tuple(axis.features)) for axis in self.axes]

    @property
    def _read(self) -> list[str]:
        """The features of all axes, each once."""
        return list(dict.fromkeys(feature for axis in self.axes for feature in axis.features))

    def _columns(self, entity: str) -> list[dg.TableColumn]:
        fixed = {
            "segment": (
                "text",
                "the archetype: the cluster it belongs to most, along each axis",
            ),
            "priority": ("integer", "null: an archetype has none"),
            "action": ("text", "null: an archetype has none"),
            "strength": (
                "double",
                "how much it belongs to those, mean over the axes, 0 to 1",
            ),
            "fitted_on": ("date", "the day to whose customers the clusters were fitted"),
        }
        result = [dg.TableColumn(name, *words) for name, words in fixed.items()]
        for axis in self.axes:
            of = ", ".join(axis.features)
            result += [
                dg.TableColumn(axis.name, "text", f"the cluster to which it belongs most, by {of}"),
                dg.TableColumn(
                    f"{axis.name}_memberships",
                    "map(varchar, double)",
                    "how much it belongs to each cluster; they come to 1",
                ),
            ]
        return [*keys(entity), *result]

    def _store(
        self, declared: FeatureSet, version: str, tables: Tables, days: list[dt.date]
    ) -> Stored:
        fitted = cache(partial(self._fitted, declared, version, tables))
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            on = self._fitted_on(declared, tables, day)
            axes = fitted(on)
            rows[day] = self._store_day(declared.entity, tables, day, axes, on)
            about[day] = {f"{axis.name}_silhouette": round(axis.silhouette, 4) for axis in axes}
        newest = max(days, default=None)
        drawn = {"picture_archetypes": self._picture(tables, newest)} if newest else {}
        return Stored(rows=rows, metadata=about, pictures=drawn)

    def _fitted_on(self, declared: FeatureSet, tables: Tables, day: dt.date) -> dt.date:
        """The day to whose customers the clusters of a day are fitted: the last month-end; before
        there is one, the day itself.
        """
        firsts = [
            first
            for table in sorted({name for source in declared.inputs for name in source.reads})
            for (first,) in tables.rows(
                f"select min(day) from {table} where known_on <= {literal(day)}"
            )
            if first
        ]
        return (last_month_end(min(firsts), day) if firsts else None) or day

    def _fitted(
        self, declared: FeatureSet, version: str, tables: Tables, day: dt.date
    ) -> "list[Axis]":
        """The axes of a day, kept under the version of the rows they are fitted to."""
        from churn_orchestration.churn.segments.axes import Axis, fit_axis

        named = digest(version, tables.days.newest_version(declared.tables, day))
        path = tables.state / "fits" / self.name / f"{day}-{named}.json"

        def records() -> list[dict[str, Any]]:
            rows = self._features(declared.entity, tables, f"({features_at(declared, day)})")
            return [fit_axis(axis.name, axis.features, rows).record() for axis in self.axes]

        return [Axis.of_record(record) for record in kept(path, records)]

    def _features(self, entity: str, tables: Tables, rows: str) -> "pd.DataFrame":
        each = map(identifier, self._read)
        named = ", ".join(f"{name}::double as {name}" for name in each)
        key = identifier(entity)
        return tables.db.execute(f"select {key}, {named} from {rows} order by {key}").df()

    def _store_day(
        self, entity: str, tables: Tables, day: dt.date, axes: "list[Axis]", fitted_on: dt.date
    ) -> int:
        from churn_orchestration.churn.segments.axes import archetypes

        file = literal(tables.day_file(f"gold.{self.features}", day))
        rows = self._features(entity, tables, file)
        memberships = [axis.memberships(rows) for axis in axes]
        segment, strength = archetypes(axes, memberships)
        table = rows[[entity]].assign(segment=segment, strength=strength)
        [kind] = [kind for name, kind, *_ in tables.rows(f"describe from {file}") if name == entity]
        columns = [f"cast({identifier(entity)} as {kind}) as {identifier(entity)}"]
        columns += [f"{literal(day)} as as_of", "segment::varchar as segment"]
        columns += ["null::integer as priority", "null::varchar as action", "strength"]
        columns += [f"{literal(fitted_on)} as fitted_on"]
        for axis, degrees in zip(axes, memberships, strict=True):
            names = [f"{axis.name}_{n}" for n in range(len(axis.clusters))]
            for n, name in enumerate(names):
                table[name] = degrees[:, n]
            clusters = ", ".join(map(literal, axis.clusters))
            table[f"{axis.name}_cluster"] = degrees.argmax(axis=1) + 1
            columns += [
                f"list_extract([{clusters}], {axis.name}_cluster::bigint) "
                f"as {identifier(axis.name)}",
                f"map([{clusters}], [{identifiers(names)}]) as "
                f"{identifier(axis.name + '_memberships')}",
            ]
        tables.db.register("_clusters", table)
        select = f"select {', '.join(columns)} from _clusters order by {identifier(entity)}"
        count = tables.put_day(f"segments.{self.name}", day, select)
        tables.db.unregister("_clusters")
        return count

    def _picture(self, tables: Tables, day: dt.date) -> str | None:
        """The largest archetypes over the stored days."""
        table = f"segments.{self.name}"
        files = ", ".join(map(literal, tables.day_files(table, day).values()))
        counted = f"select as_of, segment, count(*) from read_parquet([{files}])"
        course = tables.rows(f"{counted} group by all order by all")
        last = sorted(
            ((count, segment) for of, segment, count in course if of == day), reverse=True
        )
        order = [segment for _, segment in last[:MOST_SHOWN]]
        return pictures.segments(self.name, order, [row for row in course if row[1] in order])
