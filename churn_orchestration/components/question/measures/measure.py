"""What all business measures share: rows, numbers and a picture of a day, and what must add up."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from churn_orchestration import stages
from churn_orchestration.business import Business
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.question.day_rows import (
    Columns,
    Rows,
    described,
    put_rows,
    read_files,
)
from churn_orchestration.components.shown import keys
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

ADDS_UP = "adds_up"
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

    def asset(self) -> dg.AssetsDefinition:
        """The asset measures/<question>_<name>, one partition a day."""
        mapping = self.days_read()
        named = keys(self.settings.question.entity) if self.of_entities else []
        return DayTable(
            business=self.business,
            about=self.settings.sentence(),
            like=self.settings.gold,
            table=self.table,
            says=self.says,
            columns=[*named, *described({**self.columns, **_DAY})],
            version=self.settings.version(stages.MEASURES),
            upstream=self.upstream,
            store=self._store_days,
            deps=[
                dg.AssetDep(dg.AssetKey(table.split(".")), partition_mapping=mapping)
                for table in self.upstream
            ],
            checks={ADDS_UP: self.adds_up} if self.adds_up else {},
        ).asset()

    def _store_days(self, tables: Tables, days: list[dt.date]) -> Stored:
        on_days = [OnDay(tables, day) for day in days]
        return Stored(
            rows={on.day: self.store(on) for on in on_days},
            metadata={on.day: self.day_metadata(on) for on in on_days},
            pictures={f"picture_{self.name}": self.picture(on_days[-1])} if on_days else {},
            checks=[self.checked(on_days)] if self.adds_up else [],
        )

    def checked(self, days: Iterable[OnDay]) -> dg.AssetCheckResult:
        """The check that stored days add up."""
        result = [f"{on.day}: {fault}" for on in days for fault in self.amiss(on)]
        return dg.AssetCheckResult(
            check_name=ADDS_UP, passed=not result, metadata={"amiss": result},
            description="; ".join(result[:3]) or None,
        )  # fmt: skip
