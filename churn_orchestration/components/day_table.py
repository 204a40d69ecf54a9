"""What tables share that are kept day by day: the asset, and which days are refused."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.components.days import (
    Computed,
    accepted_spec,
    blocked,
    blocked_since,
    daily,
    due,
    record_and_publish,
)
from churn_orchestration.components.shown import look
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.layers import PARQUET_LAYERS
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables

Refused = dict[dt.date, Refusal]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was stored of days: rows and numbers by day, pictures of the newest, the own checks."""

    rows: Mapping[dt.date, int]
    metadata: Mapping[dt.date, Mapping[str, Any]]
    pictures: Mapping[str, str | None] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()


@dataclass(frozen=True, kw_only=True)
class DayTable:
    """A table of what is known of features or forecasts at the end of a day, one partition a day.

    Parameters
    ----------
    table : ``layer.table``
    says : its grain and meaning
    about : what it belongs to, in a sentence
    like : the table as whose days its own are looked back at, and stay as they are
    version : what its days depend on, a ``stages.Version`` as text
    upstream : the tables that it is made of
    deps : how it is drawn with them; without, each day with the same day of every one
    checks : what its own checks say, by name
    store : stores days, oldest first
    refused : those of days that are not stored; without, those whose ground is not valid
    faults : of days that would be stored, those that are refused for what is in them
    """

    business: Business
    table: str
    says: str
    about: str
    like: str
    columns: Sequence[dg.TableColumn]
    version: str
    upstream: Sequence[str]
    store: Callable[[Tables, list[dt.date]], Stored]
    deps: Sequence[dg.AssetDep] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset({"parquet"})
    refused: Callable[[Tables, list[dt.date]], Refused] | None = None
    faults: Callable[[Tables, list[dt.date]], Refused] | None = None

    def asset(self) -> dg.AssetsDefinition:
        """The asset ``layer/table``."""
        key = dg.AssetKey(self.table.split("."))
        specs = [
            dg.AssetCheckSpec(name, asset=key, description=text)
            for name, text in self.checks.items()
        ]

        @dg.asset(
            key=key,
            deps=self.deps
            or [dg.AssetDep(dg.AssetKey(table.split("."))) for table in self.upstream],
            description=f"{self.says}\n\n{self.about}{look(self.business, key)}",
            check_specs=[accepted_spec(key), *specs],
            code_version=self.version,
            **daily(self.business, key, set(self.kinds), self.columns),
        )
        def day_table(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                computed = self._computed(tables, due(context, tables, key))
                yield from record_and_publish(context, tables, key, computed)

        return day_table

    def _computed(self, tables: Tables, days: list[dt.date]) -> Computed:
        tables.days.look_back_as(self.table, self.like)
        refused = (self.refused or self._on_invalid_ground)(tables, days)
        if self.faults:
            refused |= self.faults(tables, [day for day in days if day not in refused])
        for day in refused:
            tables.take_back(self.table, day)
        stored = self.store(tables, [day for day in days if day not in refused])
        return Computed(
            declaration=self.version, rows=stored.rows, refused=refused, upstream=self.upstream,
            metadata=stored.metadata, pictures=stored.pictures, checks=stored.checks,
        )  # fmt: skip

    def _on_invalid_ground(self, tables: Tables, days: list[dt.date]) -> Refused:
        """Of a table in the warehouse, all days up to a day are its ground."""
        published = [table for table in self.upstream if table.split(".")[0] in PARQUET_LAYERS]
        landed = [table for table in self.upstream if table not in published]
        refused = blocked(tables, published, days) | blocked_since(
            tables, landed, self.business.start, days
        )
        if self.like in published:  # of a day that somebody waived there are no rows
            refused |= {
                day: f"{self.like} has no rows of {day}"
                for day in days
                if day not in refused and tables.recorded_file(self.like, day) is None
            }
        return refused
