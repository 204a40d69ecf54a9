"""What all business measures share: an asset with a partition a day, its table, pictures and
checks.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from churn_orchestration import stages
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
from churn_orchestration.components.question.day_rows import (
    Columns,
    Rows,
    described,
    put_rows,
    read_files,
)
from churn_orchestration.components.shown import keys, look
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.layers import MEASURED_ON, PARQUET_LAYERS
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

_DAY: Columns = {MEASURED_ON: ("date", "the day at whose end this was known")}


@dataclass(frozen=True)
class OnDay:
    """A day that is measured, and what it is measured with."""

    tables: Tables
    day: dt.date

    def file(self, table: str) -> str:
        """SQL: the rows of a table's day."""
        return literal(self.tables.day_file(table, self.day))

    def files(self, table: str) -> str:
        """SQL, in brackets: the rows of a table's days up to this one."""
        return read_files(self.tables.day_files(table, self.day).values())


@dataclass(frozen=True)
class Measure(ABC):
    """A business measure of a question: the table measures.<question>_<name>.

    ``says``: its grain and meaning. ``of_entities``: whether entity and as_of name its rows.
    ``adds_up``: what its check of that name says; empty: there is none.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    columns: ClassVar[Columns]
    of_entities: ClassVar[bool] = False
    adds_up: ClassVar[str] = ""

    business: Business
    settings: "QuestionSettings"

    @property
    def table(self) -> str:
        """``layer.table``."""
        return f"measures.{self.settings.name}_{self.name}"

    @property
    @abstractmethod
    def order(self) -> str:
        """The order of its rows, a total one."""

    @property
    @abstractmethod
    def upstream(self) -> list[str]:
        """The tables that it is made of."""

    @abstractmethod
    def rows(self, on: OnDay) -> Rows:
        """The rows of a day, from what was known at its end; its own column is added."""

    @abstractmethod
    def day_metadata(self, on: OnDay) -> dict[str, Any]:
        """The numbers of a stored day that are worth a plot."""

    @abstractmethod
    def picture(self, on: OnDay) -> str | None:
        """A stored day in one picture; None where there is nothing to draw."""

    def amiss(self, on: OnDay) -> list[str]:
        """What of a stored day does not add up, in words; called where ``adds_up`` says what has
        to.
        """
        raise NotImplementedError

    def days_read(self) -> dg.PartitionMapping | None:
        """The days of the tables upstream that a day is drawn with; None: the same day."""
        return None

    def store(self, on: OnDay) -> int:
        """Store the rows of a day; their number."""
        import pandas as pd

        columns = {**self.columns, **_DAY}
        if self.of_entities:
            entity, base = self.settings.question.entity, self.settings.question.base
            kind = on.tables.columns(base.table)[base.entity]
            columns = {entity: (kind, ""), "as_of": ("date", ""), **columns}
        rows = pd.DataFrame(self.rows(on)).assign(**{MEASURED_ON: on.day})
        return put_rows(on.tables, self.table, on.day, rows, columns, self.order)

    def refused(self, tables: Tables, days: list[dt.date]) -> dict[dt.date, Refusal]:
        """Those of ``days`` whose ground is not valid: of a table in the warehouse, all days up
        to it.
        """
        published = [table for table in self.upstream if table.split(".")[0] in PARQUET_LAYERS]
        landed = [table for table in self.upstream if table not in published]
        return blocked(tables, published, days) | blocked_since(
            tables, landed, self.business.start, days
        )

    def asset(self) -> dg.AssetsDefinition:
        """The asset measures/<question>_<name>, one partition a day."""
        key, declaration = (
            dg.AssetKey(self.table.split(".")),
            self.settings.version(stages.MEASURES),
        )
        upstream, mapping = self.upstream, self.days_read()
        sums = (
            [dg.AssetCheckSpec("adds_up", asset=key, description=self.adds_up)]
            if self.adds_up
            else []
        )
        named = keys(self.settings.question.entity) if self.of_entities else []

        @dg.asset(
            key=key,
            deps=[
                dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=mapping)
                for table in upstream
            ],
            description=f"{self.says}\n\n{self.settings.sentence()}{look(self.business, key)}",
            check_specs=[accepted_spec(key), *sums],
            code_version=declaration,
            **daily(
                self.business, key, {"parquet"}, [*named, *described({**self.columns, **_DAY})]
            ),
        )
        def measured(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
            with warehouse.open() as tables:
                days = [OnDay(tables, day) for day in due(context, tables, key)]
                tables.days.look_back_as(self.table, self.settings.gold)
                refused = self.refused(tables, [on.day for on in days])
                for day in refused:
                    tables.drop_day(self.table, day)
                good = [on for on in days if on.day not in refused]
                rows = {on.day: self.store(on) for on in good}
                if self.adds_up:
                    yield self.checked(key, good)
                about = {on.day: self.day_metadata(on) for on in good}
                drawn = {f"picture_{self.name}": self.picture(good[-1])} if good else {}
                yield from record_and_publish(
                    context,
                    tables,
                    key,
                    Computed(
                        declaration=declaration,
                        rows=rows,
                        refused=refused,
                        upstream=upstream,
                        metadata=about,
                        pictures=drawn,
                    ),
                )

        return measured

    def checked(self, key: dg.AssetKey, days: Iterable[OnDay]) -> dg.AssetCheckResult:
        """The check that stored days add up."""
        result = [f"{on.day}: {fault}" for on in days for fault in self.amiss(on)]
        return dg.AssetCheckResult(
            asset_key=key, check_name="adds_up", passed=not result, metadata={"amiss": result},
            description="; ".join(result[:3]) or None,
        )  # fmt: skip
