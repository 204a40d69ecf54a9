"""Intervals around forecasts of spend, from how earlier forecasts of the same kind came out.

Customers are put into groups of like forecasts, and each group has the quantiles of what came, as a
multiple of what was forecast: a split conformal interval by group. Where more than a tail's share
of a group spends nothing, no interval can leave zero out at its lower end, so its share lies above:
from zero up.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

GROUPS = 10
LEAST = 1e-12
"""A forecast of nothing counts as so much: what came is divided by it."""
FEWEST = 50
"""Customers of a group, else there are fewer groups."""


@dataclass(frozen=True)
class Spread:
    """Intervals by groups of like forecasts.

    Parameters
    ----------
    edges : between the groups, k - 1 forecasts, ascending
    low, high : of each group, the ends as multiples of the forecast; k each
    """

    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, forecast: np.ndarray, outcome: np.ndarray, share: float) -> Self:
        """The intervals that hold the ``share`` of outcomes of each group.

        Parameters
        ----------
        forecast, outcome : of earlier customers, one each, >= 0
        """
        forecast = np.maximum(forecast, LEAST)
        groups = max(1, min(GROUPS, len(forecast) // FEWEST))
        edges = np.quantile(forecast, np.linspace(0, 1, groups + 1)[1:-1])
        group = np.searchsorted(edges, forecast)
        ends = [_ends(outcome[group == n] / forecast[group == n], share) for n in range(groups)]
        low, high = np.array(ends).T
        return cls(edges, low, high)

    def interval(self, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low and high end of each forecast, in its unit."""
        group = np.searchsorted(self.edges, forecast)
        return forecast * self.low[group], forecast * self.high[group]


def _ends(ratios: np.ndarray, share: float) -> tuple[float, float]:
    """The ends of the interval of a group, with the correction for its size."""
    if not len(ratios):
        return 0.0, 0.0
    tail = (1 - share) / 2
    below = 0.0 if (ratios <= 0).mean() >= tail else tail
    finite = (len(ratios) + 1) / len(ratios)
    high = float(np.quantile(ratios, min(1.0, (below + share) * finite)))
    low = float(np.quantile(ratios, max(0.0, 1 - (1 - below) * finite))) if below else 0.0
    return low, high
