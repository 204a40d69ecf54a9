"""The forecasts of spend of a day, and how those of an earlier day came out; on the warehouse."""

import datetime as dt
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError, digest
from churn_orchestration.churn.calendar import DAY, last_month_end
from churn_orchestration.churn.features.parts import scaled
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.process.fitting import NoFit
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.churn.value import metrics
from churn_orchestration.churn.value.forecast import SpendForecast, fit_forecast
from churn_orchestration.churn.value.question import COVERAGE, HIGH, LOW, SPEND, SpendQuestion
from churn_orchestration.churn.value.spread import Spread
from churn_orchestration.storage.files import kept
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

OUTCOME, LAST_PERIOD = "spent", "last_period"
FORECASTER = "process"


def fault_of_amounts(tables: Tables, question: SpendQuestion, day: dt.date) -> str | None:
    """Why no forecast of spend describes the amounts that are known on a day; None: one does.

    Raises
    ------
    BusinessError : there is no column that is declared to name the currency
    """
    column, table = identifier(question.measure.column), question.activity.table
    events = visible(question.activity, day, "*")
    [(below,)] = tables.rows(f"select count(*) from ({events}) where {column} < 0")
    if below:
        return (
            f"{below:,} rows of {table} have {question.measure.column} below 0: let its .sql leave "
            "refunds out, or net them within an order"
        )
    if question.currency is None:
        return None
    columns = tables.columns(table)
    if question.currency not in columns:
        raise BusinessError(
            f'{question.name}: currency: {table} has no column "{question.currency}" '
            f"({', '.join(columns)})"
        )
    named = identifier(question.currency)
    there = tables.rows(f"select distinct {named} from ({events}) order by 1 limit 3")
    if len(there) < 2:
        return None
    return (
        f"{table} has amounts in {there[0][0]} and {there[1][0]}: let its .sql convert them to one "
        "currency"
    )


