"""Fuzzy axes: along each, customers belong to a few clusters by degrees that come to 1.

An axis is fitted once, to the customers of one day, and then applied to later days as it is: a
customer moves, the clusters do not.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

MOST_FITTED, MOST_COMPARED = 20_000, 2_000
"""Customers that are clustered, and those by whom numbers of clusters are compared; evenly of all
in their order.
"""
CLUSTERS = range(2, 7)
SMALLEST, LARGEST = 0.03, 0.95
"""Shares of the customers that a cluster has at least and at most."""
TAIL = 0.01
"""Values beyond this share at either end count as the value there."""
NORMAL = 1.349
"""Quartiles of a normal variable are so many deviations apart."""
APART = 0.4
"""Clusters are named by one feature where none of their gaps on it is less than so much of the
mean gap.
"""
PLACES = {
    2: ("low", "high"),
    3: ("low", "middle", "high"),
    4: ("low", "lower_middle", "upper_middle", "high"),
    5: ("lowest", "low", "middle", "high", "highest"),
    6: ("lowest", "low", "lower_middle", "upper_middle", "high", "highest"),
}
SEED, STARTS, STEPS = 20_111_209, 4, 50
BLOCK = 100_000


@dataclass(frozen=True)
class Axis:
    """One axis, fitted.

    Parameters
    ----------
    name : what customers are compared in
    features : n columns of the feature table that vary
    low, high : of each feature, the values beyond which it is cut; n each
    middle, scale : its median, which null counts as, and its spread; n each
    centres : of each cluster, in units of the spread; k x n
    clusters : their names, k
    silhouette : how well the clusters are apart, -1 to 1; 0 where there is one
    """

    name: str
    features: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    centres: np.ndarray
    clusters: tuple[str, ...]
    silhouette: float

    def memberships(self, rows: pd.DataFrame) -> np.ndarray:
        """How far each row is of each cluster: n x k, >= 0, each row comes to 1.

        By the inverse of the squared distance from the centres (Bezdek 1981, with an exponent of
        2).
        """
        parts = [
            self._memberships(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)
        ]
        return np.vstack(parts) if parts else np.empty((0, len(self.clusters)))

    def _memberships(self, rows: pd.DataFrame) -> np.ndarray:
        if len(self.clusters) == 1:
            return np.ones((len(rows), 1))
        apart = ((self.scaled(rows)[:, None, :] - self.centres[None]) ** 2).sum(axis=2)
        near = 1 / np.maximum(apart, 1e-12)
        return near / near.sum(axis=1, keepdims=True)

    def scaled(self, rows: pd.DataFrame) -> np.ndarray:
        """The features of rows, cut, in units of their spread from the median; n x features."""
        values = rows[list(self.features)].to_numpy(float, na_value=np.nan)
        values = np.where(np.isnan(values), self.middle, np.clip(values, self.low, self.high))
        return (values - self.middle) / self.scale

    def record(self) -> dict[str, Any]:
        """What a file keeps of it, read again by `of_record`."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The axis of a `record`."""
        low, high, middle, scale = (
            np.array(record[name], float) for name in ("low", "high", "middle", "scale")
        )
        centres = np.array(record["centres"], float).reshape(len(record["clusters"]), len(low))
        return cls(
            record["name"], tuple(record["features"]), low, high, middle, scale, centres,
            tuple(record["clusters"]), record["silhouette"],
        )  # fmt: skip


