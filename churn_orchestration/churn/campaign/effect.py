"""What a campaign does: the difference between the arms, by intention to treat, with intervals that
hold however often they are looked at.

Each customer counts in the arm of the lot, whatever became of the contact. Outcomes are weighted by
the inverse of the share of their arm; what chance gave an arm in number and in forecast is taken
out by regression. So the share has to be the one that was drawn with.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

WORKS, HARMS, NOT_KNOWN_YET = "works", "harms", "not_known_yet"
FEWEST = 50
"""Customers of each arm from which on anything is said of it."""
FEWEST_EACH = 10
"""Of these, customers who spent something; of those who leave or stay, of either."""
PLANNED = 2_000
MOST_MORE = 10**9
"""More outcomes than this are never."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of a trial, one row a customer of either arm, contacted or not.

    Parameters
    ----------
    matured : the day at whose end each was known; whatever can be sorted; n
    treated : bool, the arm by the lot; n
    outcome : left (0 or 1), or spend; n
    forecast : what was forecast of it before the lot was drawn; None: nothing; n
    """

    matured: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray
    forecast: np.ndarray | None = None

    def some(self, which: np.ndarray) -> "Outcomes":
        """Those rows alone, by their numbers or a mask."""
        forecast = None if self.forecast is None else np.asarray(self.forecast)[which]
        matured, treated, outcome = (
            np.asarray(each)[which] for each in (self.matured, self.treated, self.outcome)
        )
        return Outcomes(matured, treated, outcome, forecast)


@dataclass(frozen=True)
class Effect:
    """What is known of an effect; > 0 is good.

    Parameters
    ----------
    estimate : how much smaller the share is that leaves, or how much more is spent per customer;
        None: too few outcomes
    low, high : the interval that holds at all looks together; infinite with too few outcomes
    once_low, once_high : that of a single look at a moment fixed beforehand
    treated, control : customers whose outcome is known
    verdict : works, harms or not_known_yet, by ``low`` and ``high``
    more : about how many more outcomes it takes until this estimate is known; 0: it is; None: not
        within reach, or too few outcomes to say
    """

    estimate: float | None
    low: float
    high: float
    once_low: float
    once_high: float
    treated: int
    control: int
    verdict: str
    more: int | None


@dataclass(frozen=True)
class Looks:
    """An effect at the end of each day with outcomes, ascending; d of each, as in `Effect`.

    ``error``: the standard error of the estimate. NaN and infinite where outcomes are too few.
    """

    day: np.ndarray
    treated: np.ndarray
    control: np.ndarray
    estimate: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    once_low: np.ndarray
    once_high: np.ndarray


def reach(outcomes: np.ndarray, level: float, planned: int) -> np.ndarray:
    """How many standard errors the interval of every look reaches to a side, by outcomes known.

    It is narrowest about ``planned``, which has to be fixed before the first look. Source:
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, theorem 2.2, with rho of their section on
    its choice.

    >>> reach(np.array([100, 1_000, 10_000]), 0.05, planned=1_000).round(2).tolist()
    [3.86, 3.04, 3.24]
    """
    log = -2 * np.log(level)
    by = np.asarray(outcomes) * (log + np.log(log + 1)) / planned
    return np.sqrt(2 * (by + 1) / by * np.log(np.sqrt(by + 1) / level))


def looks(
    outcomes: Outcomes,
    share: float,
    *,
    less_is_better: bool,
    level: float = 0.05,
    planned: int = PLANNED,
) -> Looks:
    """The effect at the end of each day, by the outcomes known then.

    A day counts as a whole: the order of its rows decides nothing.

    Parameters
    ----------
    share : of customers whom the lot holds back, as drawn, not as it came out
    less_is_better : of leaving, control less treated; else, of spend, treated less control
    level : that the interval of every look ever misses the effect; as well that of a single one
    planned : outcomes at which the interval of every look is narrowest; fixed before the first
        look

    Raises
    ------
    ValueError : an outcome or a forecast is not finite, or the share is not within 0 and 1
    """
    rows = _sorted(outcomes, share)
    weight = np.where(rows.treated, -1 / (1 - share), 1 / share) * (1 if less_is_better else -1)
    starts = np.flatnonzero(np.r_[True, rows.matured[1:] != rows.matured[:-1]][: len(rows.treated)])
    first = slice(0, starts[1] if len(starts) > 1 else None)
    known = [np.ones(len(weight))]
    if rows.forecast is not None:
        known.append(_standard(rows.forecast, first))
    by_chance = np.stack(known) * weight
    y = (rows.outcome - rows.outcome[first].mean()) * weight if len(starts) else rows.outcome
    sums = _Sums(by_chance, y, starts)
    counts = [
        np.add.reduceat(each.astype(int), starts).cumsum() if len(starts) else starts
        for each in _counted(rows)
    ]
    estimate, error = sums.estimate()
    number = counts[0] + counts[1]
    enough = np.min(counts[:2], axis=0) >= FEWEST
    enough &= np.min(counts[2:], axis=0) >= FEWEST_EACH
    estimate, error = np.where(enough, estimate, np.nan), np.where(enough, error, np.nan)
    always = np.where(enough, reach(number, level, planned) * error, np.inf)
    once = np.where(enough, -ndtri(level / 2) * error, np.inf)
    middle = np.where(enough, estimate, 0)
    return Looks(
        rows.matured[starts], counts[0], counts[1], estimate, error,
        middle - always, middle + always, middle - once, middle + once,
    )  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """Sums of products by look: of what chance gave (c x n), and of the weighted outcome (n)."""

    by_chance: np.ndarray
    outcome: np.ndarray
    starts: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """Sums (d) of values (n) up to the end of each day."""
        return np.add.reduceat(values, self.starts).cumsum() if len(self.starts) else values

    def estimate(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the weighted outcome less what chance gave, and its standard error; d each.

        The mean of what chance gave is 0 by the lot, so its coefficients may be fitted to the same
        outcomes: they take out variance and, but for a term of 1 / n, bring in no bias.
        """
        c, n = len(self.by_chance), self.of(np.ones(len(self.outcome)))
        total = self.of(self.outcome)
        chance = np.stack([self.of(each) for each in self.by_chance], axis=-1)
        square = np.stack(
            [np.stack([self.of(a * b) for b in self.by_chance], axis=-1) for a in self.by_chance],
            axis=-1,
        )
        product = np.stack([self.of(each * self.outcome) for each in self.by_chance], axis=-1)
        inverse = np.linalg.pinv(square, hermitian=True)
        slope = np.einsum("dij,dj->di", inverse, product)
        mean = (total - (slope * chance).sum(axis=-1)) / n
        squares = self.of(self.outcome**2) - (slope * product).sum(axis=-1) - n * mean**2
        variance = np.maximum(squares, 0) / np.maximum(n - 1 - c, 1)
        return mean, np.sqrt(variance / n)


