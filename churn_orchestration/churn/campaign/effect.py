"""What a campaign does: the difference between the arms, by intention to treat, with intervals that
hold however often they are looked at.

Each customer counts in the arm of the lot, whatever became of the contact. Outcomes are weighted by
the inverse of the share of their arm; what chance gave an arm in number and in forecast is taken
out by regression on the forecast of before the lot. So the share has to be the one that was drawn
with, and a customer is one row, of the day of their first lot.

The intervals hold for large numbers only (asymptotic confidence sequences, Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas 2024): nothing is said of small ones.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

WORKS, HARMS, NOT_KNOWN_YET = "works", "harms", "not_known_yet"
FEWEST = 50
"""Customers of each arm from which on anything is said of it."""
FEWEST_EACH = 10
"""Of these, customers who spent something; of those who leave or stay, of either."""
PLANNED = 2_000
MOST_SKEWED = 0.5
"""Skewness of the estimate up to which the intervals are right."""
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

    A day counts as a whole: the order of its rows decides nothing, and later days change no
    earlier look.

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
    if not len(outcomes.outcome):
        return Looks(np.asarray(outcomes.matured), *np.empty((8, 0)))
    rows = _sorted(outcomes, share)
    sign = 1 if less_is_better else -1
    weight = sign * np.where(rows.treated, -1 / (1 - share), 1 / share)
    arms = np.array([1 / share + 1 / (1 - share), sign * (share**-2 - (1 - share) ** -2)])
    starts = np.flatnonzero(np.r_[True, rows.matured[1:] != rows.matured[:-1]])
    first = slice(0, starts[1] if len(starts) > 1 else None)
    columns = [] if rows.forecast is None else [_standard(rows.forecast, first)]
    columns = [np.ones(len(weight)), *columns, _standard(rows.outcome, first)]
    number, treated, control, *rare = (
        _up_to(starts, each.astype(float))
        for each in (rows.treated | True, rows.treated, ~rows.treated, *_rare(rows))
    )
    estimate, error, skewness = _adjusted(np.stack(columns), weight, arms, starts)
    unit = rows.outcome[first].std() or 1.0
    enough = np.minimum(treated, control) >= FEWEST
    enough &= np.min(rare, axis=0) >= FEWEST_EACH
    enough &= np.abs(skewness) <= MOST_SKEWED
    further, once = reach(number, level, planned), -ndtri(level / 2)
    moved, moved_once = _moved(skewness, further), _moved(skewness, once)
    ends = (
        estimate - error * (further + np.maximum(moved, 0)),
        estimate + error * (further + np.maximum(-moved, 0)),
        estimate - error * (once + moved_once),
        estimate + error * (once - moved_once),
    )
    said = [np.where(enough, each * unit, np.nan) for each in (estimate, error)]
    said += [
        np.where(enough, end * unit, unknown)
        for end, unknown in zip(ends, (-np.inf, np.inf) * 2, strict=True)
    ]
    return Looks(rows.matured[starts], treated.astype(int), control.astype(int), *said)


def _moved(skewness: np.ndarray, reached: np.ndarray | float) -> np.ndarray:
    """How many standard errors an interval that reaches so many lies further down.

    A mean of skewed outcomes has a small standard error just where it is off to one side. The first
    term of the expansion of Hall 1992, section 3.10; intervals of every look are only widened by
    it.
    """
    return -skewness * (2 * np.asarray(reached) ** 2 + 1) / 6


def _up_to(starts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of values (n) up to the end of each day (d)."""
    return np.add.reduceat(values, starts).cumsum()


