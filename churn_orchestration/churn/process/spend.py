"""What a customer spends on a purchase day, by Fader and Hardie's gamma-gamma model (2013).

Of a customer, spend on a purchase day is gamma with shape p and a rate that is itself gamma over
customers, with shape q and rate gamma. It knows no time: whether and how often a customer comes
again is the purchase process's business, and the two are taken to be independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from churn_orchestration.churn.process.fitting import FLAT, NoFit, Process
from churn_orchestration.churn.process.histories import Histories
from churn_orchestration.churn.protocol import MIN_ENTITIES

MOST_STEPS = 1_000
MOST_FITTED = 100_000
"""Customers that are fitted to, evenly of all in their order."""
STARTS = ((1.0, 2.0), (6.0, 4.0), (20.0, 8.0))
"""p and q to begin with; gamma follows from the mean."""
LOWEST, HIGHEST = 1e-3, 1e5
LAGUERRE = 64
"""Nodes of the quadrature over a whole future."""


@dataclass(frozen=True)
class GammaGamma:
    """Spend on a purchase day, over customers; in the unit of the spend it was fitted to.

    Parameters
    ----------
    p : shape of a customer's spend
    q, gamma : shape and rate of the rate of a customer's spend, over customers; gamma in the unit
    log_likelihood : of the means of all customers it was fitted to
    customers : how many those are

    Raises
    ------
    ValueError : a parameter is not finite and above 0, or q is not above 1: no mean would exist
    """

    p: float
    q: float
    gamma: float
    log_likelihood: float
    customers: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.p, self.q, self.gamma]).all() and min(self.p, self.gamma) > 0):
            raise ValueError(f"wanted p and gamma finite and > 0, got {self}")
        if not self.q > 1:
            raise ValueError(f"wanted q > 1, else no mean spend exists, got {self.q}")

    @property
    def mean(self) -> float:
        """Mean spend on a purchase day, of a customer of whom nothing is known."""
        return self.p * self.gamma / (self.q - 1)

    def expected(self, days: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Mean spend on a purchase day to come, n floats.

        Parameters
        ----------
        days : purchase days so far, >= 0
        mean : mean spend on them, the unit; not above 0 or not finite: the days count for nothing

        >>> model = GammaGamma(6.25, 3.74, 15.44, 0, 1)
        >>> model.expected(np.array([0, 1, 2]), np.array([0.0, 30.0, 30.0])).round(2)
        array([35.22, 31.59, 30.94])
        """
        known = (days > 0) & (mean > 0) & np.isfinite(mean)
        weight = np.where(known, self.p * days, 0.0)
        spent = np.where(known, mean, 0.0) * weight
        return (self.p * self.gamma + spent) / (weight + self.q - 1)

    def record(self) -> dict[str, float]:
        """What a file keeps of it, read again by `of_record`."""
        return {name: float(value) for name, value in vars(self).items()}

    @classmethod
    def of_record(cls, record: Mapping[str, float]) -> Self:
        """The model of a `record`."""
        return cls(**record)


def fit_spend(days: np.ndarray, mean: np.ndarray) -> GammaGamma | NoFit:
    """The gamma-gamma model by maximum likelihood, the best of several starts, always the same.

    Parameters
    ----------
    days : purchase days of each customer
    mean : mean spend on them; customers without a purchase day, and those whose mean is not above
        0, take no part

    Returns
    -------
    NoFit : too few customers, all alike, or a mean that does not exist
    """
    taken = (days > 0) & (mean > 0) & np.isfinite(mean)
    some = np.flatnonzero(taken)[:: max(1, int(np.ceil(taken.sum() / MOST_FITTED)))]
    x, unit = days[some].astype(float), float(mean[some].mean()) if len(some) else 1.0
    z = mean[some] / unit
    if len(x) < MIN_ENTITIES:
        return NoFit(f"too few customers have spent: {len(x):,}, want at least {MIN_ENTITIES:,}")
    if np.ptp(z) <= 1e-12:
        return NoFit("all customers spend the same on a purchase day: nothing varies")
    bounds = [(np.log(LOWEST), np.log(HIGHEST))] * 3
    starts = [np.log([p, q, (q - 1) / p]) for p, q in STARTS]
    tries = [
        minimize(_loss, start, (x, z), jac=True, bounds=bounds, method="L-BFGS-B",
                 options={"maxiter": MOST_STEPS, "ftol": 1e-15, "gtol": 1e-9})
        for start in starts
    ]  # fmt: skip
    best = min(tries, key=lambda result: result.fun)
    p, q, gamma = np.exp(best.x)
    inside = np.abs(best.x - np.clip(best.x - best.jac, *np.array(bounds).T)).max() <= FLAT
    if not inside or q <= 1:
        return NoFit("spend varies so much between customers that its mean does not exist")
    in_units = -best.fun * len(x) - np.log(unit) * len(x)
    return GammaGamma(float(p), float(q), float(gamma * unit), float(in_units), float(len(x)))


def _loss(logs: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the mean log density of the customers' mean spend, and its slope in the logs."""
    p, q, gamma = np.exp(logs)
    px, total = p * x, np.log(gamma + x * z)
    density = (
        gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(gamma)
        + (px - 1) * np.log(z) + px * np.log(x) - (px + q) * total
    )  # fmt: skip
    both = digamma(px + q)
    by_p = x * (both - digamma(px) + np.log(z) + np.log(x) - total)
    by_q = both - digamma(q) + np.log(gamma) - total
    by_gamma = q / gamma - (px + q) / (gamma + x * z)
    slope = np.array([p * by_p.mean(), q * by_q.mean(), gamma * by_gamma.mean()])
    return -float(density.mean()), -slope


def discounted_purchases(
    process: Process, histories: Histories, yearly_discount: float
) -> np.ndarray:
    """Purchase days of a whole future, each worth less the later it comes; n finite floats.

    Of a day that is t years ahead, exp(-delta t) counts, with delta the log of one plus the yearly
    discount (Fader, Hardie and Lee 2005, DERT, in continuous time). By parts, that is delta times
    the integral of the expected purchases up to t, weighed so: no derivative is needed, and what
    is summed is bounded, so it is never infinite.

    Raises
    ------
    ValueError : the discount is not above 0
    """
    if not yearly_discount > 0:
        raise ValueError(f"want a yearly discount above 0, got {yearly_discount}")
    delta = np.log1p(yearly_discount) / 365.25
    nodes, weights = np.polynomial.laguerre.laggauss(LAGUERRE)
    total = np.zeros(len(histories))
    for node, weight in zip(nodes, weights, strict=True):
        if weight > 0:
            total += weight * process.expected_purchases(histories, float(node / delta))
    return total
