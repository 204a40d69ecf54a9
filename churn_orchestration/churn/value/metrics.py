"""How forecasts of spend did: never by the mean absolute error, which forecasts of nothing win."""

import numpy as np
from scipy.stats import spearmanr

TOP = 0.1


def measure(outcome: np.ndarray, forecast: np.ndarray) -> dict[str, float | None]:
    """Each of ``question.METRICS``, of n customers; None where it does not exist (nobody spent, all
    are alike).

    >>> result = measure(np.array([0.0, 10.0, 30.0]), np.array([1.0, 9.0, 10.0]))
    >>> {name: round(value, 3) for name, value in result.items()}
    {'rmse': 11.576, 'total_ratio': 0.5, 'spearman': 1.0, 'top_decile_capture': 0.75}
    """
    total, varies = outcome.sum(), np.ptp(forecast) > 0 and np.ptp(outcome) > 0
    first = np.argsort(-forecast, kind="stable")[: max(1, int(np.ceil(TOP * len(forecast))))]
    return {
        "rmse": float(np.sqrt(np.mean((outcome - forecast) ** 2))),
        "total_ratio": float(forecast.sum() / total) if total > 0 else None,
        "spearman": float(spearmanr(outcome, forecast).statistic) if varies else None,
        "top_decile_capture": float(outcome[first].sum() / total) if total > 0 and varies else None,
    }


def coverage(outcome: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """The share of outcomes within their intervals, ends included."""
    return float(((low <= outcome) & (outcome <= high)).mean())
