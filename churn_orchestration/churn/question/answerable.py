"""Whether a churn question can be answered from the data, before anything is trained on it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.protocol import MIN_ENTITIES
from churn_orchestration.churn.question.labels import (
    ALL,
    EVENT,
    Question,
    outcome_events,
    population,
)
from churn_orchestration.churn.sql import identifier

if TYPE_CHECKING:
    import pandas as pd

MOST_DETECTABLE = 0.75
SURE, POWER = 1.96, 0.84  # normal quantiles: 95 % two-sided, power 80 %
HORIZONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"days": (30, 60, 90, 120, 180), "months": (1, 2, 3, 4, 6)}
)
WINDOWS = (30, 60, 90, 180, 365)
FEW_COME_BACK, COME_BACK_DAYS = 0.2, 90


def detectable_auc(churned: int, stayed: int) -> float:
    """The least AUC that so many of each would distinguish from chance in four of five cases; 1.0
    where none would.

    By the standard error of an AUC of 0.5. Source: Hanley, McNeil 1982, Radiology 143.

    >>> [round(detectable_auc(*counts), 3) for counts in ((1000, 1000), (24, 20_000), (0, 50))]
    [0.536, 0.665, 1.0]
    """
    if not churned or not stayed:
        return 1.0
    return min(1.0, 0.5 + (SURE + POWER) * sqrt((churned + stayed + 1) / (12 * churned * stayed)))


def hopeless(
    snapshot: "pd.DataFrame", entity: str, features: Sequence[str], tests: int
) -> list[str]:
    """Why nothing can be learned from a snapshot; empty: something may be.

    Parameters
    ----------
    snapshot : rows with ``entity``, as_of, label and the features
    tests : on how many of its newest as_ofs a model would be graded
    """
    label = snapshot["label"].astype(bool)
    gone, stayed = (snapshot.loc[rows, entity].nunique() for rows in (label, ~label))
    counts = f"{gone:,} customers that churned and {stayed:,} that stayed in {len(snapshot):,} rows"
    if not gone or not stayed:
        return [f"all have the same outcome: there are {counts}"]
    if min(gone, stayed) < MIN_ENTITIES:
        wanted = f"at least {MIN_ENTITIES} customers that churned and {MIN_ENTITIES} that stayed"
        return [f"want {wanted}, found {counts}"]
    reasons = []
    newest = sorted(snapshot["as_of"].unique())[-tests:]
    graded = label[snapshot["as_of"].isin(newest)]
    least = detectable_auc(int(graded.sum()), int((~graded).sum()))
    if least > MOST_DETECTABLE:
        reasons.append(
            f"a base rate of {graded.mean():.2%} is at chance level: with {int(graded.sum()):,} of "
            f"{len(graded):,} rows to grade on, only an AUC of {least:.2f} or more could be "
            "distinguished from chance"
        )
    if all(snapshot[name].nunique(dropna=False) < 2 for name in features):
        reasons.append(
            f"all {len(features)} features are constant: nothing distinguishes one customer from "
            "another"
        )
    return reasons


@dataclass(frozen=True)
class Outcomes:
    """SQL of what became of everybody at every as_of: entity, as_of, ``silence`` and ``wait``, in
    days.

    Its population is that of training, by what was known on as_of. ``silence``: since the last
    event of the activity; null: never, or no activity is read. ``wait``: from the end of the
    question's gap until the next one, or until the relation ended; null: not by the last day.
    ``table``: where the rows of ``sql`` are kept, if they are.
    """

    question: Question
    as_ofs: tuple[dt.date, ...]
    last: dt.date
    table: str = ""

    def sql(self) -> str:
        """One row per entity and as_of, with its outcome as known at the end of ``last``."""
        return " union all ".join(map(self._at, self.as_ofs))

    def _at(self, as_of: dt.date) -> str:
        question, entity = self.question, identifier(self.question.entity)
        silence, gap = "null", question.horizon.gap_days
        if question.activity:
            silence = f"p.{question.activity.name}_days_since_last"
        everybody = replace(question, observation_days=ALL)
        people = population(everybody, f"({features_at(question.bare, as_of)})", as_of)
        people, events = outcome_events(question, people, as_of, self.last)
        first, _ = question.horizon.outcome(as_of)
        return f"""
