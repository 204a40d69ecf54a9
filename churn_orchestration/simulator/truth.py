"""How well churn in the simulated shop can be forecast at all: from what is visible, and from everything.

Notation of the literature: x repeat orders, the last t_x days after the first, seen for T days; the order
rate ~ Gamma(r, alpha), the rate of leaving ~ Gamma(s, beta). With a customer's rates l and m,

    P(x, t_x, T | l, m) = l**x exp(-(l+m)T) + l**x int_{t_x}^{T} m exp(-(l+m)u) du

and, averaged over the population and freed of the factor that T does not touch (partial integration),

    L(T) = s I(r+x, s+1, t_x) + (r+x) I(r+x+1, s, T),   I(a, b, t) = int_t^inf (alpha+u)**-a (beta+u)**-b du.

Every term is positive, so no digits cancel. No order in (T, T+h] is the history (x, t_x, T+h), hence
P(no order in the next h days | x, t_x, T) = L(T+h) / L(T).
Source: Schmittlein, Morrison, Colombo 1987, appendix; Fader and Hardie 2005, "A note on deriving the
Pareto/NBD model and related expressions". I is Gauss's 2F1 as a continued fraction: NIST DLMF 15.6, 15.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn_orchestration.simulator.company import DAY_SECONDS

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import ArrayLike, NDArray

    from churn_orchestration.simulator.company import Company

_PRECISION = 1e-17


def best_forecast(
    x: ArrayLike, t_x: ArrayLike, age_days: ArrayLike, horizon_days: float, company: Company
) -> NDArray[np.float64]:
    """Probability of no order in the next horizon, given all that is visible: no model can do better.

    It knows the population (r, alpha, s, beta) and the order times of the customer, not the customer's own
    rates nor whether they have left. Amounts, channels and segments carry no information here.

    Parameters
    ----------
    x : orders after the first, count >= 0; arrays of any shapes that broadcast
    t_x : days from the first to the last order, 0 when x is 0
    age_days : days from the first order to the moment of the forecast (T), >= t_x
    horizon_days : days looked ahead, > 0

    Returns
    -------
    Array of probabilities, 0..1, in the broadcast shape

    Raises
    ------
    ValueError : a history that cannot be, or a horizon that is not positive

    >>> from churn_orchestration.simulator import Company
    >>> shop = Company()
    >>> best_forecast(x=[0, 9, 9], t_x=[0, 95, 40], age_days=100, horizon_days=90, company=shop).round(3)
    array([0.836, 0.053, 0.968])
    """
    x, t_x, age = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (x, t_x, age_days)))
    if not horizon_days > 0:
        raise ValueError(f"best_forecast: horizon_days is {horizon_days}, it must be greater than 0")
    possible = (x >= 0) & (t_x >= 0) & (t_x <= age) & ((x > 0) | (t_x == 0))
    if not possible.all():
        at = np.argmin(possible)
        raise ValueError(
            f"best_forecast: x={x.flat[at]:g}, t_x={t_x.flat[at]:g}, age_days={age.flat[at]:g} cannot be;"
            " wanted x >= 0, 0 <= t_x <= age_days, and t_x = 0 where x = 0"
        )
    shape = company.r + x
    had_left = np.log(company.s) + _log_integral(shape, company.s + 1, t_x, company)
    ordered_after = np.log(shape) + _log_integral(shape + 1, company.s, age, company)
    ordered_later = np.log(shape) + _log_integral(shape + 1, company.s, age + horizon_days, company)
    log_ratio = np.logaddexp(had_left, ordered_later) - np.logaddexp(had_left, ordered_after)
    return np.asarray(np.exp(log_ratio))


def latent_oracle(
    rate_per_day: ArrayLike, dropout_per_day: ArrayLike, is_alive: ArrayLike, horizon_days: float
) -> NDArray[np.float64]:
    """Probability of no order in the next horizon, knowing the customer's own rates and who has left.

    Nobody can know this: it is the bound beyond the best forecast, where only chance remains.
    A customer alive orders before leaving and within h with l / (l+m) * (1 - exp(-(l+m) h)).

    >>> latent_oracle([0.1, 0.1], [0.0, 0.01], [True, False], 10).round(4)
    array([0.3679, 1.    ])
    """
    rate, dropout = np.asarray(rate_per_day, dtype=float), np.asarray(dropout_per_day, dtype=float)
    either = np.maximum(rate + dropout, np.finfo(float).tiny)
    return np.where(is_alive, 1 + rate / either * np.expm1(-either * horizon_days), 1.0)


def forecast_table(
    orders: pd.DataFrame,
    as_of: date,
    horizon_days: int,
    company: Company,
    observation_days: int | None = None,
) -> pd.DataFrame:
    """The best forecast for every customer visible at the end of the day ``as_of``.

    The outcome is "no order on as_of + 1 .. as_of + horizon_days". A customer's clock starts at the first
    visible order. Where late rows hide a part of the history the forecast takes the visible part for the
    whole, so it is the best one exactly only if nothing is late.

    Parameters
    ----------
    orders : one row an order, without duplicates: customer_id, ordered_at (UTC timestamp), and optionally
        known_on (date the row reached us): then only rows with known_on <= as_of are seen
    as_of : last day that may be looked at, inclusive
    observation_days : keep customers with a visible order in the last so many days; None keeps all

    Returns
    -------
    customer_id, best_probability (0..1); one row a customer, by customer_id
    """
    seen = _histories(orders, as_of, observation_days)
    best = best_forecast(seen["x"], seen["t_x"], seen["age_days"], horizon_days, company)
    return pd.DataFrame({"customer_id": seen.index.to_numpy(), "best_probability": best})


def oracle_table(
    orders: pd.DataFrame,
    truth: pd.DataFrame,
    as_of: date,
    horizon_days: int,
    observation_days: int | None = None,
) -> pd.DataFrame:
    """The latent oracle for the same customers and outcome as ``forecast_table``.

    ``truth`` is that of the simulation: customer_id, rate_per_day, dropout_per_day, left_at.
    Returns customer_id, oracle_probability (0..1); one row a customer, by customer_id.
    """
    seen = _histories(orders, as_of, observation_days)
    own = truth.set_index("customer_id").loc[seen.index]
    is_alive = own["left_at"] >= _end_of(as_of)
    oracle = latent_oracle(own["rate_per_day"], own["dropout_per_day"], is_alive, horizon_days)
    return pd.DataFrame({"customer_id": seen.index.to_numpy(), "oracle_probability": oracle})


def _histories(orders: pd.DataFrame, as_of: date, observation_days: int | None) -> pd.DataFrame:
    """(x, t_x, age_days) of every customer visible at the end of as_of, by customer_id."""
    end = _end_of(as_of)
    visible = orders["ordered_at"] < end
    if "known_on" in orders:
        visible &= pd.to_datetime(orders["known_on"]) < end
    seen = orders[visible].groupby("customer_id")["ordered_at"].agg(["count", "min", "max"]).sort_index()
    if observation_days is not None:
        seen = seen[seen["max"] >= end - pd.Timedelta(days=observation_days)]
    return pd.DataFrame(
        {
            "x": seen["count"] - 1,
            "t_x": (seen["max"] - seen["min"]).dt.total_seconds() / DAY_SECONDS,
            "age_days": (end - seen["min"]).dt.total_seconds() / DAY_SECONDS,
        }
    )


def _end_of(day: date) -> pd.Timestamp:
    """First moment that is no longer in the day."""
    return pd.Timestamp(day) + pd.Timedelta(days=1)


def _log_integral(
    a: NDArray[np.float64], b: float, days: NDArray[np.float64], company: Company
) -> NDArray[np.float64]:
    """Log of int_days^inf (alpha+u)**-a (beta+u)**-b du, by DLMF 15.6.1 and Euler's transformation 15.8.1."""
    with_alpha, with_beta = company.alpha + days, company.beta + days
    series = _gauss_fraction(a, a + b - 1, with_beta / with_alpha)
    return np.log(series / (a + b - 1)) - a * np.log(with_alpha) + (1 - b) * np.log(with_beta)


def _gauss_fraction(
    a: NDArray[np.float64], p: NDArray[np.float64], one_minus_z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """2F1(1, a; p + 1; z), z < 1, by Gauss's continued fraction (DLMF 15.7.5) from its far end.

    Each further term shrinks the error by (1 - sqrt(1-z)) / (1 + sqrt(1-z)), so the worst z sets how many.
    """
    root, z = np.sqrt(one_minus_z), 1 - one_minus_z
    shrink = np.clip(np.max(np.abs((1 - root) / (1 + root)), initial=0), 1e-9, None)
    tail = np.ones(np.broadcast_shapes(a.shape, z.shape))
    for n in range(int(np.ceil(np.log(_PRECISION) / np.log(shrink))) + 2, 0, -1):
        j = n // 2
        top = (a + j) * (p + j) if n % 2 else j * (p - a + j)
        tail = 1 - top / ((p + n - 1) * (p + n)) * z / tail
    return 1 / tail
