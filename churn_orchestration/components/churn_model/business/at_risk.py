"""measures.<question>_at_risk: what the forecasts of a day put at stake, in all, by band and by segment."""

import datetime as dt
from math import isclose
from typing import TYPE_CHECKING, Any

from churn_orchestration import pictures
from churn_orchestration.churn.business import SUMS, at_stake
from churn_orchestration.components.churn_model.business.measure import DAY_COLUMN, Measure
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import MEASURED_ON, Tables, literal

if TYPE_CHECKING:
    import pandas as pd


class AtRisk(Measure):
    """One row for all customers of a day, one a band, and one a segment of each feature."""

    name = "at_risk"
    says = (
        "One row for all customers scored on a day, one for each band of risk, and one for each segment of "
        "each feature that the question names: how many they are, how many of them are expected to churn, "
        "and what they are worth. The bands come to all customers, and so do the segments of each feature."
    )
    columns = {
        "feature": ("text", "whose segments are told; null: all customers, or a band"),
        "segment": ("text", "the segment; null: all customers, or a band"),
        "band": ("text", "low, medium, high or critical; null: all bands"),
        "customers": ("bigint", "scored on the day"),
        "expected_churners": ("double", "sum of their churn probabilities, customers"),
        "value": ("double", "sum of their recent_value, in its unit; one that is not known counts as 0"),
        "value_at_risk": ("double", "sum of churn probability x recent_value, in the unit of recent_value"),
        "to_contact": ("bigint", "whom the forecast says to contact; null: before a model nobody can tell"),
        **DAY_COLUMN,
    }
    order = "feature nulls first, segment nulls first, band nulls first"
    adds_up = "Bands, and the segments of each feature, come to the sums over the day's predictions."

    @property
    def upstream(self) -> list[str]:
        """Predictions, and the features that cut customers into segments."""
        return [f"predictions.{self.asked.name}", self.asked.gold]

    def rows(self, tables: Tables, tracking: Tracking, day: dt.date) -> "pd.DataFrame":  # noqa: ARG002
        """By all, band and segment."""
        import pandas as pd

        entity, gold = self.asked.question.entity, literal(tables.day_file(self.asked.gold, day))
        features = ", ".join([entity, *self.asked.segments])
        scored = tables.db.execute(
            f"from (from {self._predictions(tables, day)} where not backtest) "
            f"left join (select {features} from {gold}) using ({entity}) order by {entity}"
        ).df()
        return pd.DataFrame(at_stake(scored, self.asked.segments)).assign(**{MEASURED_ON: day})

    def _predictions(self, tables: Tables, day: dt.date) -> str:
        return literal(tables.day_file(f"predictions.{self.asked.name}", day))

    def amiss(self, tables: Tables, day: dt.date) -> list[str]:
        """Each sum over all, the bands or a feature's segments that is not that of the predictions."""
        sums = ", ".join(f"{sql} as {name}" for name, sql in SUMS.items())
        whole = tables.rows(f"select {sums} from {self._predictions(tables, day)} where not backtest")[0]
        parts = ", ".join(f"coalesce(sum({name}), 0) as {name}" for name in SUMS)
        cut = "coalesce(feature, if(band is null, 'all', 'band'))"
        return [
            f"{name} by {by} comes to {found:,.6g}, and should to {wanted:,.6g}"
            for by, *told in tables.rows(
                f"select {cut}, {parts} from {literal(self.file(tables, day))} group by 1 order by 1"
            )
            for name, found, wanted in zip(SUMS, told, whole, strict=True)
            if not isclose(found, wanted, rel_tol=1e-9)
        ]

    def told(self, tables: Tables, day: dt.date) -> dict[str, Any]:
        """The sums over all customers."""
        [row] = tables.rows(
            f"select {', '.join(SUMS)} from {literal(self.file(tables, day))} "
            "where feature is null and band is null"
        )
        return {name: round(value, 2) for name, value in zip(SUMS, row, strict=True) if value is not None}

    def picture(self, tables: Tables, day: dt.date) -> str | None:
        """Value at risk by band, and of the segments in which most is at risk."""
        rows = tables.records(f"from {literal(self.file(tables, day))}")
        return pictures.at_risk(self.asked.name, day, rows)
