"""measures.<question>_at_risk: what the forecasts of a day put at stake, in all, by band and by
segment.
"""

from math import isclose
from typing import Any

from churn_orchestration import pictures
from churn_orchestration.churn.sql import identifier
from churn_orchestration.churn.watching.measures import SUMS, at_stake
from churn_orchestration.components.question.measures.measure import Measure, OnDay


class AtRisk(Measure):
    """One row for all customers of a day, one a band, and one a segment of each feature."""

    name = "at_risk"
    says = (
        "One row per band of risk, one per segment of each feature that the question names, and "
        "one for all customers scored on the day: how many they are, how many of them are expected "
        "to churn, and what they are worth. The bands come to all customers, and so do the "
        "segments of each feature."
    )
    columns = {
        "feature": ("text", "whose segments are measured; null: all customers, or a band"),
        "segment": ("text", "the segment; null: all customers, or a band"),
        "band": ("text", "low, medium, high or critical; null: all bands"),
        "customers": ("bigint", "scored on the day"),
        "expected_churners": ("double", "sum of their churn probabilities, customers"),
        "value": (
            "double",
            "sum of their recent_value, in its unit; one that is not known counts as 0",
        ),
        "value_at_risk": (
            "double",
            "sum of churn probability x recent_value, in the unit of recent_value",
        ),
        "to_contact": (
            "bigint",
            "whom the forecast says to contact; null: not known before there is a model",
        ),
    }
    order = "feature nulls first, segment nulls first, band nulls first"
    adds_up = (
        "Bands, and the segments of each feature, come to the sums over the day's predictions."
    )

    @property
    def upstream(self) -> list[str]:
        """Predictions, and the features that cut customers into segments."""
        return [self._predictions, self.settings.gold]

    @property
    def _predictions(self) -> str:
        return self.settings.store.forecasts

    def rows(self, on: OnDay) -> list[dict[str, Any]]:
        """Of all, of each band and of each segment."""
        entity, segments = identifier(self.settings.question.entity), self.settings.segments
        features = f"select {', '.join([entity, *segments])} from {on.file(self.settings.gold)}"
        scored = on.tables.db.execute(
            f"from (from {on.file(self._predictions)} where not backtest) left join ({features}) "
            f"using ({entity}) order by {entity}"
        ).df()
        return at_stake(scored, segments)

    def amiss(self, on: OnDay) -> list[str]:
        """Each sum over all, the bands or a feature's segments that is not that of the
        predictions.
        """
        sums = ", ".join(f"{sql} as {name}" for name, sql in SUMS.items())
        [whole] = on.tables.records(
            f"select {sums} from {on.file(self._predictions)} where not backtest"
        )
        parts = ", ".join(f"coalesce(sum({name}), 0) as {name}" for name in SUMS)
        by = "coalesce(feature, if(band is null, 'all', 'band'))"
        return [
            f"{name} by {cut['by']} comes to {cut[name]:,.6g}, and should to {whole[name]:,.6g}"
            for cut in on.tables.records(
                f"select {by} as by, {parts} from {on.file(self.table)} group by 1 order by 1"
            )
            for name in SUMS
            if not isclose(cut[name], whole[name], rel_tol=1e-9)
        ]

    def day_metadata(self, on: OnDay) -> dict[str, Any]:
        """The sums over all customers."""
        [row] = on.tables.records(
            f"select {', '.join(SUMS)} from {on.file(self.table)} where feature is null and band "
            "is null"
        )
        return {name: round(value, 2) for name, value in row.items() if value is not None}

    def picture(self, on: OnDay) -> str | None:
        """Value at risk by band, and of the segments in which most is at risk."""
        rows = on.tables.records(f"from {on.file(self.table)}")
        return pictures.at_risk(
            self.settings.name, on.day, rows, self.settings.titles, self.settings.value_unit
        )
