"""What customers will spend -> values/x, one row per entity and day; monitoring/x_value, how it
did.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator, model_validator

from churn_orchestration import stages
from churn_orchestration.business import Business, BusinessError, digest, line_of
from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.churn.value.question import (
    BLEND,
    COVERAGE,
    FORECASTER,
    FORECASTERS,
    HIGH,
    LAST_PERIOD,
    LEARNED,
    LIFETIME,
    LOW,
    METRICS,
    OUTCOME,
    PER_PURCHASE,
    PROCESS,
    PURCHASES,
    SERVED,
    SPEND,
    SpendQuestion,
)
from churn_orchestration.components.day_table import DayTable, Stored
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.features.proof import require_proved
from churn_orchestration.components.question.day_rows import Columns, described, put_rows
from churn_orchestration.components.question.worth import ForecastsSpend, Spend
from churn_orchestration.components.scaffolding import example
from churn_orchestration.components.shown import keys
from churn_orchestration.storage.day_state import Refusal
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.value.fits import Fits
    from churn_orchestration.components.value.spend import Forecasts

NAME = r"^[a-z][a-z0-9_]*$"
INTERVALS_HOLD, SHORT = "intervals_hold", 0.05
"""The check of the intervals, and by how much fewer outcomes than declared may lie within them."""
RESERVED = {
    SPEND, LOW, HIGH, PURCHASES, PER_PURCHASE, LIFETIME, FORECASTER, PROCESS, OUTCOME, LAST_PERIOD,
    *LEARNED, "tier",
}  # fmt: skip
QUALITY: Columns = {
    "as_of": ("date", "the day whose forecasts are compared with what came"),
    "customers": ("bigint", "of them"),
    "forecaster": (
        "text",
        "; ".join(f"{name}: {words}" for name, words in FORECASTERS.items()),
    ),
    "metric": ("text", "; ".join(f"{name}: {words}" for name, words in METRICS.items())
               + f"; {COVERAGE}: share of outcomes within their interval"),
    "value": ("double", "of the metric"),
    MEASURED_ON: ("date", "the day at whose end this was known"),
}  # fmt: skip


class TierSpec(dg.Model, dg.Resolvable):
    """One tier of value."""

    name: str = Field(pattern=NAME, description="what it is called")
    start: float = Field(
        0, ge=0, allow_inf_nan=False, description="the smallest expected spend in it"
    )


@dg.scaffold_with(
    example(
        features="customer_features", activity="orders", measure="amount", horizon_days=90,
        tiers=[{"name": "low"}, {"name": "high", "start": 100}],
    )
)  # fmt: skip
class ValueModel(ForecastsSpend, dg.Model, dg.Resolvable):
    """What each customer will spend within a horizon, in money, with an interval."""

    name: str = Field(pattern=NAME, description="the table's name in values")
    description: str = Field("", description="shown in the UI")
    features: str = Field(pattern=NAME, description="the feature table whose customers they are")
    activity: str = Field(pattern=NAME, description="the source of its events that are purchases")
    measure: str = Field(
        pattern=NAME, description="the measure of that source that is spent, never below 0"
    )
    horizon_days: int = Field(ge=1, description="over how many days it is summed")
    gap_days: int = Field(0, ge=0, description="days between as_of and the horizon")
    settle_days: int = Field(0, ge=0, description="days that late rows get before it is graded")
    observation_days: int | Literal["all"] = Field(
        "all", description="who is forecast has bought within so many days; all: ever"
    )
    interval: float = Field(
        0.8, gt=0, lt=1, description="share of outcomes that an interval is to hold"
    )
    currency: str | None = Field(
        None, description="the column of the events' table that names the currency; two are refused"
    )
    yearly_discount: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="with it, also what all purchases to come are worth today, a year making money "
        "worth less by this share, e.g. 0.1; the process extrapolates, and nobody can grade it",
    )
    tiers: list[TierSpec] = Field(
        [], description="tiers of expected spend, the lowest first: each from its `start` up"
    )
    _place: Path = PrivateAttr(default=Path())

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: list[TierSpec]) -> list[TierSpec]:
        if tiers and tiers[0].start != 0:
            raise ValueError(f"tiers: {tiers[0].name}, the lowest, starts at 0")
        for low, high in pairwise(tiers):
            if high.start <= low.start:
                raise ValueError(
                    f"tiers: {high.name} starts at {high.start:g}, not above {low.name} "
                    f"({low.start:g}): two tiers would overlap"
                )
        return tiers

    @model_validator(mode="after")
    def _observes_a_day(self) -> "ValueModel":
        if isinstance(self.observation_days, int) and self.observation_days < 1:
            raise ValueError(
                f"{self.name}: observation_days is {self.observation_days}: at least 1"
            )
        return self

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """As every component, and with the YAML that declares it."""
        loaded = super().load(attributes, context)
        loaded._place = Path(context.path) / "defs.yaml"
        return loaded

    def question(self, table: FeatureTable, timezone: str) -> SpendQuestion:
        """What is forecast. Raises BusinessError: no such source, measure or feature."""
        declared = table.declared(timezone)
        sources = {source.name: source for source in declared.sources}
        source = self._named(sources, self.activity, "activity")
        measures = {measure.name: measure for measure in source.measures}
        question = SpendQuestion(
            self.name, declared.entity, source,
            self._named(measures, self.measure, "measure"),
            Horizon(self.horizon_days, self.gap_days, self.settle_days),
            None if self.observation_days == "all" else self.observation_days,
            self.interval, declared, self.currency, self.yearly_discount,
        )  # fmt: skip
        if question.entity in RESERVED:
            raise BusinessError(
                f"{line_of(self._place, self.name)}: {self.name}: the entity of {self.features} is "
                f"called {question.entity}, as a column of forecasts is: rename it in the .sql"
            )
        there = {feature.name for feature in catalogue(declared)}
        if missing := [name for name in question.columns if name not in there]:
            raise BusinessError(
                f"{line_of(self._place, self.name)}: {self.name}: {self.features} has no "
                f"{missing[0]}, which a forecast of spend reads"
            )
        return question

    def _named(self, those: Mapping[str, Any], name: str, key: str) -> Any:
        if name not in those:
            place, there = line_of(self._place, self.name), ", ".join(those) or "none at all"
            raise BusinessError(f"{place}: {self.name}: {key}: there is no {name} ({there})")
        return those[name]

    def forecasting(
        self, tree: dg.ComponentTree, business: Business
    ) -> "tuple[SpendQuestion, Callable[[Tables], Fits]]":
        """What is forecast, and from the tables to the fits of it."""
        tables = {each.name: each for each in tree.get_all_components(of_type=FeatureTable)}
        table = self._named(tables, self.features, "features")
        question = self.question(table, business.settings.timezone)
        pipeline = table.pipeline(tree, business)

        def fits(tables: Tables) -> "Fits":
            from churn_orchestration.components.value.fits import Fits

            def prove(day: dt.date) -> None:
                require_proved(tables, pipeline, f"gold.{self.features}", day)

            # Neither tiers nor a discount change what is fitted.
            read = digest(replace(question, yearly_discount=None), self.features)
            return Fits(tables, question, stages.version(read, stages.VALUES), prove)

        return question, fits

    def spend(self, tree: dg.ComponentTree, business: Business) -> Spend:
        """The same as what a customer is worth to a question of churn."""
        question, fits = self.forecasting(tree, business)

        def of(tables: Tables, frame: "pd.DataFrame") -> "pd.Series":
            from churn_orchestration.components.value.spend import Forecasts

            return Forecasts(question, fits(tables)).of_rows(frame)

        unit = question.measure.unit or question.measure.column
        return Spend(f"values.{self.name}", unit, self._version(question), of)

    def _version(self, question: SpendQuestion) -> str:
        return stages.version(digest(question, self.features, self._edges()), stages.VALUES)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets values/x and monitoring/x_value."""
        business = Business.holding(context.path)
        question, fits = self.forecasting(context.component_tree, business)
        gold, version = f"gold.{self.features}", self._version(question)
        landed = list(
            dict.fromkeys(
                [question.activity.table, question.activity.days_table, *question.features.tables]
            )
        )
        words = (
            f"What each {question.entity} will spend in {question.horizon.words}, by the measure "
            f"{self.measure} of {self.activity}. {self.description}"
        )
        values = DayTable(
            business=business,
            about=words,
            like=gold,
            version=version,
            table=f"values.{self.name}",
            says=f"One row per {question.entity} and as_of: expected spend with an interval, by a "
            "purchase process and the spend on a purchase, and by what was learned from outcomes "
            "where that was better on earlier days; fitted to what was known at the last "
            "month-end.",
            columns=[*keys(question.entity), *described(self._columns(question))],
            upstream=[gold, *landed],
            store=partial(self._store, question, fits),
            faults=partial(self._faults, question),
        )
        quality = DayTable(
            business=business,
            about=words,
            like=gold,
            version=version,
            table=f"monitoring.{self.name}_value",
            says="One row per forecaster and metric: how the forecasts of the newest month-end "
            "whose outcome is known on the day came out, beside what needs no model.",
            columns=described(QUALITY),
            upstream=[f"values.{self.name}", *landed],
            store=partial(self._store_quality, question, fits),
            checks={
                INTERVALS_HOLD: f"At least {self.interval - SHORT:.0%} of the outcomes that are "
                f"known newest lie within their {self.interval:.0%} interval."
            },
        )
        return dg.Definitions(assets=[values.asset(), quality.asset()])

    def _edges(self) -> list[tuple[str, float]]:
        return [(tier.name, tier.start) for tier in self.tiers]

    def _columns(self, question: SpendQuestion) -> Columns:
        unit = question.measure.unit or question.measure.column
        share = f"{self.interval:.0%}"
        return {
            SPEND: ("double", f"mean of what is spent in {question.horizon.words}, {unit}"),
            LOW: ("double", f"lower end of the {share} interval, {unit}; null: no outcome yet"),
            HIGH: ("double", f"upper end of the {share} interval, {unit}; null: no outcome yet"),
            PURCHASES: ("double", "mean number of days with a purchase"),
            PER_PURCHASE: ("double", f"mean spend on such a day, {unit}"),
            LIFETIME: (
                "double",
                f"what all purchases to come are worth today, {unit}: extrapolated, never graded; "
                "null: no discount is declared",
            ),
            "tier": ("text", "tier of expected spend; null: none is declared"),
            FORECASTER: (
                "text",
                f"which forecast it is: {PROCESS}, or {BLEND} with what was learned from outcomes",
            ),
            "outcome_known_on": ("date", "the day on which it is known what was spent"),
        }

    def _store(
        self,
        question: SpendQuestion,
        fits: "Callable[[Tables], Fits]",
        tables: Tables,
        days: list[dt.date],
    ) -> Stored:
        from churn_orchestration.components.value.spend import Forecasts

        forecasts = Forecasts(question, fits(tables))
        entity = identifier(question.entity)
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            features = literal(tables.day_file(f"gold.{self.features}", day))
            forecast, reason = forecasts.of_day(features, day)
            tables.db.register("_forecast", forecast)
            described_rows = tables.rows(f"describe from {features}")
            [kind] = [kind for name, kind, *_ in described_rows if name == question.entity]
            typed = f"cast({entity} as {kind}) as {entity}"
            numbers = ", ".join(
                f"{name}::double as {name}" if name in forecast else f"null::double as {name}"
                for name in (SPEND, LOW, HIGH, PURCHASES, PER_PURCHASE, LIFETIME)
            )
            forecaster = FORECASTER if FORECASTER in forecast else "null"
            select = (
                f"select {typed}, {literal(day)} as as_of, {numbers}, "
                f"{self._tier()}::varchar as tier, {forecaster}::varchar as {FORECASTER}, "
                f"{literal(question.horizon.label_known_on(day))} as outcome_known_on "
                f"from _forecast order by {entity}"
            )
            rows[day] = tables.put_day(f"values.{self.name}", day, select)
            tables.db.unregister("_forecast")
            about[day] = self._numbers(tables, forecasts, day, reason)
        return Stored(rows=rows, metadata=about)

    def _faults(
        self, question: SpendQuestion, tables: Tables, days: list[dt.date]
    ) -> dict[dt.date, Refusal]:
        """The days whose amounts no forecast of spend describes."""
        from churn_orchestration.components.value.spend import fault_of_amounts

        if not days or not fault_of_amounts(tables, question, max(days)):
            return {}
        faults = {day: fault_of_amounts(tables, question, day) for day in days}
        return {day: fault for day, fault in faults.items() if fault}

    def _tier(self) -> str:
        """SQL: the tier of an expected spend."""
        highest_first = sorted(self._edges(), key=lambda tier: -tier[1])
        cases = " ".join(
            f"when {SPEND} >= {start!r} then {literal(name)}" for name, start in highest_first
        )
        return f"case {cases} end" if cases else "null"

    def _numbers(
        self, tables: Tables, forecasts: "Forecasts", day: dt.date, reason: Any
    ) -> dict[str, Any]:
        file = literal(tables.day_file(f"values.{self.name}", day))
        [(total,)] = tables.rows(f"select coalesce(sum({SPEND}), 0) from {file}")
        result: dict[str, Any] = {"expected_spend": round(total, 2)}
        if reason is not None:
            result["no_forecast"] = reason.reason
        if before := forecasts.earlier(day):
            result["intervals_from"] = str(before)
        if decision := forecasts.fits.decision(forecasts.fits.month_end(day)):
            result[FORECASTER] = BLEND if decision.blend else PROCESS
            result["weights"] = {name: round(w, 3) for name, w in decision.weights.items()}
            result["better_than_the_process"] = {
                name: f"{lead:+.4f}" for name, (lead, *_) in decision.leads.items()
            }
        return result

    def _store_quality(
        self,
        question: SpendQuestion,
        fits: "Callable[[Tables], Fits]",
        tables: Tables,
        days: list[dt.date],
    ) -> Stored:
        from churn_orchestration.components.value.spend import Forecasts

        forecasts = Forecasts(question, fits(tables))
        rows, about = dict[dt.date, int](), dict[dt.date, Mapping[str, Any]]()
        for day in days:
            measured = [{**row, MEASURED_ON: day} for row in forecasts.quality(day)]
            table = f"monitoring.{self.name}_value"
            rows[day] = put_rows(tables, table, day, measured, QUALITY, "forecaster, metric")
            about[day] = {
                f"{row['forecaster']}_{row['metric']}": round(row["value"], 4) for row in measured
            }
        checks = [self._intervals_hold(about[max(days)])] if days else []
        return Stored(rows=rows, metadata=about, checks=checks)

    def _intervals_hold(self, numbers: Mapping[str, Any]) -> dg.AssetCheckResult:
        """Whether as many outcomes as declared lay within their intervals; also where none could
        yet.
        """
        held = numbers.get(f"{SERVED}_{COVERAGE}")
        short = held is not None and held < self.interval - SHORT
        words = None
        if short:
            words = (
                f"{held:.0%} of the outcomes lie within their {self.interval:.0%} interval: "
                "customers spend otherwise than when the intervals were measured, as in a season"
            )
        return dg.AssetCheckResult(
            check_name=INTERVALS_HOLD, passed=not short, description=words,
            severity=dg.AssetCheckSeverity.WARN,
        )  # fmt: skip