def fit_axis(name: str, features: Sequence[str], rows: pd.DataFrame) -> Axis:
    """Cut, scale and cluster the customers of a day; the same rows give the same axis.

    The number of clusters is the one with the best silhouette among those in which no cluster is
    too small or too large; where none is so, or nothing varies, all are in one cluster.
    """
    some = rows.iloc[:: max(1, -(-len(rows) // MOST_FITTED))]
    values = some[list(features)].to_numpy(float, na_value=np.nan)
    known = [column[np.isfinite(column)] for column in values.T]
    ends = [np.quantile(c, [TAIL, 0.25, 0.5, 0.75, 1 - TAIL]) if len(c) else None for c in known]
    spreads = [_spread(c, e) if e is not None else 0.0 for c, e in zip(known, ends, strict=True)]
    kept = [n for n, spread in enumerate(spreads) if spread > 0]
    chosen = tuple(features[n] for n in kept)
    numbers = np.array([ends[n] for n in kept]).reshape(len(kept), 5)
    bounds = numbers[:, 0], numbers[:, 4], numbers[:, 2], np.array([spreads[n] for n in kept])
    alone = Axis(name, chosen, *bounds, np.zeros((1, len(kept))), ("all",), 0.0)
    if not kept or len(some) < 100:
        return alone
    best = _best_clusters(alone.scaled(some))
    if best is None:
        return alone
    centres, silhouette = best
    centres = centres[np.lexsort(centres.T[::-1])]
    return Axis(name, chosen, *bounds, centres, _names(chosen, centres), silhouette)


def _spread(column: np.ndarray, ends: np.ndarray) -> float:
    """The spread of a feature: of its quartiles or, where half of all are alike, its deviation."""
    low, first, _, third, high = ends
    return float((third - first) / NORMAL) or float(np.clip(column, low, high).std())


def _best_clusters(points: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The centres of the best number of clusters, and their silhouette; None: no number is fit."""
    compared = slice(None, None, max(1, -(-len(points) // MOST_COMPARED)))
    best = None
    distinct = len(np.unique(points, axis=0))
    with threadpool_limits(1):  # a sum in another order is another number
        for k in (k for k in CLUSTERS if k <= distinct):
            centres, labels = _clusters(points, k)
            shares = np.bincount(labels, minlength=k) / len(points)
            some = labels[compared]
            if shares.min() < SMALLEST or shares.max() > LARGEST or len(np.unique(some)) < 2:
                continue
            score = silhouette(points[compared], some)
            if best is None or score > best[1]:
                best = centres, score
    return best


def _clusters(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of k clusters, by k-means from several starts, and the cluster of each point.

    A cluster that runs empty keeps its centre.
    """
    tries = []
    for start in range(STARTS):
        draw = np.random.default_rng(SEED + start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a cluster that runs empty
            centres, labels = kmeans2(points, k, iter=STEPS, minit="++", rng=draw)
        tries.append((((points - centres[labels]) ** 2).sum(), centres, labels))
    _, centres, labels = min(tries, key=lambda tried: tried[0])
    return centres, labels


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """How much nearer points are to their own cluster than to the next one, on the mean, -1 to 1.

    Rousseeuw 1987; of a cluster of one point, 0. Written here because scikit-learn takes longer to
    import than a day of a small shop to compute.

    >>> round(silhouette(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1])), 2)
    0.98
    """
    apart = cdist(points, points)
    clusters = np.unique(labels)
    sums = np.column_stack([apart[:, labels == cluster].sum(axis=1) for cluster in clusters])
    sizes = np.array([(labels == cluster).sum() for cluster in clusters])
    own = np.searchsorted(clusters, labels)
    at = np.arange(len(points))
    within = sums[at, own] / np.maximum(sizes[own] - 1, 1)
    others = sums / sizes
    others[at, own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(within, nearest)
    each = np.divide(nearest - within, larger, out=np.zeros(len(points)), where=larger > 0)
    return float(np.where(sizes[own] > 1, each, 0).mean())


def _names(features: Sequence[str], centres: np.ndarray) -> tuple[str, ...]:
    """Names of clusters: their places by the feature that sets them apart most; where that leaves
    two close together, each by what sets it apart from the others.

    >>> _names(["count", "amount"], np.array([[-1.0, 0.0], [0.2, 0.3], [2.0, 0.1]]))
    ('low', 'middle', 'high')
    >>> _names(["count", "amount"], np.array([[-1.0, 0.0], [2.0, -3.0], [2.1, 3.0], [2.0, 0.1]]))
    ('low_count', 'low_amount', 'high_amount', 'middle_count')
    """
    main = centres[:, int(np.argmax(np.ptp(centres, axis=0)))]
    gaps = np.diff(np.sort(main))
    if len(features) == 1 or gaps.min() >= APART * gaps.mean():
        return tuple(PLACES[len(main)][int((main < centre).sum())] for centre in main)
    result: list[str] = []
    for n, centre in enumerate(centres):
        others = np.delete(centres, n, axis=0)
        most = int(np.argmax(np.abs(centre - others.mean(axis=0))))
        place = int((others[:, most] < centre[most]).sum())
        word = {0: "low", len(others): "high"}.get(place, "middle")
        name = f"{word}_{features[most]}"
        result.append(name if name not in result else f"{name}_{n + 1}")
    return tuple(result)


def archetypes(
    axes: Sequence[Axis], memberships: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the clusters to which it belongs most, one an axis, as a text; and how much, on
    the mean.

    ``memberships``: of each axis, n x k. Axes of one cluster say nothing and are left out.
    """
    telling = [(a, m) for a, m in zip(axes, memberships, strict=True) if len(a.clusters) > 1]
    rows = len(memberships[0]) if memberships else 0
    if not telling:
        return np.full(rows, "all", object), np.ones(rows)
    names = [
        np.array([f"{cluster} {axis.name}" for cluster in axis.clusters], object)[m.argmax(axis=1)]
        for axis, m in telling
    ]
    text = names[0]
    for more in names[1:]:
        text = text + " / " + more
    return text, np.mean([m.max(axis=1) for _, m in telling], axis=0)
