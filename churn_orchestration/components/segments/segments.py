"""Segments by rules -> segments/x, one row per entity and day."""

import datetime as dt
import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import dagster as dg
import duckdb
from pydantic import Field, PrivateAttr, model_validator

from churn_orchestration import pictures, stages
from churn_orchestration.business import Business, BusinessError, digest, line_of
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.rows.shapes import DATA_FAULTS, fault_message
from churn_orchestration.churn.rows.user_sql import columns_of, parsed
from churn_orchestration.churn.segments.rules import (
    FORECAST,
    NOBODY,
    VALUE,
    Rule,
    RuleSet,
    described,
    in_nobody,
)
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.question.churn_model import ChurnModel
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import keys
from churn_orchestration.components.source.sql_tests import MadeBySql
from churn_orchestration.components.value.value_model import ValueModel
from churn_orchestration.storage.warehouse import Tables

NAME = r"^[a-z][a-z0-9_]*$"
OCCUR = "occur"
FLOW_DAYS = dt.timedelta(days=28)
"""Over so many days the picture shows who moved, where so many are stored."""
COLUMNS = {
    "segment": ("text", "the first whose rule holds, else the rest"),
    "priority": ("integer", "1 is the first to act on; null: none is declared"),
    "action": ("text", "what to do about them; null: none is declared"),
}


class SegmentSpec(dg.Model, dg.Resolvable):
    """One segment."""

    name: str = Field(pattern=NAME, description="what it is called")
    when: str = Field(
        description="SQL over features, forecast, value and `columns`: who is in it, if in none "
        "before it"
    )
    action: str = Field("", description="what to do about them, in words")
    priority: int | None = Field(None, ge=1, description="1 is the first to act on")


class RestSpec(dg.Model, dg.Resolvable):
    """The segment of all others."""

    name: str = Field("others", pattern=NAME, description="what it is called")
    action: str = Field("", description="what to do about them, in words")
    priority: int | None = Field(None, ge=1, description="1 is the first to act on")


