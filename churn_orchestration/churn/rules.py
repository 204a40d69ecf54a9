"""The transparent rules, in which nothing is fitted: who scores by them imports no learner."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def rules_probability(
    days_since_last: "pd.Series", mean_gap_days: "pd.Series", horizon_days: float
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
    horizon_days : h, days, > 0

    Raises
    ------
    ValueError : a negative number of days, or a horizon that is not positive

    >>> import pandas as pd
    >>> rules_probability(pd.Series([10.0, 80.0, None]), pd.Series([20.0, None, None]), 90).round(3).tolist()
    [0.25, 0.654, 0.667]
    """
    if horizon_days <= 0:
        raise ValueError(f"horizon_days wants more than 0 days, got {horizon_days}")
    silence = days_since_last.astype(float).fillna(horizon_days)
    gap = mean_gap_days.astype(float).fillna(horizon_days)
    if (silence < 0).any() or (gap < 0).any():
        raise ValueError(f"negative days: silence from {silence.min()}, mean gap from {gap.min()}")
    expected = silence + gap
    return (expected / (expected + horizon_days)).rename("churn_probability")
