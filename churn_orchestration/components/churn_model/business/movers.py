"""measures.<question>_movers: whose risk rose most within a week, and why."""

import datetime as dt
from typing import TYPE_CHECKING, Any

import dagster as dg

from churn_orchestration import pictures
from churn_orchestration.churn.business import risen
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.components.churn_model.business.measure import DAY_COLUMN, Measure
from churn_orchestration.components.churn_model.measures import Columns, described
from churn_orchestration.components.churn_model.prediction import catalogue_words, loaded
from churn_orchestration.components.churn_model.promotion import record_of
from churn_orchestration.components.shown import keys
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import MEASURED_ON, Tables, literal

if TYPE_CHECKING:
    import pandas as pd

MOST, WEEK, SHOWN = 100, 7, 12


class Movers(Measure):
    """One row per customer whose churn probability rose, of the hundred in whom it rose most."""

    name = "movers"
    says = (
        f"One row per customer, of the {MOST} whose churn probability rose most within {WEEK} days: how far, "
        "and what has changed with them since. Where the forecaster changed in between, a rise may be its "
        f"doing, not the customer's. A day without forecasts {WEEK} days before it has no row."
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
            "what moved the forecast most since then, strongest first, with the values at as_of; ↑ raised "
            "the risk, ↓ lowered it. Without a model: the reasons of the day",
        ),
        "model_version": ("text", "what forecast on as_of"),
        "forecaster_changed": ("boolean", f"true: another one forecast {WEEK} days before"),
        **DAY_COLUMN,
    }

    @property
    def order(self) -> str:
        """The largest rise first."""
        return f"rise desc, {self.asked.question.entity}"

    def stored_columns(self, tables: Tables) -> Columns:
        """With the keys; the entity has the type that it has where it comes from."""
        entity, base = self.asked.question.entity, self.asked.question.base
        kind = tables.columns(base.table)[base.entity]
        return {entity: (kind, ""), "as_of": ("date", ""), **self.columns}

    def shown_columns(self) -> list[dg.TableColumn]:
        """With the keys."""
        return [*keys(self.asked.question.entity), *described(self.columns)]

    @property
    def upstream(self) -> list[str]:
        """Forecasts and features."""
        return [f"predictions.{self.asked.name}", self.asked.gold]

    def days_read(self) -> dg.PartitionMapping | None:
        """The day and those of the week before it."""
        return dg.TimeWindowPartitionMapping(start_offset=-WEEK, allow_nonexistent_upstream_partitions=True)

    def rows(self, tables: Tables, tracking: Tracking, day: dt.date) -> "list[Any] | pd.DataFrame":
        """Those in whom the probability rose most; none where the day a week before does not stand."""
        before = day - DAY * WEEK
        if any(tables.not_standing(table, before, before) for table in self.upstream):
            return []
        now, then = (literal(tables.day_file(f"predictions.{self.asked.name}", on)) for on in (day, before))
        top = tables.db.execute(risen(self.asked.question.entity, now, then, MOST)).df()
        if len(top) and top["model_version"].iloc[0] != self.asked.untrained:
            top["reasons"] = self._why(tables, tracking, top, (day, before))
        return top.assign(**{MEASURED_ON: day})

    def _why(
        self, tables: Tables, tracking: Tracking, top: "pd.DataFrame", days: tuple[dt.date, dt.date]
    ) -> list[list[str]]:
        """What changed in each row's features from the second day to the first, as the model weighs it."""
        from churn_orchestration.churn.contributions import contributions
        from churn_orchestration.churn.reasons import reasons

        record = record_of(tables.state, self.asked.name, top["model_version"].iloc[0])
        model = loaded(tracking, self.asked.name, record["mlflow_version"])
        now, before = (self._features(tables, top, on, list(model.feature_names_in_)) for on in days)
        moved = contributions(model, now)[0] - contributions(model, before)[0]
        return reasons(moved, now, catalogue_words(tables, self.asked))

    def _features(
        self, tables: Tables, top: "pd.DataFrame", day: dt.date, names: list[str]
    ) -> "pd.DataFrame":
        """The feature rows of a day, in the order of ``top``."""
        entity, file = self.asked.question.entity, literal(tables.day_file(self.asked.gold, day))
        tables.db.register("_movers", top[[entity]].reset_index(names="_place"))
        found = tables.db.execute(
            f"select {', '.join(names)} from _movers left join {file} using ({entity}) order by _place"
        ).df()
        tables.db.unregister("_movers")
        return found.astype(float)

    def told(self, tables: Tables, day: dt.date) -> dict[str, Any]:
        """How many rose, up to the most that are kept, and the largest rise."""
        [(count, rise)] = tables.rows(f"select count(*), max(rise) from {literal(self.file(tables, day))}")
        return {"movers": count} | ({} if rise is None else {"largest_rise": round(rise, 4)})

    def picture(self, tables: Tables, day: dt.date) -> str | None:
        """Those in whom it rose most, from then to now, each with its first reason."""
        entity, file = self.asked.question.entity, literal(self.file(tables, day))
        rows = tables.records(
            f"select {entity} as who, churn_probability_before as before, churn_probability as now, "
            f"reasons[1] as reason, forecaster_changed from {file} limit {SHOWN}"
        )
        return pictures.movers(self.asked.name, day, rows)
