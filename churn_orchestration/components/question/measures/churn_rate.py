"""measures.<question>_churn_rate: what is known of each day's churn rate, and what is expected."""

import datetime as dt
from typing import Any

from churn_orchestration import pictures
from churn_orchestration.churn.calendar import DAY, month_ends
from churn_orchestration.churn.protocol import EXPECTED
from churn_orchestration.churn.watching.measures import churned_at
from churn_orchestration.components.question.measures.measure import Measure, OnDay
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import literal

BEFORE = "before"
_SHOWN = ("churn_rate", "low", "high")


class ChurnRate(Measure):
    """One row per as_of and kind, on the day on which it became known."""

    name = "churn_rate"
    says = (
        "One row per as_of and kind, on the day it became known: the churn rate of the "
        "population on as_of. What the forecasts expect is there on their day, what came of them "
        "once it is known; of the month-ends before anything was forecast, what came of those who "
        "were customers then."
    )
    columns = {
        "as_of": ("date", "the day from which the question looks ahead"),
        "kind": (
            "text",
            "expected: from the forecasts alone; realised: what came of them; restated: computed "
            "again, since late rows changed it, so that the one measured last counts; before: of a "
            "month-end before the first forecast",
        ),
        "model_version": ("text", "what forecast; null: nothing did yet"),
        "churn_rate": ("double", "share of customers that churned, or are expected to, 0 to 1"),
        "low": (
            "double",
            "lower end of its 95 % interval, of what is expected that of the later rate; null: "
            "too few of one outcome for one",
        ),
        "high": ("double", "its upper end"),
        "customers": ("bigint", "of how many"),
    }
    order = "as_of, kind"

    @property
    def upstream(self) -> list[str]:
        """The performance of the forecasts; of the time before them, activity and outcomes."""
        question = self.settings.question
        read = [self.settings.store.performance, *question.bare.tables, *question.outcome_tables]
        return list(dict.fromkeys(read))

    def rows(self, on: OnDay) -> list[dict[str, Any]]:
        """What the day made known of rates: of forecasts, and of month-ends before the first of
        them.
        """
        known = on.tables.records(
            "select as_of, kind, model_version, value as churn_rate, low, high, forecasts as "
            f"customers from {on.file(self.settings.store.performance)} "
            "where metric = 'base_rate' and feature is null"
        )
        before = [self._before(on, as_of) for as_of in self._due(on)]
        return [*known, *(row for row in before if row["customers"])]

    def _due(self, on: OnDay) -> list[dt.date]:
        """The month-ends before the initial load whose outcome became known on a day; with it, all
        so far.
        """
        horizon, base, start = (
            self.settings.question.horizon,
            self.settings.question.base,
            self.business.start,
        )
        [(first,)] = on.tables.rows(
            f"select min(day) from {base.table} where known_on <= {literal(on.day)}"
        )
        if first is None:
            return []
        ends = month_ends(first + DAY * (self.settings.min_history_days - 1), start - DAY)
        return [end for end in ends if max(horizon.label_known_on(end), start) == on.day]

    def _before(self, on: OnDay, as_of: dt.date) -> dict[str, Any]:
        """The churn rate of a day on which nothing was forecast, as known now."""
        from churn_orchestration.churn.grading.curves import rate_interval

        [(customers, churned)] = on.tables.rows(churned_at(self.settings.question, as_of, on.day))
        low, high = rate_interval(churned, customers)
        rate = churned / customers if customers else None
        return {
            "as_of": as_of, "kind": BEFORE, "churn_rate": rate, "low": float(low),
            "high": float(high), "customers": customers,
        }  # fmt: skip

    def day_metadata(self, on: OnDay) -> dict[str, Any]:
        """What the day's forecasts expect, and the newest rate that became known on it."""
        rows = on.tables.rows(
            f"select if(kind = '{EXPECTED}', 'expected_churn_rate', 'churn_rate'), churn_rate "
            f"from {on.file(self.table)} where kind <> '{BEFORE}' order by as_of"
        )
        return {name: round(rate, 4) for name, rate in rows}

    def picture(self, on: OnDay) -> str | None:
        """All that is known of rates by a day, and what is expected."""
        last = ", ".join(f"last({name} order by {MEASURED_ON}) as {name}" for name in _SHOWN)
        course = on.tables.records(
            f"select as_of, kind = '{EXPECTED}' as is_expected, {last} from {on.files(self.table)} "
            "group by all order by 1, 2"
        )
        return pictures.churn_rate(self.settings.name, course)
