"""Pictures for the UI: data in, one Markdown image out. No Dagster, no files; same data, same
bytes.
"""

from churn_orchestration.pictures.campaigns import effect, listed
from churn_orchestration.pictures.canvas import svg
from churn_orchestration.pictures.cohorts import cohorts
from churn_orchestration.pictures.forecasts import SCORE_BINS, drift, performance, scores_by_band
from churn_orchestration.pictures.landed import quarantined_by_rule, rows_by_day
from churn_orchestration.pictures.measures import at_risk, churn_rate, movers, retention
from churn_orchestration.pictures.models import (
    churn_by_as_of,
    dependence,
    influences,
    learning,
    quality,
    worth,
)
from churn_orchestration.pictures.segments import flows, segments, value_and_risk

__all__ = [
    "svg",
    "SCORE_BINS",
    "at_risk",
    "churn_by_as_of",
    "churn_rate",
    "cohorts",
    "drift",
    "effect",
    "flows",
    "dependence",
    "influences",
    "learning",
    "listed",
    "movers",
    "performance",
    "quality",
    "quarantined_by_rule",
    "retention",
    "rows_by_day",
    "scores_by_band",
    "segments",
    "value_and_risk",
    "worth",
]