class Forecasts:
    """The forecasts of spend of the days of a run; those of an earlier day are computed once.

    ``version``: what they depend on besides the rows, a ``stages.Version`` as text
    """

    def __init__(self, tables: Tables, question: SpendQuestion, version: str) -> None:
        self.tables, self.question, self.version = tables, question, version
        self._earlier_forecasts = cache(self._forecast_again)
        self._model = cache(self._fit)
        self.spread = cache(self._spread)

    def of_day(self, rows: str, day: dt.date) -> "tuple[pd.DataFrame, NoFit | None]":
        """The forecasts of a day; without rows, and why, where no process fits.

        ``rows``: SQL to select features from. Returns the entity and the columns of `SpendForecast`
        with low and high, null without an earlier day that shows how such forecasts come out
        """
        forecast, reason = self._expected(rows, day, self.question.yearly_discount)
        spread = self.spread(day)
        ends = spread.interval(forecast[SPEND].to_numpy()) if spread else (None, None)
        return forecast.assign(**{LOW: ends[0], HIGH: ends[1]}), reason

    def _spread(self, day: dt.date) -> Spread | None:
        """The intervals of a day, from how the forecasts of an earlier one came out."""
        before = self.earlier(day)
        if before is None:
            return None
        known = self._came_out(before, day)
        if not len(known):
            return None
        return Spread.of(known[SPEND].to_numpy(), known[OUTCOME].to_numpy(), self.question.share)

    def earlier(self, day: dt.date) -> dt.date | None:
        """The newest month-end whose outcome is known at ``day``, with enough data before it."""
        first, newest = self._first_day(day), self.question.horizon.newest_as_of(day)
        return last_month_end(first, newest) if first else None

    def quality(self, day: dt.date) -> list[dict[str, Any]]:
        """How the forecasts of the earlier day came out, beside forecasts without any model."""
        before = self.earlier(day)
        if before is None:
            return []
        known = self._came_out(before, day)
        if not len(known):
            return []
        outcome = known[OUTCOME].to_numpy()
        peers = {
            FORECASTER: known[SPEND].to_numpy(),
            LAST_PERIOD: known[LAST_PERIOD].to_numpy(),
            "mean_of_the_last": known[LAST_PERIOD].mean() + 0 * outcome,
        }
        about = {"as_of": before, "customers": len(known)}
        rows = [
            {**about, "forecaster": name, "metric": metric, "value": value}
            for name, forecast in peers.items()
            for metric, value in metrics.measure(outcome, forecast).items()
            if value is not None
        ]
        if spread := self.spread(before):
            held = metrics.coverage(outcome, *spread.interval(peers[FORECASTER]))
            of_it = {"forecaster": FORECASTER, "metric": COVERAGE, "value": held}
            rows.append({**about, **of_it})
        return rows

    def _came_out(self, as_of: dt.date, known_by: dt.date) -> "pd.DataFrame":
        """The forecasts of an earlier day, by what was known then, and what was spent since."""
        forecast, key = self._earlier_forecasts(as_of), self.question.entity
        first, last = self.question.horizon.outcome(as_of)
        spent = self._spent(OUTCOME, first, last, known_by)
        return forecast.merge(spent, on=key, how="left").fillna({OUTCOME: 0.0})

    def _forecast_again(self, as_of: dt.date) -> "pd.DataFrame":
        """The forecasts of an earlier day, and what was spent in as many days before it."""
        rows = f"({features_at(self.question.bare, as_of)})"
        forecast, _ = self._expected(rows, as_of)
        first = as_of - DAY * (self.question.horizon.days(as_of) - 1)
        of_late = self._spent(LAST_PERIOD, first, as_of, as_of)
        result = forecast.merge(of_late, on=self.question.entity, how="left")
        return result.fillna({LAST_PERIOD: 0.0})

    def _spent(self, name: str, first: dt.date, last: dt.date, known_by: dt.date) -> "pd.DataFrame":
        """What each entity spent over some days, as known at the end of ``known_by``."""
        activity, measure = self.question.activity, self.question.measure
        entity, column = identifier(activity.entity), identifier(measure.column)
        events = visible(activity, known_by, f"{entity} as entity, day, {column}")
        # Whole numbers of the last decimal: sums of floating numbers would differ from run to run.
        return self.tables.db.execute(
            f"select entity as {identifier(self.question.entity)}, "
            f"sum({scaled(measure)})::double / {10**measure.decimals} as {name} from ({events}) "
            f"where day between {literal(first)} and {literal(last)} group by 1 order by 1"
        ).df()

    def _expected(
        self, rows: str, day: dt.date, yearly_discount: float | None = None
    ) -> "tuple[pd.DataFrame, NoFit | None]":
        """Entity and expected spend of whom a day forecasts, in the entity's order."""
        question, model = self.question, self._model(self._fitted_on(day))
        rows_of_day = self.tables.db.execute(question.features(rows)).df()
        if question.observation_days is not None:
            rows_of_day = rows_of_day[rows_of_day[question.columns[1]] < question.observation_days]
        rows_of_day = rows_of_day.reset_index(drop=True)
        if isinstance(model, NoFit):
            return rows_of_day[[question.entity]].head(0).assign(**{SPEND: 0.0}), model
        forecast = replace(model, yearly_discount=yearly_discount).of(rows_of_day)
        forecast.insert(0, question.entity, rows_of_day[question.entity])
        return forecast, None

    def _fitted_on(self, day: dt.date) -> dt.date:
        """The day to whose histories the forecasts of a day are fitted: the last month-end, so that
        they move with the customers and not with the fit; before there is one, the day itself.
        """
        first = self._first_day(day)
        return (last_month_end(first, day) if first else None) or day

    def _fit(self, day: dt.date) -> SpendForecast | NoFit:
        """The forecast that is fitted to everybody who had ever bought by the end of a day.

        It is kept, under the version of what it was fitted to.
        """
        question, tables = self.question, self.tables
        read = [question.activity.table, question.activity.days_table]
        named = digest(self.version, tables.days.newest_version(read, day))
        path = tables.state / "fits" / question.name / f"{day}-{named}.json"

        def record() -> dict[str, Any]:
            rows = f"({features_at(question.bare, day)})"
            return fit_forecast(
                tables.db.execute(question.features(rows)).df(),
                question.activity.name, question.measure.name,
                question.horizon.days(day), question.horizon.gap_days,
            ).record()  # fmt: skip

        stored = kept(path, record)
        return NoFit(stored["reason"]) if "reason" in stored else SpendForecast.of_record(stored)

    def _first_day(self, day: dt.date) -> dt.date | None:
        """The first day of an event that is known at the end of ``day``."""
        table = self.question.activity.table
        [(first,)] = self.tables.rows(
            f"select min(day) from {table} where known_on <= {literal(day)}"
        )
        return first