def _adjusted(
    columns: np.ndarray, weight: np.ndarray, arms: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of the last column by weight, less what chance gave; its standard error, and its
    skewness; by look.

    Columns (c x n) are 1, the forecast if there is one, and the outcome. By weight (n) the mean of
    all but the last is 0 by the lot: what it is not, chance gave, and regression takes that out of
    the outcome. That the coefficients come from the same outcomes brings in a bias of the order of
    1 / n and no more.

    A small control has seldom seen the largest outcomes, and appears surer than it is. So spread
    and skewness are at least those that both arms together have; ``arms``: the expected square and
    cube of the weight.
    """
    weighted, plain = _Moments.of(columns * weight, starts), _Moments.of(columns, starts)
    inverse = np.linalg.pinv(weighted.squares[:, :-1, :-1], hermitian=True)
    slope = np.einsum("dij,dj->di", inverse, weighted.squares[:, :-1, -1])
    by = np.column_stack([-slope, np.ones(len(slope))])
    mean, variance, third = weighted.central(by)
    _, variance_alike, third_alike = plain.central(by) * np.array([1, *arms])[:, None]
    variance = np.maximum(variance, variance_alike)
    third = np.where(np.abs(third) > np.abs(third_alike), third, third_alike)
    number = weighted.number
    skewness = np.divide(third, variance**1.5, out=np.zeros(len(third)), where=variance > 0)
    error = np.sqrt(variance / np.maximum(number - len(columns), 1))
    return mean, error, skewness / np.sqrt(number)


@dataclass(frozen=True)
class _Moments:
    """Rows up to the end of each day (d), the sums of columns (d x c), of their products by two
    and by three.
    """

    number: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    cubes: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray, starts: np.ndarray) -> "_Moments":
        """Those of columns (c x n) whose days begin at ``starts``."""
        c, d = len(columns), len(starts)
        squares, cubes = np.empty((c, c, d)), np.empty((c, c, c, d))
        for i, j in itertools.combinations_with_replacement(range(c), 2):
            product = columns[i] * columns[j]
            squares[i, j] = squares[j, i] = _up_to(starts, product)
            for k in range(j, c):
                total = _up_to(starts, product * columns[k])
                for a, b, e in itertools.permutations((i, j, k)):
                    cubes[a, b, e] = total
        return cls(
            _up_to(starts, np.ones(columns.shape[1])),
            np.stack([_up_to(starts, each) for each in columns], axis=-1),
            np.moveaxis(squares, -1, 0),
            np.moveaxis(cubes, -1, 0),
        )

    def central(self, by: np.ndarray) -> np.ndarray:
        """Mean, variance and third central moment of the columns' sum by coefficients (d x c); 3 x
        d.
        """
        mean = np.einsum("di,di->d", by, self.sums) / self.number
        second = np.einsum("di,dj,dij->d", by, by, self.squares) / self.number
        third = np.einsum("di,dj,dk,dijk->d", by, by, by, self.cubes) / self.number
        variance = np.maximum(second - mean**2, 0)
        return np.stack([mean, variance, third - 3 * mean * second + 2 * mean**3])


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
    for name, values in vars(given).items():
        if values is not None and len(values) != len(given.outcome):
            raise ValueError(f"{name} has {len(values)} rows, outcome {len(given.outcome)}")
    for name in ("outcome", "forecast"):
        values = getattr(given, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{(~np.isfinite(values)).sum()} values of {name} are not finite")
    if given.forecast is not None:
        by = [given.forecast, *by]
    return given.some(np.lexsort(by))


def _standard(values: np.ndarray, first: slice) -> np.ndarray:
    """Values from their mean on the first day, in units of their spread on it: sums stay small."""
    return (values - values[first].mean()) / (values[first].std() or 1.0)


def _rare(rows: Outcomes) -> list[np.ndarray]:
    """Of each arm, masks of those with any outcome and, where it is 0 or 1, of those without."""
    arms = (rows.treated, ~rows.treated)
    result = [arm & (rows.outcome != 0) for arm in arms]
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
    declared: int = 0,
) -> dict[str, Effect]:
    """The effect in each segment, by name; all intervals together miss an effect at ``level``.

    By Bonferroni over as many segments as are ``declared``, or there are if those are more: how
    many have outcomes by a look is not fixed beforehand. ``planned`` is of each segment.
    """
    names = np.unique(segment)
    number = max(len(names), declared)
    return {
        str(name): measured(
            outcomes.some(segment == name), share,
            less_is_better=less_is_better, level=level / number, planned=planned,
        )
        for name in names
    }  # fmt: skip