@dg.scaffold_with(
    example(
        features="customer_features",
        segments=[
            {
                "name": "lapsing",
                "when": "orders_days_since_last > 30",
                "action": "write to them",
                "priority": 1,
            }
        ],
        rest={"name": "active"},
    )
)
class Segments(dg.Component, dg.Model, dg.Resolvable):
    """Rules that put every customer of a day into one segment: the first rule that holds."""

    name: str = Field(pattern=NAME, description="the table's name in segments")
    description: str = Field("", description="shown in the UI")
    features: str = Field(pattern=NAME, description="the feature table whose customers they are")
    question: str | None = Field(
        None,
        description="a churn question whose forecast of the day the rules may read: "
        f"{', '.join(FORECAST)}; null for whom it does not forecast",
    )
    value: str | None = Field(
        None,
        description=f"a value model that the rules may read: {', '.join(VALUE)}; null for whom it "
        "does not forecast",
    )
    columns: dict[str, str] = Field(
        {},
        description="name: SQL over features, forecast, value and the columns before it; "
        "stored too",
    )
    segments: list[SegmentSpec] = Field(
        min_length=1, description="in their order: the first whose `when` holds counts"
    )
    rest: RestSpec = Field(RestSpec(), description="whom no segment takes")
    _place: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _names_once(self) -> "Segments":
        names = [*(segment.name for segment in self.segments), self.rest.name]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: two segments are called {twice[0]}")
        for name, sql in self.columns.items():
            parsed(sql, f"{self.name}: columns: {name}")
        for segment in self.segments:
            parsed(segment.when, f"{self.name}: {segment.name}: when")
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    @property
    def rules(self) -> RuleSet:
        """The rules in the words of ``churn.segments``."""
        rules = (Rule(s.name, s.when, s.action, s.priority) for s in self.segments)
        rest = Rule(self.rest.name, "", self.rest.action, self.rest.priority)
        return RuleSet(tuple(rules), rest, self.columns)

    def made(self, tree: dg.ComponentTree) -> MadeBySql:
        """How its table is made in a database that holds what it reads, for the types of its
        columns.
        """
        tables = {each.name: each for each in tree.get_all_components(of_type=FeatureTable)}
        entity = self._named(tables, self.features, "features").entity
        forecast = f"predictions.{self.question}" if self.question else None
        value = f'"values".{self.value}' if self.value else None
        rows = f"({described(f'gold.{self.features}', forecast, value, entity)})"
        select = self.rules.assigned(rows, [entity, "as_of"])
        return MadeBySql(f"segments.{self.name}", self._reads, lambda *_: select)

    @property
    def _reads(self) -> list[str]:
        read = [f"gold.{self.features}"]
        read += [f"predictions.{self.question}"] if self.question else []
        return read + ([f"values.{self.value}"] if self.value else [])

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset segments/x."""
        business, tree = Business.holding(context.path), context.component_tree
        features = {each.name: each for each in tree.get_all_components(of_type=FeatureTable)}
        questions = {each.name: each for each in tree.get_all_components(of_type=ChurnModel)}
        table = self._named(features, self.features, "features")
        if self.question:
            question = self._named(questions, self.question, "question")
            self._of_same(question.features, self.question)
        if self.value:
            models = {each.name: each for each in tree.get_all_components(of_type=ValueModel)}
            model = self._named(models, self.value, "value")
            self._of_same(model.features, self.value)
        known = [feature.name for feature in catalogue(table.declared(business.settings.timezone))]
        self._require_columns([table.entity, "as_of", *known])
        gold = f"gold.{self.features}"
        declaration = digest(self.rules, self._reads)
        asset = DayTable(
            business=business,
            table=f"segments.{self.name}",
            says=f"One row per {table.entity} of {gold} and as_of: the first segment whose rule "
            f"holds, of {', '.join(self.rules.names)}.",
            about=self.description,
            like=gold,
            columns=self._columns(table.entity),
            version=stages.version(declaration, stages.SEGMENTS),
            upstream=self._reads,
            store=partial(self._store, table.entity),
            checks={
                OCCUR: "Somebody is in every segment on the newest day; one that nobody can be in, "
                "for a segment before it takes all, is named with it."
            },
        ).asset()
        return dg.Definitions(assets=[asset])

    def _named(self, those: Mapping[str, Any], name: str, key: str) -> Any:
        if name not in those:
            place, there = line_of(self._place, self.name), ", ".join(those) or "none at all"
            raise BusinessError(f"{place}: {self.name}: {key}: there is no {name} ({there})")
        return those[name]

    def _of_same(self, features: str, name: str) -> None:
        """Refuse what forecasts the customers of another feature table."""
        if features != self.features:
            raise BusinessError(
                f"{line_of(self._place, self.name)}: {self.name}: {name} forecasts those of "
                f"{features}, not of {self.features}"
            )

    def _require_columns(self, features: list[str]) -> None:
        """Refuse a rule that reads what is no feature, no part of the forecast and no own column.

        Raises
        ------
        BusinessError : with file, line and what is near
        """
        known = [*features, *(FORECAST if self.question else ()), *(VALUE if self.value else ())]
        lower = [name.lower() for name in (*known, *COLUMNS)]
        own = [name.lower() for name in self.columns]
        if taken := [
            name for name in self.columns if name.lower() in lower or own.count(name.lower()) > 1
        ]:
            raise BusinessError(
                f"{line_of(self._place, self.name)}: {self.name}: columns: {taken[0]} is there "
                "already: give it another name"
            )
        for name, sql in self.columns.items():
            self._require(sql, known, f"columns: {name}", self.name)
            known.append(name)
        for segment in self.segments:
            self._require(segment.when, known, "when", self.name, segment.name)

    def _require(self, sql: str, known: list[str], key: str, *block: str) -> None:
        place = f"{line_of(self._place, *block)}: {': '.join(block)}: {key}"
        refuse_unknown_columns(sql, known, place)

    def _columns(self, entity: str) -> list[dg.TableColumn]:
        described = [dg.TableColumn(name, *words) for name, words in COLUMNS.items()]
        own = [dg.TableColumn(name, "computed", sql) for name, sql in self.columns.items()]
        return [*keys(entity), *described, *own]

    def _store(self, entity: str, tables: Tables, days: list[dt.date]) -> Stored:
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            source = f"({self._rows(entity, tables, day)})"
            select = self.rules.assigned(source, [entity, "as_of"])
            try:
                rows[day] = tables.put_day(
                    f"segments.{self.name}", day, f"{select} order by {identifier(entity)}"
                )
            except (duckdb.BinderException, *DATA_FAULTS) as error:
                raise BusinessError(
                    f"{line_of(self._place, self.name)}: {self.name}: {fault_message(error)}"
                ) from None
            about[day] = self._numbers(entity, tables, day)
        newest = max(days, default=None)
        checks = [self._occur(entity, tables, newest)] if newest else []
        drawn = self._pictures(entity, tables, newest) if newest else {}
        return Stored(rows=rows, metadata=about, pictures=drawn, checks=checks)

    def _rows(self, entity: str, tables: Tables, day: dt.date) -> str:
        """SQL: the features of a day, with the forecast of each customer."""
        features = literal(tables.day_file(f"gold.{self.features}", day))

        def rows_of(table: str) -> str:
            file = tables.day_file(table, day)
            return literal(file) if file else NOBODY

        forecast = rows_of(f"predictions.{self.question}") if self.question else None
        value = rows_of(f"values.{self.value}") if self.value else None
        return described(features, forecast, value, entity)

    def _sizes(self, tables: Tables, day: dt.date) -> dict[str, int]:
        file = literal(tables.day_file(f"segments.{self.name}", day))
        return dict(tables.rows(f"select segment, count(*) from {file} group by 1"))

    def _numbers(self, entity: str, tables: Tables, day: dt.date) -> dict[str, Any]:
        """The customers of each segment, and the share that has moved since the day before."""
        sizes, table = self._sizes(tables, day), f"segments.{self.name}"
        result: dict[str, Any] = {name: sizes.get(name, 0) for name in self.rules.names}
        before = [each for each in tables.day_files(table, day) if each < day]
        if before:
            now, then = (literal(tables.day_file(table, each)) for each in (day, before[-1]))
            [(moved, both)] = tables.rows(
                f"select count(*) filter (now.segment <> was.segment), count(*) from {now} as now "
                f"join {then} as was using ({identifier(entity)})"
            )
            result |= {"moved_share": round(moved / both, 4) if both else 0.0}
        return result

    def _occur(self, entity: str, tables: Tables, day: dt.date) -> dg.AssetCheckResult:
        counted = self.rules.counted(f"({self._rows(entity, tables, day)})")
        met = dict[str, dict[str, int]]()
        for rule, segment, customers in tables.rows(f"{counted} order by customers desc, segment"):
            met.setdefault(rule, {})[segment] = customers
        names = [rule.name for rule in self.rules.rules]
        empty = in_nobody(names, self._sizes(tables, day), met)
        return dg.AssetCheckResult(
            check_name=OCCUR,
            passed=not empty,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{day}: {'; '.join(empty)}" if empty else None,
            metadata={"empty": empty},
        )

    def _pictures(self, entity: str, tables: Tables, day: dt.date) -> dict[str, str | None]:
        """The customers of each segment over the stored days; its mean risk and value."""
        table = f"segments.{self.name}"
        files = ", ".join(map(literal, tables.day_files(table, day).values()))
        counted = f"select as_of, segment, count(*) from read_parquet([{files}])"
        course = tables.rows(f"{counted} group by all order by all")
        means = []
        if self.question:
            means = tables.records(
                "select segment, count(*) as customers, avg(churn_probability) as "
                "churn_probability, avg(recent_value) as recent_value "
                f"from {literal(tables.day_file(table, day))} "
                f"join ({self._rows(entity, tables, day)}) using ({identifier(entity)}) "
                "where churn_probability is not null group by 1 order by 1"
            )
        return {
            "picture_segments": pictures.segments(self.name, self.rules.names, course),
            "picture_flows": self._flows(entity, tables, day),
            "picture_value_and_risk": pictures.value_and_risk(self.name, day, means),
        }

    def _flows(self, entity: str, tables: Tables, day: dt.date) -> str | None:
        """Who moved since the last stored day that is four weeks old, or the oldest."""
        files = tables.day_files(f"segments.{self.name}", day)
        before = [each for each in files if each < day]
        old_enough = [each for each in before if each <= day - FLOW_DAYS]
        since = max(old_enough, default=min(before, default=None))
        if since is None:
            return None
        moved = tables.rows(
            "select was.segment, now.segment, count(*) "
            f"from {literal(files[since])} as was join {literal(files[day])} as now "
            f"using ({identifier(entity)}) where was.segment <> now.segment "
            "group by all order by all"
        )
        return pictures.flows(self.name, self.rules.names, since, day, moved)


def refuse_unknown_columns(sql: str, known: Sequence[str], place: str) -> None:
    """Refuse an expression over a customer's row that reads a column which is none of ``known``.

    Raises
    ------
    BusinessError : ``place``, the column, and what is near or would make it known
    """
    names = {name.lower() for name in known}
    for column in columns_of(parsed(sql, place)):
        if column.lower() in names:
            continue
        near = difflib.get_close_matches(column, known, 3)
        meant = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}"
        if column in FORECAST:
            meant = "to read the forecast, name its `question`"
        elif column in VALUE:
            meant = "to read what is expected to be spent, name its `value` model"
        raise BusinessError(f'{place}: no column "{column}"; {meant}')
