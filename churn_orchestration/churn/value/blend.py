"""How much each forecast of spend counts, by how it did on earlier days; and whether that scores.

Weights are those of least squares, none below 0, on the days whose outcome is known. They need not
come to 1: forecasts that were too low on all days are raised.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from churn_orchestration.churn.splits import ENTITY_FOLDS, entity_folds
from churn_orchestration.churn.value.metrics import TOP

RESAMPLES, SEED = 500, 7
BETTER, WORSE = 0.05 / 3, 0.05
"""The chance of an error: for a lead in any of three metrics, and for one of four being worse."""
RANKS = ("spearman", "top_decile_capture")
"""Metrics that no factor common to all changes; the total is nothing but that factor."""


@dataclass(frozen=True)
class Decision:
    """Which forecast scores from a month-end on.

    Parameters
    ----------
    weights : of each member, >= 0
    blend : whether the members score by them; else the process scores alone
    leads : by metric, by how much the blend is better than the process on the earlier days, with
        the ends of the interval
    days : the earlier days
    """

    weights: Mapping[str, float]
    blend: bool
    leads: Mapping[str, Sequence[float]] = field(default_factory=dict)
    days: Sequence[str] = ()

    def of(self, forecasts: pd.DataFrame) -> np.ndarray:
        """The weighed sum of n forecasts by the members."""
        names = list(self.weights)
        return forecasts[names].to_numpy() @ np.array([self.weights[name] for name in names])

    def record(self) -> dict[str, Any]:
        """What a file keeps of it, read again by `of_record`."""
        return vars(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The decision of a `record`."""
        return cls(**record)


def decide(
    forecasts: pd.DataFrame, spent: np.ndarray, ids: pd.Series, days: pd.Series, alone: str
) -> Decision:
    """Weigh the members, and let them score where they are better than the one ``alone``.

    Nobody is compared by weights that their own outcome made, or that their day made, where there
    are several: what all spend on a day is a season, and no merit. The blend scores where it is
    better beyond chance in the rank correlation, in what the tenth with the largest forecasts
    spent or, of several days, in the root of the mean squared error, and worse beyond chance in
    none of these and the total. Chance is that of drawing other entities.

    Parameters
    ----------
    forecasts : a column for each member, of n rows of earlier days, made on those days
    spent : what came, n numbers
    ids, days : of the rows, n each
    """
    unit = pd.Series(spent).groupby(days.to_numpy()).transform("std").to_numpy()
    unit = np.where(unit > 0, unit, 1.0)  # each day counts as much as another

    def weights(rows: np.ndarray) -> np.ndarray:
        held = forecasts.to_numpy()[rows] / unit[rows, None]
        return nnls(held, spent[rows] / unit[rows])[0]

    fold, blended, several = entity_folds(ids), np.zeros(len(spent)), days.nunique() > 1
    for day, each in product(days.unique(), range(ENTITY_FOLDS)):
        of_day = (days == day).to_numpy()
        rows, others = (fold == each) & of_day, (fold != each) & ~(of_day & several)
        blended[rows] = forecasts.to_numpy()[rows] @ weights(others)
    leads = _leads(blended, forecasts[alone].to_numpy(), spent, ids, days)
    better = any(leads[name][1] > 0 for name in (*RANKS, *(["rmse"] if several else [])))
    worse = any(not lead[3] >= 0 for lead in leads.values())  # also where it cannot be known
    final = weights(np.ones(len(spent), bool))
    return Decision(
        dict(zip(forecasts.columns, map(float, final), strict=True)),
        bool(better and not worse and final.any()),
        {name: [round(number, 6) for number in lead] for name, lead in leads.items()},
        sorted({str(day)[:10] for day in days}),
    )


def _leads(
    forecast: np.ndarray, other: np.ndarray, spent: np.ndarray, ids: pd.Series, days: pd.Series
) -> dict[str, tuple[float, float, float, float]]:
    """Of each metric: by how much the forecast is better, the low end by which that is beyond
    chance, and the ends by which it is worse.

    Each metric is made of sums over entities, so that other draws of them are weighed sums.
    """
    codes, names = pd.factorize(ids)
    draws = np.random.default_rng(SEED).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    ranks = _by_day(lambda x: _standard(rankdata(x)), days, spent)

    def sums(*numbers: np.ndarray) -> Iterator[np.ndarray]:
        by_entity = np.column_stack([np.bincount(codes, each) for each in numbers])
        with threadpool_limits(1):  # threads would wait for each other
            yield from np.vstack([by_entity.sum(axis=0), draws @ by_entity]).T

    def metrics(made: np.ndarray) -> dict[str, np.ndarray]:
        first = _by_day(lambda x: rankdata(-x, "ordinal") <= np.ceil(TOP * len(x)), days, made)
        of_made = _by_day(lambda x: _standard(rankdata(x)), days, made)
        rows, total, errors, expected, together, of_first = sums(
            np.ones(len(spent)), spent, (spent - made) ** 2, made, ranks * of_made, spent * first
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # nobody spends in a draw
            return {
                "rmse": -np.sqrt(errors / rows),
                "total_ratio": -np.abs(np.log(expected / total)),
                "spearman": together / rows,
                "top_decile_capture": of_first / total,
            }

    ours, theirs = metrics(forecast), metrics(other)
    result = {}
    for name, values in ours.items():
        with np.errstate(invalid="ignore"):
            lead = values - theirs[name]
            low, left, right = np.quantile(lead[1:], [BETTER / 2, WORSE / 2, 1 - WORSE / 2])
        result[name] = (float(lead[0]), float(low), float(left), float(right))
    return result


def _by_day(what: Any, days: pd.Series, numbers: np.ndarray) -> np.ndarray:
    return pd.Series(numbers).groupby(days.to_numpy()).transform(what).to_numpy(float)


def _standard(ranks: np.ndarray) -> np.ndarray:
    return (ranks - ranks.mean()) / (ranks.std() or 1.0)
