"""measures.<question>_movers: whose risk rose most within a week, and why."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.protocol import BASE_RATE, UNTRAINED
from churn_orchestration.churn.sql import identifier
from churn_orchestration.churn.watching.measures import risen
from churn_orchestration.components.question.day_rows import Rows
from churn_orchestration.components.question.measures.measure import Measure, OnDay
from churn_orchestration.components.question.scoring.scores import catalogue_words
from churn_orchestration.storage.model_store import ModelFiles

if TYPE_CHECKING:
    import pandas as pd

MOST, WEEK, SHOWN = 100, 7, 12


class Movers(Measure):
    """One row per customer whose churn probability rose, of the hundred in whom it rose most."""

    name = "movers"
    of_entities = True
    says = (
        f"One row per customer, of the {MOST} whose churn probability rose most within {WEEK} "
        "days: how far, and what has changed with them since. Where the forecaster changed in "
        f"between, a rise may be its doing, not the customer's. A day without forecasts {WEEK} "
        "days before it has no row."
    )
    columns = {
        "churn_probability": ("double", "on as_of, 0 to 1"),
        "churn_probability_before": ("double", f"{WEEK} days before"),
        "rise": ("double", "the one minus the other"),
        "band": ("text", "on as_of"),
        "band_before": ("text", f"{WEEK} days before"),
        "recent_value": ("double", "what the customer was worth of late, at as_of"),
        "reasons": (
            "varchar[]",
            "what moved the forecast most since then, strongest first, with the values at as_of; ↑ "
            "raised the risk, ↓ lowered it. Without a model: the reasons of the day",
        ),
        "model_version": ("text", "what forecast on as_of"),
        "forecaster_changed": ("boolean", f"true: another one forecast {WEEK} days before"),
    }

    @property
    def order(self) -> str:
        """The largest rise first."""
        return f"rise desc, {identifier(self.settings.question.entity)}"

    @property
    def upstream(self) -> list[str]:
        """Forecasts and features."""
        return [self.settings.store.forecasts, self.settings.gold]

    def days_read(self) -> dg.PartitionMapping | None:
        """The day and those of the week before it."""
        return dg.TimeWindowPartitionMapping(
            start_offset=-WEEK, allow_nonexistent_upstream_partitions=True
        )

    def rows(self, on: OnDay) -> Rows:
        """Those in whom the probability rose most.

        None where the day a week before is not valid, or all have the churn rate, which rises for
        all.
        """
        then = replace(on, day=on.day - DAY * WEEK)
        if any(on.tables.days.why_invalid(table, then.day, then.day) for table in self.upstream):
            return []
        entity, forecasts = self.settings.question.entity, self.settings.store.forecasts
        rising = risen(entity, on.file(forecasts), then.file(forecasts), MOST)
        top = on.tables.db.execute(rising).df()
        if len(top) and top["model_version"].iloc[0] == BASE_RATE:
            return []
        if len(top) and top["model_version"].iloc[0] not in UNTRAINED:
            top["reasons"] = self._why(top, on, then)
        return top

    def _why(self, top: "pd.DataFrame", on: OnDay, then: OnDay) -> list[list[str]]:
        """What changed in each row's features from then on, as the model that forecast now weighs
        it.
        """
        from churn_orchestration.churn.learning.contributions import of_entities
        from churn_orchestration.churn.learning.reasons import reasons

        model = ModelFiles(
            on.tables.state, self.settings.name, top["model_version"].iloc[0]
        ).model()
        now, before = (
            self._features(top, each, list(model.feature_names_in_)) for each in (on, then)
        )
        entity = top[self.settings.question.entity]
        moved = of_entities(model, now, entity) - of_entities(model, before, entity)
        return reasons(moved, now, catalogue_words(on.tables, self.settings))

    def _features(self, top: "pd.DataFrame", on: OnDay, names: list[str]) -> "pd.DataFrame":
        """The feature rows of a day, in the order of ``top``."""
        entity, db = self.settings.question.entity, on.tables.db
        db.register("_movers", top[[entity]].reset_index(names="_place"))
        rows = f"_movers left join {on.file(self.settings.gold)} using ({identifier(entity)})"
        result = db.execute(f"select {', '.join(names)} from {rows} order by _place").df()
        db.unregister("_movers")
        return result.astype(float)

    def day_metadata(self, on: OnDay) -> dict[str, Any]:
        """How many rose, up to the most that are kept, and the largest rise."""
        [(count, rise)] = on.tables.rows(f"select count(*), max(rise) from {on.file(self.table)}")
        return {"movers": count} | ({} if rise is None else {"largest_rise": round(rise, 4)})

    def picture(self, on: OnDay) -> str | None:
        """Those in whom it rose most, from then to now, each with its first reason."""
        rows = on.tables.records(
            f"select {identifier(self.settings.question.entity)} as who, churn_probability_before "
            "as before, churn_probability as now, reasons[1] as reason, forecaster_changed "
            f"from {on.file(self.table)} order by {self.order} limit {SHOWN}"
        )
        return pictures.movers(self.settings.name, on.day, rows)
