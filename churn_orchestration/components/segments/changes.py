"""How far customers moved between two days -> segments/x_changes, one row per entity and day."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, model_validator

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest
from churn_orchestration.churn.features.declared import FeatureSet
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import feature_declaration
from churn_orchestration.components.shown import keys
from churn_orchestration.storage.files import kept
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.churn.segments.axes import Axis
    from churn_orchestration.churn.segments.changes import Changes, Reference

WITHIN = ("was_there", "events", "days")
"""Columns of the select besides those of the table: the entity is called otherwise."""


class ChangesSpec(dg.Model, dg.Resolvable):
    """How far customers moved between two days, beside what is usual among their peers."""

    activity: str = Field(
        description="the source whose events are a customer's history, for how much is known of it"
    )
    days: int = Field(90, ge=1, description="from how many days before as_of")
    shifting: float = Field(
        0.5, gt=0, allow_inf_nan=False,
        description="the smallest distance of who is shifting, and of a feature that rose or fell, "
        "in spreads: the distance of the quartiles of all customers / 1.35",
    )  # fmt: skip
    changed: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="the smallest distance of who has changed"
    )
    false_alarms: float = Field(
        0.01, gt=0, lt=0.5,
        description="the share of customers who may be marked as unusual where nothing is",
    )  # fmt: skip

    @model_validator(mode="after")
    def _ascending(self) -> "ChangesSpec":
        if self.changed <= self.shifting:
            raise ValueError(
                f"changes: changed is {self.changed:g}, not above shifting ({self.shifting:g}): "
                "nobody could be shifting"
            )
        return self


@dataclass(frozen=True)
class ChangesTable:
    """The changes along the axes of a set.

    Parameters
    ----------
    name : of the set
    features : the name of its feature table
    axes : their names
    fitted_on, fitted : the day to whose customers the axes of a day are fitted, and these
    """

    name: str
    features: str
    spec: ChangesSpec
    declared: FeatureSet
    axes: Sequence[str]
    fitted_on: Callable[[Tables, dt.date], dt.date]
    fitted: "Callable[[Tables, dt.date], list[Axis]]"

    @property
    def _table(self) -> str:
        return f"segments.{self.name}_changes"

    @property
    def _history(self) -> tuple[str, str]:
        """The features that say how much history a customer has: events, and days since the
        first.
        """
        return f"{self.spec.activity}_count_all", f"{self.spec.activity}_days_since_first"

    def require(self, known: Sequence[str], place: str) -> None:
        """Refuse a source that is not there, and columns of the same name.

        Raises
        ------
        BusinessError : with ``place``
        """
        sources = [source.name for source in self.declared.sources]
        if self.spec.activity not in sources:
            raise BusinessError(
                f"{place}: {self.name}: changes: activity: {self.features} has no source "
                f"{self.spec.activity} ({', '.join(sources)})"
            )
        if missing := [name for name in self._history if name not in known]:
            raise BusinessError(
                f"{place}: {self.name}: changes: {self.features} has no {missing[0]}, which says "
                "how much is known of a customer"
            )
        names = [*(column.name.lower() for column in self._columns()), *WITHIN]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise BusinessError(
                f"{place}: {self.name}: changes: two columns would be called {twice}"
            )

    def table(self, business: Business, axes: str, about: str) -> DayTable:
        """The asset segments/x_changes; ``axes``: what is declared of them, as a hash."""
        gold, days = f"gold.{self.features}", self.spec.days
        version = stages.version(digest(axes, self.spec), stages.CHANGES)
        return DayTable(
            business=business,
            table=self._table,
            says=f"One row per {self.declared.entity} of {gold} and as_of: how far it is from "
            f"where it was {days} days before, along {', '.join(self.axes)}; whether its peers "
            "move so far, and how much is known of it. What is usual is measured at the last "
            "month-end.",
            about=about,
            like=gold,
            columns=self._columns(),
            version=version,
            upstream=[gold, *self.declared.tables],
            store=partial(self._store, version),
        )

    def _columns(self) -> list[dg.TableColumn]:
        spec, days = self.spec, f"{self.spec.days} days before"
        described = {
            "segment": (
                "text",
                f"changed: distance from {spec.changed:g}; shifting: from {spec.shifting:g}; "
                f"stable: less; new: no {self.declared.entity} {days}",
            ),
            "priority": ("integer", "null: a change has none"),
            "action": ("text", "null: a change has none"),
            "distance": (
                "double",
                f"from where it was {days}, in spreads of all customers: the root mean square over "
                "the axes; null: it was not there",
            ),
        }
        for axis in self.axes:
            described[f"{axis}_distance"] = ("double", f"the same along {axis} alone")
        return [
            *keys(self.declared.entity),
            *(dg.TableColumn(name, *words) for name, words in described.items()),
            *(dg.TableColumn(name, *words) for name, words in self._beside().items()),
        ]

    def _beside(self) -> dict[str, tuple[str, str]]:
        spec, (events, days) = self.spec, self._history
        return {
            "rose": ("varchar[]", f"features that rose by at least {spec.shifting:g} spreads"),
            "fell": ("varchar[]", f"features that fell by at least {spec.shifting:g} spreads"),
            "peers": (
                "text",
                f"the archetype it had {spec.days} days before, by the clusters of fitted_on; its "
                "peers are who had the same",
            ),
            "usual_distance": (
                "double",
                f"the median distance of its peers in the {spec.days} days before fitted_on; of "
                f"all, where fewer than {1 / spec.false_alarms:.0f} were there",
            ),
            "unusual_from": (
                "double",
                f"a distance that at most {spec.false_alarms:.2%} of them exceeded",
            ),
            "is_unusual": (
                "boolean",
                "whether the distance is above unusual_from; null: new, or too few to compare with",
            ),
            "confidence": (
                "double",
                "how much of what is said of its rate of events comes from its own history, 0 to "
                f"1: t / (t + prior_days) of t {days}; the rest is what customers are like; null: "
                "rates do not differ",
            ),
            "history": (
                "text",
                f"cold: confidence below 0.5; else by {events}: rich from 10, some from 5, thin",
            ),
            "compared_with": ("date", "the earlier day"),
            "fitted_on": ("date", "the day whose clusters and usual distances these are"),
        }

    def _store(self, version: str, tables: Tables, days: list[dt.date]) -> Stored:
        measured = cache(partial(self._measured, version, tables))
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            changes, reference = measured(self.fitted_on(tables, day))
            rows[day] = self._store_day(tables, day, changes, reference)
            about[day] = self._numbers(tables, day, reference)
        newest = max(days, default=None)
        drawn = {"picture_changes": self._picture(tables, newest)} if newest else {}
        return Stored(rows=rows, metadata=about, pictures=drawn)

    def _measured(self, version: str, tables: Tables, day: dt.date) -> "tuple[Changes, Reference]":
        """The axes that are fitted to a day, and what was usual up to it, kept in a file."""
        from churn_orchestration.churn.segments.changes import (
            Changes,
            Reference,
            Usual,
            prior_days,
            rate_sums,
        )

        spec, (events, since) = self.spec, self._history
        changes = Changes(
            self.declared.entity, self.fitted(tables, day), spec.shifting, spec.changed,
            spec.false_alarms, events, since,
        )  # fmt: skip

        def record() -> dict[str, Any]:
            now = f"({features_at(self.declared, day)})"
            tables.db.execute(f"create or replace temp table _now as from {now}")
            distances = changes.distances("from _now", self._then(tables, day))
            usual = tables.records(changes.reference(distances))
            [sums] = tables.rows(rate_sums(events, since, "from _now"))
            tables.db.execute("drop table _now")
            of_peers = {row.pop("peers"): Usual(**row) for row in usual}
            return Reference(of_peers, prior_days(*sums)).record()

        named = digest(version, tables.days.newest_version(self.declared.tables, day))
        path = tables.state / "fits" / f"{self.name}_changes" / f"{day}-{named}.json"
        return changes, Reference.of_record(kept(path, record))

    def _then(self, tables: Tables, day: dt.date) -> str:
        """SQL: the feature rows of the earlier day, as they were known at its end: those that are
        stored, where they are what would be made now, else computed, which gives the same.
        """
        gold, then = f"gold.{self.features}", day - dt.timedelta(days=self.spec.days)
        made_by = feature_declaration(self.declared)
        read = [*self.declared.tables, *self.declared.marts]
        if then in tables.days.stored(gold) and not tables.days.stale(
            gold, made_by, read, [then], whatever_its_age=True
        ):
            return f"from {literal(tables.day_file(gold, then))}"
        return features_at(self.declared, then)

    def _store_day(
        self, tables: Tables, day: dt.date, changes: "Changes", reference: "Reference"
    ) -> int:
        file = literal(tables.day_file(f"gold.{self.features}", day))
        moved = changes.day(changes.distances(f"from {file}", self._then(tables, day)), reference)
        entity = identifier(self.declared.entity)
        before, fitted_on = day - dt.timedelta(days=self.spec.days), self.fitted_on(tables, day)
        return tables.put_day(
            self._table,
            day,
            f"select {entity}, {literal(day)} as as_of, segment, null::integer as priority, "
            f"null::varchar as action, * exclude ({entity}, segment), "
            f"{literal(before)} as compared_with, {literal(fitted_on)} as fitted_on "
            f"from ({moved}) order by {entity}",
        )

    def _numbers(self, tables: Tables, day: dt.date, reference: "Reference") -> dict[str, Any]:
        """The customers of each level, and how many of them moved unusually."""
        from churn_orchestration.churn.segments.changes import LEVELS

        file = literal(tables.day_file(self._table, day))
        sizes = dict(tables.rows(f"select segment, count(*) from {file} group by 1"))
        [(share,)] = tables.rows(
            f"select avg(is_unusual::tinyint) from {file} where is_unusual is not null"
        )
        result: dict[str, Any] = {level: sizes.get(level, 0) for level in LEVELS}
        if share is not None:
            result["unusual_share"] = round(share, 4)
        if reference.prior_days is not None:
            result["prior_days"] = round(reference.prior_days, 1)
        return result

    def _picture(self, tables: Tables, day: dt.date) -> str | None:
        from churn_orchestration.churn.segments.changes import LEVELS

        files = ", ".join(map(literal, tables.day_files(self._table, day).values()))
        course = tables.rows(
            f"select as_of, segment, count(*) from read_parquet([{files}]) group by all "
            "order by all"
        )
        return pictures.segments(f"{self.name}_changes", LEVELS, course)
