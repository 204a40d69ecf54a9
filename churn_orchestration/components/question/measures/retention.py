"""measures.<question>_retention: how many of those who began in a month are active in a later
one.
"""

from typing import Any

from churn_orchestration import pictures
from churn_orchestration.churn.calendar import month_ends
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.watching.measures import cohorts
from churn_orchestration.components.question.day_rows import Rows
from churn_orchestration.components.question.measures.measure import Measure, OnDay
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import literal


class Retention(Measure):
    """One row per cohort and month, on the last day of the month."""

    name = "retention"
    says = (
        "One row per cohort and month: of those whose first activity was in one calendar month, "
        "how many were active in another. A month is measured on its last day, as known then, and "
        "stays as measured: of a row that comes late, the months after it know. On the first "
        "partition all months before it are measured; on other days there is no row. Whoever was "
        "active before the data begin is of the first cohort."
    )
    columns = {
        "cohort": ("date", "first day of the month of the first activity"),
        "month": ("date", "first day of the month that is looked at"),
        "customers": ("bigint", "of the cohort"),
        "active": ("bigint", "those of them who were active in the month"),
    }
    order = "cohort, month"

    @property
    def activity(self) -> EventSource:
        """What counts as being active."""
        assert self.settings.question.activity is not None
        return self.settings.question.activity

    @property
    def upstream(self) -> list[str]:
        """The days of activity."""
        return [self.activity.days_table]

    def rows(self, on: OnDay) -> Rows:
        """The months that end on the day; on the first partition, all that have ended."""
        first = on.day
        if on.day == self.business.start:
            known = (
                f"select min(day) from {self.activity.days_table} "
                f"where known_on <= {literal(on.day)}"
            )
            first = min(on.tables.rows(known)[0][0] or on.day, on.day)
        ends = month_ends(first, on.day)
        if not ends:
            return []
        query = cohorts(self.activity, self.settings.question.entity, ends, on.day)
        return on.tables.db.execute(query).df()

    def day_metadata(self, on: OnDay) -> dict[str, Any]:
        """Of the month that ended on the day: who was active, and how many of them began in it."""
        [(active, new)] = on.tables.rows(
            "select sum(active), sum(active) filter (cohort = month) "
            f"from {on.file(self.table)} where month = date_trunc('month', {MEASURED_ON})"
        )
        return (
            {}
            if active is None
            else {"active_customers": int(active), "new_customers": int(new or 0)}
        )

    def picture(self, on: OnDay) -> str | None:
        """The newest cohorts by month, and the mean of all."""
        cells = on.tables.records(
            "select cohort, datediff('month', cohort, month) as age, customers, active "
            f"from {on.files(self.table)} order by cohort, month"
        )
        return pictures.retention(self.settings.name, self.activity.noun, cells)
