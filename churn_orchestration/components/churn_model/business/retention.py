"""measures.<question>_retention: how many of those who began in a month are active in a later one."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from churn_orchestration import pictures
from churn_orchestration.churn.business import cohorts
from churn_orchestration.churn.calendar import month_ends
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.components.churn_model.business.measure import DAY_COLUMN, Measure
from churn_orchestration.components.churn_model.measures import read_files
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import MEASURED_ON, Tables, literal

if TYPE_CHECKING:
    import pandas as pd


class Retention(Measure):
    """One row per cohort and month, on the last day of the month."""

    name = "retention"
    says = (
        "One row per cohort and month: of those whose first activity was in one calendar month, how many "
        "were active in another. A month is measured on its last day, as known then, and stays as measured: "
        "of a row that comes late, the months after it know. On the first partition all months before it "
        "are measured; on other days there is no row. Whoever was active before the data begin is of the "
        "first cohort."
    )
    columns = {
        "cohort": ("date", "first day of the month of the first activity"),
        "month": ("date", "first day of the month that is looked at"),
        "customers": ("bigint", "of the cohort"),
        "active": ("bigint", "those of them who were active in the month"),
        **DAY_COLUMN,
    }
    order = "cohort, month"

    @property
    def activity(self) -> EventSource:
        """What counts as being active."""
        assert self.asked.question.activity is not None
        return self.asked.question.activity

    @property
    def upstream(self) -> list[str]:
        """The days of activity."""
        return [self.activity.days_table]

    def rows(self, tables: Tables, tracking: Tracking, day: dt.date) -> "list[Any] | pd.DataFrame":  # noqa: ARG002
        """The months that end on the day; on the first partition, all that have ended."""
        first = day
        if day == self.business.start:
            known = f"select min(day) from {self.activity.days_table} where known_on <= {literal(day)}"
            first = min(tables.rows(known)[0][0] or day, day)
        ends = month_ends(first, day)
        if not ends:
            return []
        query = cohorts(self.activity, self.asked.question.entity, ends, day)
        return tables.db.execute(query).df().assign(**{MEASURED_ON: day})

    def told(self, tables: Tables, day: dt.date) -> dict[str, Any]:
        """Of the month that ended on the day: who was active, and how many of them began in it."""
        [(active, new)] = tables.rows(
            "select sum(active), sum(active) filter (cohort = month) "
            f"from {literal(self.file(tables, day))} where month = date_trunc('month', {MEASURED_ON})"
        )
        return {} if active is None else {"active_customers": int(active), "new_customers": int(new or 0)}

    def picture(self, tables: Tables, day: dt.date) -> str | None:
        """The newest cohorts by month, and the mean of all."""
        files = read_files(tables.day_files(self.table, day).values())
        cells = tables.records(
            "select cohort, datediff('month', cohort, month) as age, customers, active "
            f"from {files} order by cohort, month"
        )
        return pictures.retention(self.asked.name, self.activity.noun, cells)
