"""The transparent rules, in which nothing is fitted: who scores by them imports no learner."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.question.labels import Question


def rules_forecast(question: "Question", frame: "pd.DataFrame") -> "pd.Series":
    """The probability of each feature row of a question that has an activity, over the days of its
    outcome.

    ``frame``: a row per entity and as_of, with the features of how long it has been silent and its
    usual gap
    """
    import pandas as pd

    assert question.activity is not None
    as_of, name = pd.to_datetime(frame["as_of"]).dt.date, question.activity.name
    days = as_of.map({day: question.horizon.days(day) for day in as_of.unique()})
    return rules_probability(
        frame[f"{name}_days_since_last"], frame[f"{name}_gap_days_mean_all"], days
    )


def rules_probability(
    days_since_last: "pd.Series", mean_gap_days: "pd.Series", horizon_days: "pd.Series | float"
) -> "pd.Series":
    """Probability of silence for another horizon, from recency and the usual gap alone; nothing is
    fitted.

    p = (r + g) / (r + g + h): a gap that has lasted r days outlasts r + h if gaps are Lomax
    distributed with shape 1 and median g, i.e. exponential with rates that vary between entities.
    Source: Lomax 1954, JASA 49, as conditional survival.

    Parameters
    ----------
    days_since_last : r, days, >= 0; null = no event yet, read as a silence of one horizon
    mean_gap_days : g, days, >= 0, same index; null = fewer than two active days, read as one
        horizon
    horizon_days : h, days, > 0: one for all rows, or of each

    Raises
    ------
    ValueError : a negative number of days, or a horizon that is not positive

    >>> import pandas as pd
    >>> silent, gap = pd.Series([10.0, 80.0, None]), pd.Series([20.0, None, None])
    >>> rules_probability(silent, gap, 90).round(3).tolist()
    [0.25, 0.654, 0.667]
    """
    if (shortest := np.asarray(horizon_days, float).min(initial=np.inf)) <= 0:
        raise ValueError(f"horizon_days wants more than 0 days, got {shortest:g}")
    silence = days_since_last.astype(float).fillna(horizon_days)
    gap = mean_gap_days.astype(float).fillna(horizon_days)
    if (silence < 0).any() or (gap < 0).any():
        raise ValueError(f"negative days: silence from {silence.min()}, mean gap from {gap.min()}")
    expected = silence + gap
    return (expected / (expected + horizon_days)).rename("churn_probability")