def _sorted(outcomes: Outcomes, share: float) -> Outcomes:
    """The rows by day and, within, by what is known of them, so that equal sets have equal sums."""
    if not 0 < share < 1:
        raise ValueError(f"the share that is held back is within 0 and 1, not {share}")
    given = Outcomes(
        np.asarray(outcomes.matured),
        np.asarray(outcomes.treated, bool),
        np.asarray(outcomes.outcome, float),
        None if outcomes.forecast is None else np.asarray(outcomes.forecast, float),
    )
    by = [given.outcome, given.treated, given.matured]
    for name in ("outcome", "forecast"):
        values = getattr(given, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{(~np.isfinite(values)).sum()} values of {name} are not finite")
    if given.forecast is not None:
        by = [given.forecast, *by]
    return given.some(np.lexsort(by))


def _standard(forecast: np.ndarray, first: slice) -> np.ndarray:
    """A forecast in units of its spread on the first day."""
    return (forecast - forecast[first].mean()) / (forecast[first].std() or 1.0)


def _counted(rows: Outcomes) -> list[np.ndarray]:
    """Masks of what is counted: treated, control; of both, those with any outcome and, where it is
    0 or 1, those without.
    """
    arms = [rows.treated, ~rows.treated]
    result = [*arms, *(arm & (rows.outcome != 0) for arm in arms)]
    if np.isin(rows.outcome, (0, 1)).all():
        result += [arm & (rows.outcome == 0) for arm in arms]
    return result


def measured(
    outcomes: Outcomes,
    share: float,
    *,
    less_is_better: bool,
    level: float = 0.05,
    planned: int = PLANNED,
) -> Effect:
    """The effect by all outcomes known; see `looks`."""
    at = looks(outcomes, share, less_is_better=less_is_better, level=level, planned=planned)
    if not len(at.day):
        return Effect(None, -np.inf, np.inf, -np.inf, np.inf, 0, 0, NOT_KNOWN_YET, None)
    treated, control = int(at.treated[-1]), int(at.control[-1])
    estimate, error = float(at.estimate[-1]), float(at.error[-1])
    low, high = float(at.low[-1]), float(at.high[-1])
    verdict = WORKS if low > 0 else HARMS if high < 0 else NOT_KNOWN_YET
    more = (
        0 if verdict != NOT_KNOWN_YET else _more(estimate, error, treated + control, level, planned)
    )
    return Effect(
        None if np.isnan(estimate) else estimate, low, high,
        float(at.once_low[-1]), float(at.once_high[-1]), treated, control, verdict, more,
    )  # fmt: skip


def _more(estimate: float, error: float, number: int, level: float, planned: int) -> int | None:
    """How many more outcomes it takes until the interval of every look leaves out 0."""
    if np.isnan(estimate):
        return None
    ahead = np.unique(np.geomspace(number, MOST_MORE, 2_000).astype(np.int64))
    narrow = reach(ahead, level, planned) * error * np.sqrt(number / ahead) < abs(estimate)
    return int(ahead[narrow.argmax()]) - number if narrow.any() else None


def measured_by_segment(
    segment: np.ndarray,
    outcomes: Outcomes,
    share: float,
    *,
    less_is_better: bool,
    level: float = 0.05,
    planned: int = PLANNED,
) -> dict[str, Effect]:
    """The effect in each segment, by name; all intervals together miss an effect at ``level``.

    By Bonferroni; ``planned`` is of each segment.
    """
    names = np.unique(segment)
    return {
        str(name): measured(
            outcomes.some(segment == name), share,
            less_is_better=less_is_better, level=level / len(names), planned=planned,
        )
        for name in names
    }  # fmt: skip
