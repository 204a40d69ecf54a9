"""Who is held back: by a lot that comes out the same for ever, that is fair, and that is large
enough.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest, chi2

from churn_orchestration.churn.campaign.effect import reach
from churn_orchestration.churn.sql import literal

DIGITS = 13
"""Hexadecimal digits of the hash that are the lot: 52 bits, as many as a double holds."""
UNFAIR = 0.001
"""A lot is called unfair where chance alone makes one like it in so many cases."""
ALIKE = 1e-9
"""Columns that differ from a sum of others by less than this share of all say nothing new."""
MOST_TEXTS = 20
"""Of a text so many values are compared, the most frequent; the others together."""
LONGEST = 104
"""Weeks beyond which an effect counts as out of reach."""


def held_back_sql(entity_sql: str, campaign: str, key: str, share: float) -> str:
    """An SQL condition: the lot holds this customer back from this campaign; null of a null one.

    The lot is md5 of the customer's id after a prefix that only the key and the campaign decide, so
    no release of DuckDB, no thread and no later run draws another. The key is not in the SQL.

    Parameters
    ----------
    entity_sql : the customer's id, an SQL expression; it is hashed as its text
    share : whom to hold back, >= 0 and < 1

    >>> held_back_sql("customer_id", "spring", "secret", 0.1).partition("||")[2]
    " customer_id::varchar), 1, 13) < '199999999999a'"
    """
    prefix = literal(_prefix(campaign, key))
    return f"substr(md5({prefix} || {entity_sql}::varchar), 1, {DIGITS}) < '{_below(share)}'"


def is_held_back(entity: str, campaign: str, key: str, share: float) -> bool:
    """The same in Python, of one customer.

    >>> [is_held_back(str(n), "spring", "secret", 0.5) for n in range(4)]
    [False, False, True, False]
    """
    lot = hashlib.md5(f"{_prefix(campaign, key)}{entity}".encode(), usedforsecurity=False)
    return lot.hexdigest()[:DIGITS] < _below(share)


def _prefix(campaign: str, key: str) -> str:
    return hmac.new(key.encode(), campaign.encode(), hashlib.sha256).hexdigest()


def _below(share: float) -> str:
    """The digits from which on a lot holds nobody back."""
    if not 0 <= share < 1:
        raise ValueError(f"the share that is held back is >= 0 and < 1, not {share}")
    return f"{int(np.ceil(share * 16**DIGITS)):0{DIGITS}x}"


@dataclass(frozen=True)
class Difference:
    """How the treated differ from the control in one number, or in one value of a text.

    ``treated``, ``control``: means, or shares. ``standardised``: the difference in units of the
    spread of both together, with its 95 % interval ``low`` to ``high``.
    """

    name: str
    treated: float
    control: float
    standardised: float
    low: float
    high: float


@dataclass(frozen=True)
class Balance:
    """Whether a lot looks fair.

    Parameters
    ----------
    differences : of each column
    treated, control : customers of each arm
    share_p : how often chance alone gives a control as far from its share
    joint_p : how often chance alone makes the arms differ as much in all columns together
    fair : neither is below UNFAIR
    """

    differences: tuple[Difference, ...]
    treated: int
    control: int
    share_p: float
    joint_p: float
    fair: bool


def balance(treated: Mapping[str, Any], control: Mapping[str, Any], share: float) -> Balance:
    """Compare the arms in what was known of customers before the lot.

    Parameters
    ----------
    treated, control : columns by name, the same in both: numbers (NaN: missing) or texts (None:
        missing), such as the stratum
    share : whom the lot holds back, > 0 and < 1

    The joint test is that of Hansen and Bowers 2008: the squared differences of means, by the
    covariance that a lot gives them, are chi-square.

    Raises
    ------
    ValueError : the columns of the arms differ, or an arm is empty
    """
    if list(treated) != list(control):
        raise ValueError(f"the columns differ: {list(treated)} and {list(control)}")
    if not 0 < share < 1:
        raise ValueError(f"the share that is held back is within 0 and 1, not {share}")
    t, c = (len(next(iter(arm.values()), ())) for arm in (treated, control))
    if not (t and c):
        raise ValueError(f"an arm is empty: {t} treated, {c} control")
    numbers: dict[str, np.ndarray] = {}
    for name in treated:
        both = np.concatenate([np.asarray(arm[name], object) for arm in (treated, control)])
        numbers |= _numbers(name, both)
    table = np.column_stack([np.empty((t + c, 0)), *numbers.values()])
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)
    apart = table[:t].mean(axis=0) - table[t:].mean(axis=0)
    error = np.sqrt(1 / t + 1 / c + apart**2 / (2 * (t + c)))
    reached = -ndtri(0.025) * error
    differences = tuple(
        Difference(name, float(v[:t].mean()), float(v[t:].mean()), *map(float, (d, d - r, d + r)))
        for (name, v), d, r in zip(numbers.items(), apart, reached, strict=True)
    )
    spreads, ways = np.linalg.eigh(table.T @ table / (t + c - 1) * (1 / t + 1 / c))
    vary = spreads > ALIKE * spreads.max(initial=0)  # shares of texts come to 1 together
    distance = float(((apart @ ways)[vary] ** 2 / spreads[vary]).sum())
    joint_p = float(chi2.sf(distance, vary.sum())) if vary.any() else 1.0
    share_p = float(binomtest(c, t + c, share).pvalue)
    return Balance(differences, t, c, share_p, joint_p, min(share_p, joint_p) >= UNFAIR)


def _numbers(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """A column as numbers: itself with the mean for what is missing, or 0 and 1 for each text."""
    missing = np.array([v is None or v != v for v in values])
    known = values[~missing]
    if any(isinstance(v, str) for v in known):
        texts, counts = np.unique(known.astype(str), return_counts=True)
        most = texts[np.sort(np.argsort(-counts, kind="stable")[:MOST_TEXTS])]
        result = {f"{name} = {text}": (values == text).astype(float) for text in most}
        if len(most) < len(texts):
            result[f"{name} is another"] = (~missing & ~np.isin(values, most)).astype(float)
    else:
        filled = np.where(missing, known.astype(float).mean() if len(known) else 0.0, values)
        result = {name: filled.astype(float)}
    return result | ({f"{name} is missing": missing.astype(float)} if missing.any() else {})


@dataclass(frozen=True)
class Need:
    """Customers of both arms that it takes, and the weeks in which they come; None: more than two
    years.
    """

    customers: int
    weeks: int | None


@dataclass(frozen=True)
class Sizing:
    """How long until an effect is known.

    Parameters
    ----------
    one_look : with a single look at the end
    every_look : with a look on any day, as `effect.measured` does
    reason : why it cannot be known within two years, and what helps; None: it can
    """

    one_look: Need
    every_look: Need
    reason: str | None


def sizing(
    base_rate: float,
    effect: float,
    share: float,
    per_week: float,
    power: float = 0.8,
    level: float = 0.05,
    explained: float = 0.0,
) -> Sizing:
    """How many customers, and weeks of them, until an effect on leaving is known.

    The weeks are of customers who enter the trial; the horizon of their outcomes comes on top.

    Parameters
    ----------
    base_rate : share of the control that leaves
    effect : by how much less the treated leave, as a share of all, not of the base rate
    share : of customers who are held back
    per_week : customers who enter the trial, of both arms
    power : the chance to know it
    level : the chance to call a campaign without effect good or bad
    explained : share of the outcome's variance that the forecast explains

    Raises
    ------
    ValueError : a share is not within 0 and 1, the effect is not within 0 and the base rate
    """
    shares = {"base_rate": base_rate, "share": share, "power": power, "level": level}
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} is within 0 and 1, not {value}")
    if not 0 <= explained < 1:
        raise ValueError(f"explained is >= 0 and < 1, not {explained}")
    if not 0 < effect <= base_rate:
        raise ValueError(f"the effect is > 0 and at most the base rate {base_rate}, not {effect}")
    treated_rate = base_rate - effect
    variance = base_rate * (1 - base_rate) / share + treated_rate * (1 - treated_rate) / (1 - share)
    per_error = variance * (1 - explained) / effect**2
    once, always = (
        _need(per_error * (reached + ndtri(power)) ** 2, per_week)
        for reached in (-ndtri(level / 2), float(reach(np.array(1), level, 1)))
    )
    return Sizing(once, always, _reason(always, once, share, per_week))


def _need(customers: float, per_week: float) -> Need:
    number = int(np.ceil(customers))
    weeks = int(np.ceil(number / per_week)) if per_week > 0 else LONGEST + 1
    return Need(number, weeks if weeks <= LONGEST else None)


def _reason(always: Need, once: Need, share: float, per_week: float) -> str | None:
    """Why an effect cannot be known within two years, and what helps."""
    if always.weeks is not None:
        return None
    result = (
        f"{always.customers:,} customers are needed to know it on any day, and {per_week:,.0f} "
        "a week enter the trial: take fewer arms, that is one campaign in place of several, or let "
        "more enter by more capacity or a wider `when`"
    )
    if share < 0.5:
        result += ", hold back a larger share"
    if once.weeks is not None:
        result += f", or look once only, after {once.weeks} weeks"
    return result
