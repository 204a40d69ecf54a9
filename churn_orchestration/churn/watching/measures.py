"""What a question's forecasts mean for the business: rates before them, what is at stake, cohorts,
movers.
"""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.features.seen import visible_parts
from churn_orchestration.churn.question.labels import Question, labelled
from churn_orchestration.churn.sql import identifier, literal

if TYPE_CHECKING:
    import pandas as pd

SUMS = {
    "customers": "count(*)",
    "expected_churners": "coalesce(sum(churn_probability), 0)",
    "value": "coalesce(sum(recent_value), 0)",
    "value_at_risk": "coalesce(sum(churn_probability * recent_value), 0)",
    "to_contact": "count(*) filter (contact)",
}
"""What is at stake, as SQL over predictions."""


def churned_at(question: Question, as_of: dt.date, known_by: dt.date) -> str:
    """SQL: the size of the population at ``as_of``, and how many of it churned, as known by
    ``known_by``.

    For days of which no features are kept: the feature engine computes from the same rows who
    was there.

    Returns
    -------
    one row: customers, churned. Raises as ``labelled``
    """
    people = f"({features_at(question.bare, as_of)})"
    outcomes = labelled(question, people, as_of, known_by)
    return f"select count(*) as customers, count(*) filter (label) as churned from ({outcomes})"


def at_stake(scored: "pd.DataFrame", features: Sequence[str]) -> list[dict[str, Any]]:
    """What is at stake among all customers of a day, in each band, and in each segment of each
    feature.

    Parameters
    ----------
    scored : one row a customer: churn_probability, band, recent_value (null: not known, counted as
        0), contact (null: not decided), and the features

    Returns
    -------
    feature, segment and band (null: all), and SUMS; to_contact is null where it is not decided
    """
    from churn_orchestration.churn.grading.segments import cut

    parts: list[tuple[tuple[str | None, str | None, str | None], pd.DataFrame]] = [
        ((None, None, None), scored),
        *(((None, None, str(band)), part) for band, part in scored.groupby("band")),
        *(((feature, segment, None), part) for feature, segment, part in cut(scored, features)),
    ]
    return [
        dict(zip(("feature", "segment", "band"), of, strict=True)) | _stake(part)
        for of, part in parts
    ]


def _stake(part: "pd.DataFrame") -> dict[str, Any]:
    chance, value = part["churn_probability"], part["recent_value"].fillna(0)
    return {
        "customers": len(part),
        "expected_churners": float(chance.sum()),
        "value": float(value.sum()),
        "value_at_risk": float((chance * value).sum()),
        "to_contact": None if part["contact"].isna().any() else int(part["contact"].sum()),
    }


def cohorts(
    activity: EventSource, entity: str, month_ends: Sequence[dt.date], known_by: dt.date
) -> str:
    """SQL: of those who were first active in a month, how many were active in it and in each later
    month.

    Parameters
    ----------
    month_ends : the last days of the months that are reported, none after ``known_by``
    known_by : as known at the end of this day: a row that came later is not seen

    Returns
    -------
    one row per cohort and month in their order, also where nobody was active: cohort and month
    (their first days), customers (of the cohort), active (of those, in the month)
    """
    message = ", ".join(f"({literal(day.replace(day=1))})" for day in month_ends)
    return f"""
with seen as (
  select distinct {identifier(entity)} as entity, date_trunc('month', day)::date as month
  from {activity.days_table} where {visible_parts(known_by)} and events > 0),
members as (select entity, min(month) as cohort from seen group by 1),
sizes as (select cohort, count(*) as customers from members group by 1),
counts as (select cohort, month, count(*) as active \
from members join seen using (entity) group by all)
select s.cohort, t.month, s.customers, coalesce(c.active, 0) as active
from sizes as s join (values {message}) as t(month) on t.month >= s.cohort
left join counts as c on c.cohort = s.cohort and c.month = t.month
order by 1, 2"""


def risen(entity: str, now: str, before: str, most: int) -> str:
    """SQL: those whose churn probability rose most from one day to a later one; the largest rise
    first.

    Parameters
    ----------
    now, before : tables or selects in brackets: the predictions of either day; those of a look back
        are none
    most : how many at the most

    Returns
    -------
    entity, as_of, churn_probability, band, recent_value, reasons and model_version of the later
    day, churn_probability and band of the earlier one with ``_before``, rise, forecaster_changed
    """
    entity = identifier(entity)
    return f"""
select n.{entity}, n.as_of, n.churn_probability, b.churn_probability as churn_probability_before,
  n.churn_probability - b.churn_probability as rise, n.band, b.band as band_before, n.recent_value,
  n.reasons, n.model_version, n.model_version <> b.model_version as forecaster_changed
from {now} as n join {before} as b using ({entity})
where n.churn_probability > b.churn_probability and not n.backtest and not b.backtest
order by rise desc, n.{entity} limit {most}"""
