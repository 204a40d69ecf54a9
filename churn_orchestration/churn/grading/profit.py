"""What acting on a forecast earns: profit at the best cut, its maximum over all cuts, and its
curve.

Everything is a share of what a customer is worth: 0.05 is five percent of a customer's value, per
customer of the population. Source: Verbraken, Verbeke, Baesens 2013, IEEE TKDE 25 (5).
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import betainc

from churn_orchestration.churn.question.settings import Economics

SHARES = np.linspace(0, 1, 21)


def curve(label: ArrayLike, score: ArrayLike, economics: Economics) -> list[float]:
    """Profit per customer of contacting the riskiest 0 %, 5 %, ... 100 %; of equals the share that
    fits.

    >>> [round(profit, 3) for profit in curve([True, False], [0.9, 0.1], Economics())[::10]]
    [0.0, 0.14, 0.112]
    """
    churners, others = _reached(label, score)
    rows = churners + others
    at = [np.interp(SHARES * rows[-1], rows, counts) for counts in (churners, others)]
    return [float(result) for result in economics.earned(*at) / rows[-1]]


def expected_maximum(
    label: ArrayLike, score: ArrayLike, economics: Economics
) -> tuple[float, float]:
    """The expected maximum profit per customer (EMPC), and the share of customers that is contacted
    for it.

    For every share of churners that an offer may keep, the best cut is a corner of the convex hull
    of the ROC curve; between two corners the Beta distribution is integrated exactly.

    Raises
    ------
    ValueError : one class only

    >>> best = expected_maximum([True, False, True, False], [0.9, 0.8, 0.3, 0.1], Economics())
    >>> [round(number, 4) for number in best]
    [0.1263, 0.7496]
    """
    churners, others = _hull(*_reached(label, score))
    rows, e = churners[-1] + others[-1], economics
    if not churners[-1] or not others[-1]:
        raise ValueError("want both classes: with one, no cut is better than another")
    with np.errstate(divide="ignore"):  # a step without churners is never worth it
        slope = np.diff(others) / np.diff(churners)
    begins = (e.miss * slope + e.contact_cost) / (
        1 - e.offer_cost
    )  # the share kept from which it pays
    edges = np.clip(np.concatenate([[0.0], begins, [1.0]]), 0, 1)
    mass = np.diff(betainc(e.accepts, e.declines, edges))
    mean = np.diff(betainc(e.accepts + 1, e.declines, edges)) * e.kept
    gained = (1 - e.offer_cost) * churners * mean
    spent = (e.contact_cost * churners + e.miss * others) * mass
    return float((gained - spent).sum() / rows), float(((churners + others) * mass).sum() / rows)


def _reached(label: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Churners and others among the riskiest, cumulated from 0 over the distinct scores."""
    rows = pd.DataFrame({"churned": np.asarray(label, bool), "score": np.asarray(score, float)})
    counts = (
        rows.groupby("score")["churned"].agg(["sum", "size"]).iloc[::-1].cumsum().to_numpy(float)
    )
    churners = np.insert(counts[:, 0], 0, 0.0)
    return churners, np.insert(counts[:, 1], 0, 0.0) - churners


def _hull(churners: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the convex hull of a ROC curve: pooled until the churn rate falls from step to
    step.
    """
    steps = np.diff(churners + others)
    pooled = isotonic_regression(np.diff(churners) / steps, weights=steps, increasing=False).blocks
    return churners[pooled], others[pooled]
