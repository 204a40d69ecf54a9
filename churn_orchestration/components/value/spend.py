"""The forecasts of spend of a day, and how those of an earlier day came out; on the warehouse."""

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import BusinessError
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.process.fitting import NoFit
from churn_orchestration.churn.sql import identifier
from churn_orchestration.churn.value import metrics
from churn_orchestration.churn.value.question import (
    BLEND,
    COVERAGE,
    FORECASTER,
    HIGH,
    LAST_PERIOD,
    LEARNED,
    LOW,
    OUTCOME,
    PROCESS,
    SERVED,
    SPEND,
    SpendQuestion,
)
from churn_orchestration.churn.value.spread import Spread
from churn_orchestration.components.value.fits import Fits
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.value.blend import Decision


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
    """The forecasts of spend of the days of a run; a month-end is forecast once."""

    def __init__(self, question: SpendQuestion, fits: Fits) -> None:
        self.question, self.fits = question, fits
        self.spread = cache(self._spread)

    def of_day(self, rows: str, day: dt.date) -> "tuple[pd.DataFrame, NoFit | None]":
        """The forecasts of a day; without rows, and why, where no process fits.

        ``rows``: SQL to select features from. Returns the entity and the columns of `SpendForecast`
        with low and high, null without an earlier day that shows how such forecasts come out
        """
        forecast = self.expected(rows, day, self.question.yearly_discount)
        spread = self.spread(day)
        ends = spread.interval(forecast[SPEND].to_numpy()) if spread else (None, None)
        process = self.fits.process(self.fits.month_end(day))
        reason = process if isinstance(process, NoFit) else None
        return forecast.assign(**{LOW: ends[0], HIGH: ends[1]}), reason

    def expected(
        self, rows: str, day: dt.date, yearly_discount: float | None = None
    ) -> "pd.DataFrame":
        """What scores of the forecasts of a day, without intervals; without rows where no process
        fits.
        """
        month_end = self.fits.month_end(day)
        decision = self.fits.decision(month_end)
        forecast = self.fits.forecast(
            rows, month_end, yearly_discount, learned=decision is not None and decision.blend
        )
        return _served(forecast, decision)

    def of_rows(self, frame: "pd.DataFrame") -> "pd.Series":
        """What was expected of feature rows of any as_ofs, in their order; null of whom nothing is
        forecast.

        Raises
        ------
        BusinessError : no forecast of spend describes the amounts
        """
        import pandas as pd

        entity, result = self.question.entity, pd.Series(float("nan"), frame.index)
        days = pd.to_datetime(frame["as_of"]).dt.date
        for day in days.unique():
            here = (days == day).to_numpy()
            if fault := fault_of_amounts(self.fits.tables, self.question, day):
                raise BusinessError(f"values.{self.question.name}: as of {day}: {fault}")
            self.fits.tables.db.register("_described", frame[here])
            expected = self.expected("_described", day).set_index(entity)[SPEND]
            self.fits.tables.db.unregister("_described")
            result[here] = frame[entity][here].map(expected).to_numpy()
        return result

    def _spread(self, day: dt.date) -> Spread | None:
        """The intervals of a day, from how the forecasts of an earlier one came out."""
        before = self.earlier(day)
        if before is None:
            return None
        # By what scores on the day: another forecast is wrong in another way.
        known = self.came_out(before, day, self.fits.decision(self.fits.month_end(day)))
        if not len(known):
            return None
        return Spread.of(known[SPEND].to_numpy(), known[OUTCOME].to_numpy(), self.question.share)

    def earlier(self, day: dt.date) -> dt.date | None:
        """The newest month-end whose outcome is known at ``day``, with enough data before it."""
        return max(self.fits.known(day), default=None)

    def quality(self, day: dt.date) -> list[dict[str, Any]]:
        """How the forecasts of the earlier day came out: of what scored, of what might have, and of
        what needs no model.
        """
        before = self.earlier(day)
        if before is None:
            return []
        known = self.came_out(before, day, self.fits.decision(before))
        if not len(known):
            return []
        outcome = known[OUTCOME].to_numpy()
        members = [name for name in (PROCESS, *LEARNED, LAST_PERIOD) if name in known]
        peers = {SERVED: known[SPEND].to_numpy()} | {n: known[n].to_numpy() for n in members}
        peers["mean_of_the_last"] = known[LAST_PERIOD].mean() + 0 * outcome
        about = {"as_of": before, "customers": len(known)}
        rows = [
            {**about, "forecaster": name, "metric": metric, "value": value}
            for name, forecast in peers.items()
            for metric, value in metrics.measure(outcome, forecast).items()
            if value is not None
        ]
        if spread := self.spread(before):
            held = metrics.coverage(outcome, *spread.interval(peers[SERVED]))
            rows.append({**about, "forecaster": SERVED, "metric": COVERAGE, "value": held})
        return rows

    def came_out(
        self, as_of: dt.date, known_by: dt.date, decision: "Decision | None"
    ) -> "pd.DataFrame":
        """The forecasts of an earlier day, by what was known then, as a decision lets them score;
        and what was spent since.
        """
        forecast = _served(self.fits.forecasts(as_of), decision)
        return forecast.assign(**{OUTCOME: self.fits.came(forecast, as_of, known_by)})


def _served(forecast: "pd.DataFrame", decision: "Decision | None") -> "pd.DataFrame":
    """Forecasts by the process and the members, with what scores as the expected spend."""
    by_process = forecast.assign(**{PROCESS: forecast[SPEND], FORECASTER: PROCESS})
    if decision is None or not decision.blend or not decision.weights.keys() <= {*by_process}:
        return by_process
    return by_process.assign(**{SPEND: decision.of(by_process), FORECASTER: BLEND})
