"""Bands of risk."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

BANDS = ("low", "medium", "high", "critical")


def band(
    probability: ArrayLike, edges: Sequence[float], base_rate: float | None = None
) -> list[str]:
    """The band of each probability; an edge belongs to the band above it.

    Parameters
    ----------
    edges : the three lower ends of medium, high and critical: probabilities, or multiples of
        ``base_rate``

    >>> band([0.1, 0.3, 0.69, 0.7], (0.3, 0.5, 0.7))
    ['low', 'medium', 'high', 'critical']
    >>> band([0.1, 0.35], (1, 2, 3), base_rate=0.1)
    ['medium', 'critical']
    """
    if np.isnan(probability).any():
        raise ValueError("nan is no probability: it has no band")
    scaled = np.asarray(edges) * (1 if base_rate is None else base_rate)
    return [BANDS[n] for n in np.searchsorted(scaled, np.asarray(probability), side="right")]