select p.{entity}, date '{as_of}' as as_of, {silence} as silence, \
e.day - date '{as_of}' - {gap} as wait
from ({people}) as p
left join (select {entity}, min(day) as day from ({events}) \
where day >= date '{first}' group by 1) as e
  using ({entity})"""

    @property
    def _rows(self) -> str:
        return self.table or f"({self.sql()})"

    def _within(self, horizon: Horizon) -> str:
        """SQL: the rows, and as ``days`` how long the outcome window is after each as_of."""
        of = ", ".join(f"(date '{as_of}', {horizon.days(as_of)})" for as_of in self.as_ofs)
        return f"{self._rows} join (values {of}) as h(as_of, days) using (as_of)"

    def by_as_of(self, window: int | str) -> str:
        """SQL: entities, churned and base rate of each as_of, by the question as it is declared."""
        hit = "coalesce(wait <= days, false)"
        churned = hit if self.question.kind == EVENT else f"not {hit}"
        return f"""
select as_of, count(*) as entities, count(*) filter ({churned}) as churned,
  avg(({churned})::int) as base_rate
from {self._within(self.question.horizon)} where {_active_within(window)} group by 1 order by 1"""

    def by_horizon(self, window: int | str, horizons: Sequence[Horizon]) -> str:
        """SQL: of each horizon, over the as_ofs for which it has passed: base rate, and who came
        back.

        ``flips``: the share whose label is another one with a horizon half as long again;
        ``came_back``: of those who were silent for the horizon, the share that was active within
        COME_BACK_DAYS more: of any horizon as many, since within few days more few come back from a
        short one.
        """
        event = self.question.kind == EVENT
        longer, until_back = "days * 3 // 2", f"days + {COME_BACK_DAYS}"
        out, later = (
            f"coalesce(wait <= {days}, false)" if event else f"coalesce(wait > {days}, true)"
            for days in ("days", longer)
        )
        back = (
            f"avg(coalesce(wait <= {until_back}, false)::int) filter ({out} "
            f"and {self._passed(until_back)})"
        )
        parts = [
            f"""
select {horizon.length} as horizon_{horizon.unit}, count(distinct as_of) as as_ofs, \
count(*) as rows,
  avg({out}::int) as base_rate, \
avg(({out} <> {later})::int) filter ({self._passed(longer)}) as flips,
  {"null::double" if event else back} as came_back
from {self._within(horizon)} where {_active_within(window)} and {self._passed("days")}"""
            for horizon in horizons
        ]
        return " union all ".join(parts) + " order by 1"

    def _passed(self, days: str) -> str:
        return f"as_of + {self.question.horizon.gap_days} + ({days}) <= date '{self.last}'"

    def by_window(self, windows: Sequence[int | str]) -> str:
        """SQL: of each observation window, at the newest as_of: entities and base rate."""
        parts = [
            f"select '{window}' as observation_days, count(*) as entities, "
            "avg(coalesce(wait > days, true)::int) as base_rate from "
            f"{self._within(self.question.horizon)} where as_of = date '{max(self.as_ofs)}' and "
            f"{_active_within(window)}"
            for window in windows
        ]
        return " union all ".join(parts) + " order by entities"


def _active_within(window: int | str) -> str:
    return "true" if window == ALL else f"silence < {window}"


def recommended(by_horizon: "pd.DataFrame", unit: str = "days") -> int | None:
    """The shortest horizon, in its unit, after which few come back, of those with both outcomes.

    Few: at most FEW_COME_BACK of the silent were active within COME_BACK_DAYS more. None where none
    is.
    """
    fit = by_horizon[
        by_horizon["base_rate"].between(0.02, 0.98) & (by_horizon["came_back"] <= FEW_COME_BACK)
    ]
    return int(fit[f"horizon_{unit}"].min()) if len(fit) else None
