"""What a model would say if a customer were otherwise: the nearest look-alike, the least change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import ceil, floor

import numpy as np
import pandas as pd

from churn_orchestration.churn.question.settings import Lever

MOST_FEATURES = 2  # that change together: nobody can act on more of them at once
MOST_VALUES = 20  # of a feature that are tried, evenly spread over what is allowed
APART = 3.0  # usual spreads; what lies further apart in one feature counts as so far
EXACT = 1e-9  # of a step, within which a value is on it
UNKNOWN_APART = 1.0  # usual spreads between a known value and an unknown one

Moves = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Change:
    """Features that move, each from one value to another, and the probability that results."""

    moves: Moves
    size: float
    probability: float


def spreads(features: pd.DataFrame) -> np.ndarray:
    """The usual spread of each feature: between its quartiles; where they are one, its standard
    deviation; of what never differs, 1.

    >>> spreads(pd.DataFrame({"a": [0, 1, 2, 3, 4], "b": [0, 0, 0, 0, 5], "c": 7})).tolist()
    [2.0, 2.0, 1.0]
    """
    values = features.to_numpy(float)
    known = ~np.isnan(values).all(axis=0)
    result = np.ones(values.shape[1])
    low, high = np.nanquantile(values[:, known], [0.25, 0.75], axis=0)
    spread = high - low
    deviation = np.nanstd(values[:, known], axis=0)
    result[known] = np.where(spread > 0, spread, np.where(deviation > 0, deviation, 1.0))
    return result


def nearest(
    features: pd.DataFrame, row: int, candidates: np.ndarray, spread: np.ndarray
) -> tuple[int, float] | None:
    """The candidate most like a row, by place, and how far it is; None: there is no candidate.

    The distance is the mean over the features of the difference in usual spreads, at most APART;
    two unknown values do not differ, one differs by UNKNOWN_APART. Of candidates equally far the
    first in order.

    Parameters
    ----------
    features : n x f, what the model reads, in an order that does not depend on storage
    candidates : n booleans
    spread : f, from ``spreads``
    """
    places = np.flatnonzero(candidates)
    if not len(places):
        return None
    here, there = features.iloc[row].to_numpy(float), features.iloc[places].to_numpy(float)
    apart = np.minimum(np.abs(there - here) / spread, APART)
    unknown = np.isnan(there).astype(int) + np.isnan(here)
    apart = np.select([unknown == 1, unknown == 2], [UNKNOWN_APART, 0.0], apart)
    distance = apart.mean(axis=1)
    best = int(np.argmin(distance))
    return int(places[best]), float(distance[best])


def reachable(lever: Lever, value: float, seen: np.ndarray) -> np.ndarray:
    """The values that a lever may take, nearest first, within those seen and its own bounds.

    Of more than MOST_VALUES seen ones some are left out, evenly, never the furthest. With a step,
    each is so many steps away, and none is beyond what is seen.

    >>> seen = np.array([0.0, 1, 2, 5, 9])
    >>> reachable(Lever("calls", up=False), 5, seen).tolist()
    [2.0, 1.0, 0.0]
    >>> reachable(Lever("calls", up=True, most=8, step=1.5), 5, seen).tolist()
    [6.5, 8.0]
    """
    known = seen[~np.isnan(seen)]
    if np.isnan(value) or not len(known):
        return np.array([])
    low = max(known.min(), -np.inf if lever.least is None else lever.least)
    high = min(known.max(), np.inf if lever.most is None else lever.most)
    if lever.step is not None:
        near, far = (low - value, high - value) if lever.up else (value - high, value - low)
        first = max(1, ceil(near / lever.step - EXACT))
        some = first + _evenly(floor(far / lever.step + EXACT) - first + 1)
        # The last step may end beside a bound, by the last bits of a float.
        return np.clip(value + (lever.step if lever.up else -lever.step) * some, low, high)
    values = np.unique(known)
    beyond = values > value if lever.up else values < value
    values = values[beyond & (values >= low) & (values <= high)]
    return (values if lever.up else values[::-1])[_evenly(len(values))]


def _evenly(count: int) -> np.ndarray:
    """Of so many places MOST_VALUES at most, from the first to the last."""
    return np.linspace(0, max(count, 1) - 1, max(0, min(count, MOST_VALUES))).round().astype(int)


def least_change(
    values: Mapping[str, float],
    levers: Sequence[Lever],
    seen: Mapping[str, np.ndarray],
    spread: Mapping[str, float],
    forecast: Callable[[pd.DataFrame], np.ndarray],
    below: float,
) -> tuple[Change | None, Change | None]:
    """The least change of levers whose forecast is below a probability, and of all that were tried
    the one with the lowest forecast.

    One lever alone goes before two together; then the smaller size, the sum of the moves in usual
    spreads; then the order of the levers, and the nearer values.

    Parameters
    ----------
    values : what the features are now
    seen : the values of each lever's feature that the training has seen
    forecast : the probabilities of rows that hold the levers' features, all else being as it is
    below : the probability that is to be undercut

    Returns
    -------
    None and None: no lever can move; None and the lowest: nothing that was tried is below
    """
    paths = {lever.feature: reachable(lever, values[lever.feature], seen[lever.feature])
             for lever in levers}  # fmt: skip
    lowest: Change | None = None
    for count in range(1, MOST_FEATURES + 1):
        tried = [
            dict(zip(names, moved, strict=True))
            for names in combinations(paths, count)
            for moved in product(*(paths[name] for name in names))
        ]
        if not tried:
            continue
        rows = pd.DataFrame([{name: values[name] for name in paths} | moves for moves in tried])
        probability = forecast(rows)
        sizes = [
            sum(abs(to - values[name]) / spread[name] for name, to in moves.items())
            for moves in tried
        ]
        order = np.lexsort((np.arange(len(tried)), np.round(sizes, 9)))
        changes = [
            Change(
                {name: (values[name], float(to)) for name, to in tried[place].items()},
                sizes[place],
                float(probability[place]),
            )
            for place in order
        ]
        least = min(changes, key=lambda change: change.probability)
        if lowest is None or least.probability < lowest.probability:
            lowest = least
        if crossing := next((change for change in changes if change.probability < below), None):
            return crossing, lowest
    return None, lowest
