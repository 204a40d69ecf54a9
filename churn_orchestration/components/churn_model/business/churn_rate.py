"""measures.<question>_churn_rate: what is known of each day's churn rate, and what is expected."""

import datetime as dt
from typing import Any

from churn_orchestration import pictures
from churn_orchestration.churn.business import churned_at
from churn_orchestration.churn.calendar import DAY, month_ends
from churn_orchestration.components.churn_model.business.measure import DAY_COLUMN, Measure
from churn_orchestration.components.churn_model.measures import read_files
from churn_orchestration.components.churn_model.performance import EXPECTED, table_of_performance
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import MEASURED_ON, Tables, literal

BEFORE = "before"
_SHOWN = ("churn_rate", "low", "high")


class ChurnRate(Measure):
    """One row per as_of and kind, on the day on which it became known."""

    name = "churn_rate"
    says = (
        "One row per as_of and kind, on the day it became known: the churn rate of those asked about on "
        "as_of. What the forecasts expect is there on their day, what came of them once it is known; of the "
        "month-ends before anything was forecast, what came of those who were customers then."
    )
    columns = {
        "as_of": ("date", "the day from which the question looks ahead"),
        "kind": (
            "text",
            "expected: from the forecasts alone; realised: what came of them; restated: anew, since late "
            "rows changed it, so that the one measured last counts; before: of a month-end before the first "
            "forecast",
        ),
        "model_version": ("text", "what forecast; null: nothing did yet"),
        "churn_rate": ("double", "share of customers that churned, or are expected to, 0 to 1"),
        "low": ("double", "lower end of its 95 % interval, of what is expected that of the later rate; null: "
                "too few of one outcome for one"),
        "high": ("double", "its upper end"),
        "customers": ("bigint", "of how many"),
        **DAY_COLUMN,
    }  # fmt: skip
    order = "as_of, kind"

    @property
    def upstream(self) -> list[str]:
        """The performance of the forecasts; of the time before them, activity and outcomes."""
        question = self.asked.question
        read = [table_of_performance(self.asked), *question.bare.tables, *question.outcome_tables]
        return list(dict.fromkeys(read))

    def rows(self, tables: Tables, tracking: Tracking, day: dt.date) -> list[dict[str, Any]]:  # noqa: ARG002
        """What the day made known of rates: of forecasts, and of month-ends before the first of them."""
        known = tables.records(
            "select as_of, kind, model_version, value as churn_rate, low, high, forecasts as customers "
            f"from {literal(tables.day_file(table_of_performance(self.asked), day))} "
            "where metric = 'base_rate' and feature is null"
        )
        before = [self._before(tables, as_of, day) for as_of in self._due(tables, day)]
        return [row | {MEASURED_ON: day} for row in [*known, *before] if row["customers"]]

    def _due(self, tables: Tables, day: dt.date) -> list[dt.date]:
        """The month-ends before the initial load whose outcome became known on a day; with it, all so far."""
        horizon, base, start = self.asked.question.horizon, self.asked.question.base, self.business.start
        [(first,)] = tables.rows(f"select min(day) from {base.table} where known_on <= {literal(day)}")
        if first is None:
            return []
        ends = month_ends(first + DAY * (self.asked.min_history_days - 1), start - DAY)
        return [end for end in ends if max(horizon.label_known_on(end), start) == day]

    def _before(self, tables: Tables, as_of: dt.date, day: dt.date) -> dict[str, Any]:
        from churn_orchestration.churn.curves import rate_interval

        [(customers, churned)] = tables.rows(churned_at(self.asked.question, as_of, day))
        low, high = rate_interval(churned, customers)
        rate = churned / customers if customers else None
        return {
            "as_of": as_of, "kind": BEFORE, "churn_rate": rate, "low": float(low), "high": float(high),
            "customers": customers,
        }  # fmt: skip

    def told(self, tables: Tables, day: dt.date) -> dict[str, Any]:
        """What the day's forecasts expect, and the newest rate that became known on it."""
        rows = tables.rows(
            f"select if(kind = '{EXPECTED}', 'expected_churn_rate', 'churn_rate'), churn_rate "
            f"from {literal(self.file(tables, day))} where kind <> '{BEFORE}' order by as_of"
        )
        return {name: round(rate, 4) for name, rate in rows}

    def picture(self, tables: Tables, day: dt.date) -> str | None:
        """All that is known of rates by a day, and what is expected."""
        files = read_files(tables.day_files(self.table, day).values())
        last = ", ".join(f"last({name} order by {MEASURED_ON}) as {name}" for name in _SHOWN)
        expected = f"kind = '{EXPECTED}'"
        course = tables.records(
            f"select as_of, {expected} as is_expected, {last} from {files} group by all order by 1, 2"
        )
        return pictures.churn_rate(self.asked.name, course)
