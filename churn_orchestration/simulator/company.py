"""The simulated shop: its parameters, and its customers and orders drawn from them.

Every customer orders at a constant rate of their own until an unseen moment at which they leave for good.
Rates are gamma distributed over customers, and so are the rates of leaving: the Pareto/NBD model.
Source: Schmittlein, Morrison, Colombo 1987, "Counting your customers", section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY_SECONDS = 86_400
_LONGEST_LIFE_DAYS = 36_525  # The lifetime has no mean for s <= 1; a century keeps left_at a timestamp.

_SEGMENTS = {"consumer": 0.8, "small_business": 0.15, "company": 0.05}
_CHANNELS = {"web": 0.55, "app": 0.35, "store": 0.1}
_MEDIAN_SPEND_USD = 35.0
_SPEND_SPREAD_OF_CUSTOMERS = 0.6
_SPEND_SPREAD_OF_ORDERS = 0.4


@dataclass(frozen=True)
class Company:
    """Size, period, seed and Pareto/NBD population of a simulated shop.

    Parameters
    ----------
    customers : number of customers who sign up, evenly over the period
    first_day, days : the period, first_day .. first_day + days - 1; nothing is seen after it
    seed : the same seed gives the same shop, row by row
    r, alpha : order rate of a customer ~ Gamma(shape r, rate alpha in days); mean r / alpha a day
    s, beta : rate of leaving ~ Gamma(shape s, rate beta in days); median lifetime beta * (2**(1/s) - 1) days

    Raises
    ------
    ValueError : a size or a parameter is not positive

    >>> Company(days=31).last_day
    datetime.date(2023, 1, 31)
    >>> Company(alpha=0)
    Traceback (most recent call last):
    ...
    ValueError: Company: alpha is 0, it must be greater than 0
    """

    customers: int = 5000
    first_day: date = date(2023, 1, 1)
    days: int = 730
    seed: int = 7
    r: float = 0.7
    alpha: float = 17.5
    s: float = 0.6
    beta: float = 120.0

    def __post_init__(self) -> None:
        """Refuse a shop that cannot exist."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("first_day", "seed") and not value > 0:
                raise ValueError(f"Company: {field.name} is {value}, it must be greater than 0")

    @property
    def last_day(self) -> date:
        """Last day of the period, inclusive."""
        return self.first_day + timedelta(days=self.days - 1)


@dataclass(frozen=True)
class Simulation:
    """What happened in a simulated shop. Timestamps are UTC without zone, to the second.

    customers : customer_id, signed_up_at, email, segment; one row a customer, by customer_id
    orders : order_id, customer_id, ordered_at, amount_usd, channel; one row an order, by time.
        The first order of a customer is placed at the sign-up.
    truth : customer_id, rate_per_day, dropout_per_day, left_at (may lie beyond the period); as customers.
        No real shop has this table: it must never be landed.
    """

    company: Company
    customers: pd.DataFrame
    orders: pd.DataFrame
    truth: pd.DataFrame


def simulate(company: Company) -> Simulation:
    """Draw the customers and all their orders within the period.

    Segment, channel, e-mail and amounts are independent of when a customer orders and leaves: they add
    nothing to a forecast. Each part has its own random stream, so that changing one leaves the others.

    >>> shop = simulate(Company(customers=3, days=60))
    >>> shop.customers.customer_id.tolist()
    ['C000001', 'C000002', 'C000003']
    >>> bool(shop.orders.ordered_at.is_monotonic_increasing)
    True
    """
    people, times, spend, labels = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(company.seed).spawn(4)
    )
    signed_up_s, truth = _draw_people(company, people)
    owner, ordered_s = _draw_orders(company, signed_up_s, truth, times)
    customer_id = _ids("C", company.customers, 6)
    customers = pd.DataFrame(
        {
            "customer_id": customer_id,
            "signed_up_at": _timestamps(company, signed_up_s),
            "email": customer_id.str.lower() + "@example.com",
            "segment": _pick(_SEGMENTS, company.customers, labels),
        }
    )
    orders = pd.DataFrame(
        {
            "order_id": _ids("O", len(owner), 8),
            "customer_id": customer_id.take(owner).array,
            "ordered_at": _timestamps(company, ordered_s),
            "amount_usd": _draw_amounts(company, owner, spend),
            "channel": _pick(_CHANNELS, len(owner), labels),
        }
    )
    left_at = _timestamps(company, signed_up_s + (truth.pop("life_days") * DAY_SECONDS).astype(np.int64))
    return Simulation(
        company, customers, orders, pd.DataFrame({"customer_id": customer_id, **truth, "left_at": left_at})
    )


def _draw_people(
    company: Company, rng: np.random.Generator
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Second of the sign-up since the first day, sorted, and the unseen traits of each customer."""
    count = company.customers
    signed_up_s = np.sort(rng.integers(0, company.days * DAY_SECONDS, count))
    rate = rng.gamma(company.r, 1 / company.alpha, count)
    dropout = np.maximum(rng.gamma(company.s, 1 / company.beta, count), np.finfo(float).tiny)
    life = np.minimum(rng.exponential(1, count), dropout * _LONGEST_LIFE_DAYS) / dropout
    return signed_up_s, {"rate_per_day": rate, "dropout_per_day": dropout, "life_days": life}


def _draw_orders(
    company: Company,
    signed_up_s: NDArray[np.int64],
    truth: dict[str, NDArray[np.float64]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Customer (row) and second of every order, by time; a Poisson process is uniform given its count."""
    visible_days = np.minimum(truth["life_days"], company.days - signed_up_s / DAY_SECONDS)
    repeats = rng.poisson(truth["rate_per_day"] * visible_days)
    everyone = np.arange(company.customers)
    owner = np.repeat(everyone, repeats)
    since_s = rng.random(len(owner)) * visible_days[owner] * DAY_SECONDS
    owner = np.concatenate([everyone, owner])
    ordered_s = signed_up_s[owner] + np.concatenate([np.zeros(company.customers), since_s]).astype(np.int64)
    by_time = np.lexsort((owner, ordered_s))
    return owner[by_time], ordered_s[by_time]


def _draw_amounts(
    company: Company, owner: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """US dollars of every order: lognormal around the lognormal mean of its customer."""
    spread = _SPEND_SPREAD_OF_ORDERS
    mean_usd = _MEDIAN_SPEND_USD * rng.lognormal(0, _SPEND_SPREAD_OF_CUSTOMERS, company.customers)
    amounts = mean_usd[owner] * rng.lognormal(-(spread**2) / 2, spread, len(owner))
    return np.maximum(amounts.round(2), 0.01)


def _pick(shares: dict[str, float], count: int, rng: np.random.Generator) -> NDArray[np.object_]:
    """Draw ``count`` names by their shares."""
    names = np.array(list(shares), dtype=object)
    return names[rng.choice(len(shares), count, p=list(shares.values()))]


def _ids(letter: str, count: int, digits: int) -> pd.Series:
    """Ids that sort as text in their order: C000001, C000002, ..."""
    numbers = pd.Series(np.arange(1, count + 1)).astype(str)
    return letter + numbers.str.zfill(max(digits, len(str(count))))


def _timestamps(company: Company, seconds: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Turn seconds since the start of the first day into timestamps."""
    return (np.datetime64(company.first_day, "s") + seconds.astype("timedelta64[s]")).astype("datetime64[us]")
