"""One churn question, from snapshots and models to predictions and measures, from one block of
YAML.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator, model_validator

from churn_orchestration.business import Business, BusinessError, line_of
from churn_orchestration.churn.calendar import Every, Horizon
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.declared import AttributeTable, EventSource, FeatureSet
from churn_orchestration.churn.features.origin import landed_by_day, named_in
from churn_orchestration.churn.features.perturbation import Pipeline
from churn_orchestration.churn.question.labels import EVENT, STATIC, Label, Question
from churn_orchestration.churn.rows.user_sql import columns_of, parsed
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.question.measures import measure_assets
from churn_orchestration.components.question.model_specs import (
    ActionableSpec,
    ContactSpec,
    EconomicsSpec,
    FairnessSpec,
    ReasonsSpec,
    SearchSpec,
)
from churn_orchestration.components.question.monitoring.drift import drift_asset
from churn_orchestration.components.question.monitoring.first_week import first_week_asset
from churn_orchestration.components.question.monitoring.graded import graded_asset
from churn_orchestration.components.question.monitoring.performance import performance_asset
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring.prediction import prediction_asset
from churn_orchestration.components.question.training.model import model_asset
from churn_orchestration.components.question.training.promotion import METRIC_WORDS
from churn_orchestration.components.question.training.snapshot import snapshot_asset
from churn_orchestration.components.question.worth import ForecastsSpend, Spend
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.source.sql_tables import sql_tables_of
from churn_orchestration.landing.files import Files

_NAME = r"^[a-z][a-z0-9_]*$"
_HORIZONS = ("horizon_days", "horizon_months")
_OF_TIME = (
    "activity", *_HORIZONS, "gap_days", "settle_days", "observation_days", "end", "snapshots",
    "test_as_ofs", "search",
)  # fmt: skip


class EndSpec(dg.Model, dg.Resolvable):
    """The events that end a relation."""

    table: str = Field(
        pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$", description="layer.table of the ending events"
    )
    entity: str | None = Field(
        None, description="the column of the entity, where it has another name there"
    )
    noun: str = Field("cancellation", description="what such an event is called")
    key: list[str] = Field(
        [], description="columns that identify an event, where it may be corrected"
    )

    def source(self, name: str, entity: str) -> EventSource:
        """In the words of ``churn.features``; ``entity``: its column, where no other is named."""
        return EventSource(name, self.table, self.entity or entity, self.noun, tuple(self.key))


class StartSpec(EndSpec):
    """The events that begin a relation, or begin it again: only who is bound on the day is in the
    population.
    """

    noun: str = Field("start", description="what such an event is called")


class LabelSpec(dg.Model, dg.Resolvable):
    """Who has churned, where a table says so."""

    table: str = Field(
        pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$", description="layer.table, e.g. bronze.customers"
    )
    condition: str = Field(description="SQL: who has churned; where it is null, nobody knows")
    entity: str | None = Field(
        None, description="the column of the entity, where it has another name there"
    )


class SnapshotSpec(dg.Model, dg.Resolvable):
    """The as_ofs of a training snapshot."""

    as_ofs: int | None = Field(
        None,
        ge=1,
        description=(
            "how many, the newest matured one last; default: 6, or 3 more than go into the "
            "horizon; of fewer than 1,700 customers up to 12, or 6 more"
        ),
    )
    every: Literal["month", "month_end"] | int = Field(
        "month", description="a calendar month apart, on last days of months, or so many days apart"
    )
    min_history_days: int = Field(28, ge=1, description="days of data that an as_of needs")

    @field_validator("every")
    @classmethod
    def _at_least_a_day(cls, every: Every) -> Every:
        if isinstance(every, int) and every < 1:
            raise ValueError(f"snapshots: every {every} days: at least 1")
        return every


class BandSpec(dg.Model, dg.Resolvable):
    """Where medium, high and critical begin."""

    edges: list[float] = Field(
        [0.3, 0.5, 0.7], description="lower ends of medium, high and critical"
    )
    relative_to: Literal["probability", "base_rate"] = Field(
        "probability", description="or multiples of the base rate"
    )

    @model_validator(mode="after")
    def _ascending(self) -> "BandSpec":
        if len(self.edges) != 3 or self.edges != sorted(set(self.edges)) or self.edges[0] <= 0:
            raise ValueError(
                f"bands: edges {self.edges}: wanted three numbers that ascend from above 0"
            )
        return self


@dg.scaffold_with(
    example(
        features="customer_features",
        activity="orders",
        horizon_days=90,
        value="orders_amount_sum_365d",
    )
)
class ChurnModel(dg.Component, dg.Model, dg.Resolvable):
    """One churn question, complete. Two blocks are two questions side by side."""

    name: str = Field(pattern=_NAME, description="names its snapshots, models and predictions")
    kind: Literal["inactivity", "event", "static"] = Field(
        "inactivity",
        description="how the outcome is known: by silence, by an event, or by a condition",
    )
    features: str = Field(description="name of the feature table in gold that describes an entity")
    activity: str | None = Field(
        None, description="inactivity and event: name of the source that counts as being active"
    )
    horizon_days: int | None = Field(
        None,
        gt=0,
        description="inactivity and event: length of the outcome window; or `horizon_months`",
    )
    horizon_months: int | None = Field(
        None,
        gt=0,
        description="inactivity and event: its length in calendar months: after the last day of a "
        "month, the whole months that follow",
    )
    gap_days: int = Field(0, ge=0, description="days between as_of and the outcome window")
    settle_days: int = Field(
        0, ge=0, description="days that late rows get before a silence is called churn"
    )
    observation_days: int | Literal["all"] = Field(
        "all", description="inactivity: active within, at as_of"
    )
    end: EndSpec | None = Field(None, description="event: the table of ending events")
    start: StartSpec | None = Field(
        None,
        description="event: the table of beginnings: only who is bound is in the population",
    )
    label: LabelSpec | None = Field(
        None, description="static: the condition that says who has churned"
    )
    snapshots: SnapshotSpec = Field(SnapshotSpec(), description="the as_ofs of a training snapshot")
    learner: Literal["blend", "stack", "logistic", "lightgbm", "xgboost", "random_forest"] = Field(
        "blend",
        description="what is served; blend: the weighted mean in log odds of logistic, LightGBM, "
        "XGBoost and, of a question about silence, a purchase process; "
        "stack: the first three, weighed and calibrated on what they say "
        "of customers that they have not seen",
    )
    search: SearchSpec | None = Field(None, description="seek better settings, within a budget")
    test_as_ofs: int = Field(3, ge=1, description="later as_ofs on which a candidate is graded")
    floors: dict[str, float] = Field(
        {}, description="by metric, what a candidate must reach, e.g. auc: 0.7"
    )
    ceilings: dict[str, float] = Field(
        {}, description="by metric, what it must not exceed, e.g. log_loss: 0.6"
    )
    economics: EconomicsSpec = Field(EconomicsSpec(), description="what an offer costs and does")
    contact: ContactSpec = Field(ContactSpec(), description="whom to contact")
    segments: list[str] | None = Field(
        None, description="features whose segments are graded; default: value, recency and tenure"
    )
    bands: BandSpec = Field(BandSpec(), description="bands of risk")
    fairness: FairnessSpec | None = Field(
        None, description="groups of customers that are to be contacted alike"
    )
    actionable: list[ActionableSpec] = Field(
        [], description="features that somebody can move: `churn what-if` seeks the least of it"
    )
    reasons: ReasonsSpec = Field(
        ReasonsSpec(), description="what is kept of why a forecast is as it is"
    )
    vouched: dict[str, str] = Field(
        {},
        description=(
            "features that look like a leak and are none: feature, and why it is known by as_of"
        ),
    )
    vouched_model: str = Field(
        "",
        description="why a model that looks too good is right; it is not promoted without a reason",
    )
    value: str = Field(
        description=(
            "the feature that says what an entity was worth of late, e.g. orders_amount_sum_365d; "
            "or a value model, whose forecast of the day says what it is worth"
        )
    )
    _place: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _consistent(self) -> "ChurnModel":
        if (self.kind == EVENT) != (self.end is not None):
            raise ValueError(f"{self.name}: `end` goes with kind: event, and only with it")
        if self.start and self.kind != EVENT:
            raise ValueError(f"{self.name}: `start` goes with kind: event, and only with it")
        if (self.kind == STATIC) != (self.label is not None):
            raise ValueError(f"{self.name}: `label` goes with kind: static, and only with it")
        if self.kind == STATIC and (
            given := [name for name in _OF_TIME if name in self.model_fields_set]
        ):
            why = (
                "which chooses how much is learned in folds of entities by itself"
                if given == ["search"]
                else "whose outcome is known on the day itself"
            )
            raise ValueError(
                f"{self.name}: `{given[0]}` has no meaning with kind: static, {why}; take it out"
            )
        if self.kind != STATIC:
            if self.activity is None and not self.start:
                raise ValueError(f"{self.name}: kind: {self.kind} needs `activity`")
            if len([name for name in _HORIZONS if getattr(self, name) is not None]) != 1:
                raise ValueError(
                    f"{self.name}: kind: {self.kind} needs `horizon_days` or `horizon_months`, one "
                    "of both"
                )
        if self.label:
            parsed(self.label.condition, f"{self.name}: label")
        for field in ("floors", "ceilings"):
            if unknown := [name for name in getattr(self, field) if name not in METRIC_WORDS]:
                raise ValueError(
                    f'{self.name}: {field}: "{unknown[0]}" is no metric; there are '
                    f"{', '.join(METRIC_WORDS)}"
                )
        moved = [lever.feature for lever in self.actionable]
        if twice := [name for name in moved if moved.count(name) > 1]:
            raise ValueError(f"{self.name}: actionable: {twice[0]}: each feature once")
        if self.observation_days != "all" and self.observation_days < 1:
            raise ValueError(
                f"{self.name}: observation_days {self.observation_days}: at least 1, or all"
            )
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets snapshots/x, models/x, predictions/x, monitoring/x_* and measures/x_*."""
        business = Business.holding(context.path)
        tables = {
            table.name: table
            for table in context.component_tree.get_all_components(of_type=FeatureTable)
        }
        place = context.path / "defs.yaml"
        if self.features not in tables:
            raise BusinessError(
                f'{place}: {self.name}: no feature table "{self.features}" (there are: '
                f"{', '.join(tables)})"
            )
        table, landed = tables[self.features], _landed(context.component_tree, business)
        pipeline = table.pipeline(context.component_tree, business)
        settings = self.settings(
            table, pipeline, str(place), business.settings.timezone, landed,
            self.spend(context.component_tree, business, table),
        )  # fmt: skip
        assets = [
            snapshot_asset(business, settings),
            model_asset(business, settings),
            prediction_asset(business, settings),
            drift_asset(business, settings),
            *measure_assets(business, settings),
        ]
        if self.kind != STATIC:  # there, no outcome lies ahead that could grade a forecast
            assets += [
                graded_asset(business, settings),
                performance_asset(business, settings),
                first_week_asset(business, settings),
            ]
        return dg.Definitions(assets=assets)

    def settings(
        self,
        table: FeatureTable,
        pipeline: Pipeline,
        place: str,
        timezone: str,
        landed: Sequence[str] = (),
        spend: Spend | None = None,
    ) -> QuestionSettings:
        """The question in the words of ``churn.labels``; ``spend``: the value model that ``value``
        names. Raises BusinessError for an unknown name.
        """
        declared = table.declared(timezone)
        sources = {source.name: source for source in declared.sources}
        if self.activity is not None and self.activity not in sources:
            raise BusinessError(
                f'{place}: {self.name}: activity "{self.activity}" is no source of {table.name}, '
                "which has "
                f"{', '.join(sources)}"
            )
        label = None
        if says := self.label:
            label = Label(says.table, says.entity or declared.entity, says.condition)
            _refuse_answers(declared, label, f"{place}: {self.name}")
        names = [feature.name for feature in catalogue(declared)]
        named = [
            ("value", [] if spend else [self.value]),
            ("vouched", self.vouched),
            ("segments", self.segments or []),
            ("actionable", [lever.feature for lever in self.actionable]),
        ]
        if self.fairness and not self.fairness.table:
            named.append(("fairness", self.fairness.groups))
        for field, given in named:
            if unknown := [name for name in given if name not in names]:
                near = difflib.get_close_matches(unknown[0], names, 5, 0.5)
                raise BusinessError(
                    f'{place}: {self.name}: {field} "{unknown[0]}" is no feature of {table.name}'
                    f"{', nor a value model' if field == 'value' else ''}; there are "
                    f"{', '.join(near or names[:5])}, ... (all: gold.{table.name}_catalogue)"
                )
        self._refuse_own_history(f"{place}: {self.name}")
        usual = [
            self.value,
            f"{self.activity}_days_since_last",
            f"{self.activity}_days_since_first",
        ]
        horizon = Horizon(
            self.horizon_days or 0, self.gap_days, self.settle_days, self.horizon_months or 0
        )
        question = Question(
            self.name,
            self.kind,
            declared,
            sources[self.activity] if self.activity else None,
            horizon,
            self.observation_days,
            self.end.source("end", declared.entity) if self.end else None,
            label,
            self.start.source("start", declared.entity) if self.start else None,
        )
        return QuestionSettings(
            question,
            f"gold.{table.name}",
            # Of a static question, today is the only day whose label is known today.
            self.snapshots.as_ofs if label is None else 1,
            self.snapshots.min_history_days if label is None else 1,
            self.learner,
            self.test_as_ofs,
            tuple(self.bands.edges),
            self.bands.relative_to == "base_rate",
            spend.table if spend else self.value,
            tuple(
                self.segments if self.segments is not None else filter(names.__contains__, usual)
            ),
            self.economics.economics(),
            self.contact.rule(),
            self.search.budget() if self.search else None,
            self.floors,
            self.ceilings,
            self.vouched,
            self.vouched_model,
            tuple(landed),
            self.snapshots.every,
            self.fairness.fairness(declared.entity) if self.fairness else None,
            tuple(lever.lever() for lever in self.actionable),
            self.reasons.reasons(),
            pipeline=pipeline,
            spend=spend,
        )

    def spend(
        self, tree: dg.ComponentTree, business: Business, table: FeatureTable
    ) -> Spend | None:
        """The value model that ``value`` names; None: a feature says what an entity was worth.

        Raises
        ------
        BusinessError : it is a feature too, or its forecasts are of others
        """
        models = {each.name: each for each in tree.get_all_components(of_type=ForecastsSpend)}  # type: ignore[type-abstract]
        if self.value not in models:
            return None
        model, place = models[self.value], f"{line_of(self._place, self.name)}: {self.name}: value"
        features = catalogue(table.declared(business.settings.timezone))
        if self.value in [feature.name for feature in features]:
            raise BusinessError(
                f'{place}: "{self.value}" is a feature of {table.name} and a value model: give the '
                "model another name"
            )
        if model.features != table.name:
            raise BusinessError(
                f"{place}: {self.value} forecasts those of {model.features}, not of {table.name}"
            )
        return model.spend(tree, business)

    def _refuse_own_history(self, place: str) -> None:
        """Refuse to move what a purchase process reads: it is the past itself."""
        from churn_orchestration.churn.process.columns import gold_columns

        past = gold_columns(self.activity) if self.activity else ()
        for lever in self.actionable:
            if lever.feature in past:
                raise BusinessError(
                    f"{place}: actionable {lever.feature}: it says when there was activity, which "
                    "is what the question asks about and nobody can move; take it out"
                )


