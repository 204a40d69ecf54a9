"""What all business measures share: an asset with a partition a day, its table, pictures and checks."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from churn_orchestration.business import Business, digest
from churn_orchestration.components.churn_model.measures import Columns, described, put_rows
from churn_orchestration.components.days import (
    accepted_spec,
    blocked,
    blocked_since,
    daily,
    settle,
    wanted,
)
from churn_orchestration.components.shown import look
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import MEASURED_ON, PARQUET_LAYERS, Tables, Warehouse

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.churn_model.question import AskedQuestion

DAY_COLUMN: Columns = {MEASURED_ON: ("date", "the day at whose end this was known")}


@dataclass(frozen=True)
class Measure(ABC):
    """A business measure of a question: the table measures.<question>_<name>.

    ``says``: its grain and meaning. ``adds_up``: what its check of that name
    says; empty: there is none.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    columns: ClassVar[Columns]
    adds_up: ClassVar[str] = ""

    business: Business
    asked: "AskedQuestion"

    @property
    def table(self) -> str:
        """``layer.table``."""
        return f"measures.{self.asked.name}_{self.name}"

    @property
    @abstractmethod
    def order(self) -> str:
        """The order of its rows, a total one."""

    @property
    @abstractmethod
    def upstream(self) -> list[str]:
        """The tables that it is made of."""

    @abstractmethod
    def rows(
        self, tables: Tables, tracking: Tracking, day: dt.date
    ) -> "Sequence[Mapping[str, Any]] | pd.DataFrame":
        """The rows of a day, from what was known at its end."""

    @abstractmethod
    def told(self, tables: Tables, day: dt.date) -> dict[str, Any]:
        """The numbers of a stored day that are worth a plot."""

    @abstractmethod
    def picture(self, tables: Tables, day: dt.date) -> str | None:
        """A stored day in one picture; None where there is nothing to draw."""

    def days_read(self) -> dg.PartitionMapping | None:
        """The days of the tables upstream that a day is drawn with; None: the same day."""
        return None

    def amiss(self, tables: Tables, day: dt.date) -> list[str]:  # noqa: ARG002
        """What of a stored day does not add up, in words."""
        return []

    def stored_columns(self, tables: Tables) -> Columns:  # noqa: ARG002
        """The columns with the types they are stored in."""
        return self.columns

    def shown_columns(self) -> list[dg.TableColumn]:
        """The columns as the UI tells them."""
        return described(self.columns)

    def file(self, tables: Tables, day: dt.date) -> Path:
        """The file of a stored day."""
        path = tables.day_file(self.table, day)
        assert path is not None
        return path

    def store(self, tables: Tables, tracking: Tracking, day: dt.date) -> int:
        """Store the rows of a day; their number."""
        rows, columns = self.rows(tables, tracking, day), self.stored_columns(tables)
        return put_rows(tables, self.table, day, rows, columns, self.order)

    def refused(self, tables: Tables, days: list[dt.date]) -> dict[dt.date, str]:
        """Those of ``days`` whose ground does not stand: of a table in the warehouse, all days up to it."""
        published = [table for table in self.upstream if table.split(".")[0] in PARQUET_LAYERS]
        landed = [table for table in self.upstream if table not in published]
        return blocked(tables, published, days) | blocked_since(tables, landed, self.business.start, days)

    def asset(self) -> dg.AssetsDefinition:
        """The asset measures/<question>_<name>, one partition a day."""
        key, declaration = dg.AssetKey(self.table.split(".")), digest(self.asked)
        upstream, mapping = self.upstream, self.days_read()
        sums = [dg.AssetCheckSpec("adds_up", asset=key, description=self.adds_up)] if self.adds_up else []

        @dg.asset(
            key=key,
            deps=[
                dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=mapping) for table in upstream
            ],
            description=f"{self.says}\n\n{self.asked.sentence()}{look(self.business, key)}",
            check_specs=[accepted_spec(key), *sums],
            code_version=declaration,
            **daily(self.business, key, {"parquet"}, self.shown_columns()),
        )
        def measured(
            context: dg.AssetExecutionContext, warehouse: Warehouse, tracking: Tracking
        ) -> Iterator[Any]:
            with warehouse.open() as tables:
                days = wanted(context)
                tables.look_back_as(self.table, self.asked.gold)
                refused = self.refused(tables, days)
                for day in refused:
                    tables.drop_day(self.table, day)
                rows = {day: self.store(tables, tracking, day) for day in days if day not in refused}
                if self.adds_up:
                    yield self._checked(tables, key, rows)
                about = {day: self.told(tables, day) for day in rows}
                drawn = {f"picture_{self.name}": self.picture(tables, max(rows))} if rows else {}
                yield from settle(context, tables, key, declaration, rows, refused, upstream, about, drawn)

        return measured

    def _checked(self, tables: Tables, key: dg.AssetKey, days: Iterable[dt.date]) -> dg.AssetCheckResult:
        found = [f"{day}: {fault}" for day in days for fault in self.amiss(tables, day)]
        return dg.AssetCheckResult(
            asset_key=key, check_name="adds_up", passed=not found, metadata={"amiss": found},
            description="; ".join(found[:3]) or None,
        )  # fmt: skip