def questions_in(tree: dg.ComponentTree, business: Business) -> dict[str, QuestionSettings]:
    """The churn questions of a business by name."""
    features = {table.name: table for table in tree.get_all_components(of_type=FeatureTable)}
    result, landed = {}, _landed(tree, business)
    for question in tree.get_all_components(of_type=ChurnModel):
        table = features[question.features]
        pipeline = table.pipeline(tree, business)
        result[question.name] = question.settings(
            table, pipeline, str(business.folder), business.settings.timezone, landed,
            question.spend(tree, business, table),
        )  # fmt: skip
    return result


def _landed(tree: dg.ComponentTree, business: Business) -> list[str]:
    """The tables whose rows came in files by day, as far as the declarations say."""
    sources = tree.get_all_components(of_type=SourceTable)
    bronze = [f"bronze.{source.name}" for source in sources if Files(source.files or "").is_daily]
    silver = {name: table.upstream for name, table in sql_tables_of(business).items()}
    return sorted(landed_by_day(bronze, silver))


def _refuse_answers(declared: FeatureSet, label: Label, place: str) -> None:
    """Refuse a feature that reads, from the label's table, a column that the label is made of."""
    answers = {name.lower() for name in columns_of(parsed(label.condition, place))}
    for table in declared.inputs:
        read = {m.name: m.column for m in table.measures} | {
            c.name: c.column for c in table.categories
        }
        read |= {flag.name: flag.condition for flag in table.flags}
        read |= (
            {date.name: date.column for date in table.dates}
            if isinstance(table, AttributeTable)
            else {}
        )
        mart = table.mart if isinstance(table, AttributeTable) else None
        for name, sql in read.items():
            named = named_in(mart) if mart else columns_of(parsed(sql, f"{place}: {name}"))
            used = {column.lower() for column in named}
            if label.table in table.reads and (answering := sorted(used & answers)):
                raise BusinessError(
                    f'{place}: {table.name}: {name} reads "{answering[0]}" of {label.table}, as '
                    "the label does "
                    f"({label.condition}): it would be the answer itself; take it out of the "
                    "features"
                )
