"""Quality of churn probabilities, each number with its 95 % interval from resampled entities.

Every metric is a weighted one, so a bootstrap sample is a vector of weights: row order and ties are
settled once, and a resample costs a few passes over the rows and no copy of them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from churn_orchestration.churn.settings import Economics

SEED = 20_111_209
INTERVAL = (0.025, 0.975)
BINS = 10
DECILE = 0.1


@dataclass(frozen=True)
class _Scored:
    """Rows by falling probability; equal probabilities are one group, ``last`` holds the last row of each."""

    order: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    last: np.ndarray
    log_loss: np.ndarray

    @classmethod
    def of(cls, label: np.ndarray, probability: np.ndarray) -> Self:
        order = np.argsort(-probability, kind="stable")
        label, probability = label[order], probability[order]
        last = np.flatnonzero(np.append(np.diff(probability) != 0, True))
        edge = np.finfo(float).eps
        clipped = np.clip(probability, edge, 1 - edge)
        return cls(order, label, probability, last, -np.log(np.where(label, clipped, 1 - clipped)))

    def weigh(self, weight: np.ndarray) -> "_Weighed":
        weight = weight[self.order]
        rows, events = np.cumsum(weight)[self.last], np.cumsum(weight * self.label)[self.last]
        return _Weighed(self, weight, np.insert(rows, 0, 0.0), np.insert(events, 0, 0.0))


@dataclass(frozen=True)
class _Weighed:
    """A weight a row, and the weight of rows and of events cumulated to each group's end, from 0."""

    scored: _Scored
    weight: np.ndarray
    rows: np.ndarray
    events: np.ndarray


def _auc(sample: _Weighed) -> float:
    others = sample.rows - sample.events
    middle = (sample.events[1:] + sample.events[:-1]) / 2
    return np.diff(others) @ middle / (sample.events[-1] * others[-1])


def _average_precision(sample: _Weighed) -> float:
    found, seen = sample.events[1:], sample.rows[1:]
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return np.diff(sample.events) @ precision / found[-1]


def _log_loss(sample: _Weighed) -> float:
    return sample.weight @ sample.scored.log_loss / sample.rows[-1]


def _brier(sample: _Weighed) -> float:
    return sample.weight @ np.square(sample.scored.probability - sample.scored.label) / sample.rows[-1]


def _calibration_error(sample: _Weighed) -> float:
    middle = (sample.rows[:-1] + sample.rows[1:]) / 2
    bins = np.minimum((middle * BINS / sample.rows[-1]).astype(int), BINS - 1)
    expected = np.diff(sample.rows) * sample.scored.probability[sample.scored.last]
    excess = np.bincount(bins, weights=np.diff(sample.events) - expected)
    return np.abs(excess).sum() / sample.rows[-1]


def _recall_top_decile(sample: _Weighed) -> float:
    return np.interp(DECILE * sample.rows[-1], sample.rows, sample.events) / sample.events[-1]


def _lift_top_decile(sample: _Weighed) -> float:
    return _recall_top_decile(sample) / DECILE


def _base_rate(sample: _Weighed) -> float:
    return sample.events[-1] / sample.rows[-1]


def profit(economics: Economics) -> "Metric":
    """Profit per customer, in customers' values, of contacting all whose probability makes a contact pay."""

    def metric(sample: _Weighed) -> float:
        at = np.searchsorted(-sample.scored.probability[sample.scored.last], -economics.cut, side="right")
        churners = sample.events[at]
        return float(economics.earned(churners, sample.rows[at] - churners) / sample.rows[-1])

    return metric


Metric: TypeAlias = Callable[[_Weighed], float]
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": _auc,
        "average_precision": _average_precision,
        "log_loss": _log_loss,
        "brier": _brier,
        "calibration_error": _calibration_error,
        "lift_top_decile": _lift_top_decile,
        "recall_top_decile": _recall_top_decile,
        "base_rate": _base_rate,
    }
)


def measure(label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> dict[str, float]:
    """Every metric of METRICS as a plain number; a row of weight w counts as w equal rows.

    calibration_error: mean absolute gap between mean probability and event rate in 10 bins of equal
    weight, equal probabilities staying in one bin. A group of equal probabilities across the border of
    the top decile counts there by the share that fits. log_loss clips at 2.2e-16, as scikit-learn does.

    >>> measure([True, False, True, False], [0.9, 0.8, 0.3, 0.1])["auc"]
    0.75
    """
    scored = _Scored.of(*_checked(label, probability))
    sample = scored.weigh(np.ones(len(scored.label)) if weight is None else np.asarray(weight, float))
    return {name: float(metric(sample)) for name, metric in METRICS.items()}


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    entity: ArrayLike,
    *,
    resamples: int = 400,
    seed: int = SEED,
    metrics: Mapping[str, Metric] = METRICS,
) -> dict[str, dict[str, float] | int]:
    """Every metric with its 95 % percentile interval, bootstrap clustered by entity.

    Parameters
    ----------
    label : n bools or 0/1, True = churned
    probability : n probabilities of churn, 0..1
    entity : n ids; rows of one entity are drawn together. Samples of one class only are drawn again
    resamples, seed : number of bootstrap samples > 0, and the seed that fixes them
    metrics : what is measured

    Returns
    -------
    metric -> {"value", "low", "high"}, and the counts "rows" and "entities". The interval of
    calibration_error leans upwards: noise within a bin never cancels.

    Raises
    ------
    ValueError : lengths differ, a label is not 0/1, one class only, a null entity,
        a probability is NaN or outside 0..1
    """
    labels, probabilities, codes = _checked(label, probability, entity)
    scored = _Scored.of(labels, probabilities)
    drawn = [
        {name: metric(sample) for name, metric in metrics.items()}
        for sample in map(scored.weigh, _entity_weights(labels, codes, resamples, seed))
    ]
    whole = scored.weigh(np.ones(len(labels)))
    report = {
        name: _interval(metric(whole), [draw[name] for draw in drawn]) for name, metric in metrics.items()
    }
    return report | {"rows": len(labels), "entities": int(codes.max()) + 1}


def expected(
    probability: ArrayLike,
    *,
    resamples: int = 400,
    seed: int = SEED,
    metrics: Mapping[str, Metric] = METRICS,
) -> dict[str, dict[str, float]]:
    """What each metric will come to, before any outcome is known, if the probabilities are right.

    Outcomes are drawn from the probabilities themselves, row by row, and measured; the interval is that of a
    later measurement, not of the mean. An outcome outside says that the probabilities were wrong. It is the
    estimate from confidence alone: where the world changes and the model does not notice, it fails.

    Parameters
    ----------
    probability : n probabilities of churn, 0..1
    resamples, seed : number of draws > 0, and the seed that fixes them

    Returns
    -------
    metric -> {"value": mean of the draws, "low", "high"}

    Raises
    ------
    ValueError : a probability is NaN or outside 0..1, or fewer than one churner, or stayer, is expected

    >>> found = expected(np.full(1000, 0.3))
    >>> round(found["auc"]["value"], 2), round(found["base_rate"]["value"], 2)
    (0.5, 0.3)
    """
    chance = np.asarray(probability, float)
    _, chance = _checked(np.arange(len(chance)) % 2, chance)
    if not 1 <= chance.sum() <= len(chance) - 1:
        raise ValueError(f"{chance.sum():.1f} of {len(chance)} are expected to churn: nothing can be ranked")
    rng, drawn = np.random.default_rng(seed), list[dict[str, float]]()
    while len(drawn) < resamples:
        label = rng.random(len(chance)) < chance
        if label.any() and not label.all():
            sample = _Scored.of(label, chance).weigh(np.ones(len(chance)))
            drawn.append({name: float(metric(sample)) for name, metric in metrics.items()})
    values = {name: [draw[name] for draw in drawn] for name in metrics}
    return {name: _interval(float(np.mean(found)), found) for name, found in values.items()}


def paired_difference(
    label: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    entity: ArrayLike,
    metric: str | Metric,
    *,
    resamples: int = 400,
    seed: int = SEED,
) -> dict[str, float]:
    """``metric`` of p_a minus that of p_b on the same rows, with its 95 % interval; as in ``evaluate``.

    Both are measured on the same resamples, so what they share cancels: the interval is far narrower
    than two separate ones.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; want one of {', '.join(METRICS)}")
    measured = METRICS[metric] if isinstance(metric, str) else metric
    labels, first, codes = _checked(label, p_a, entity)
    scored = [_Scored.of(labels, first), _Scored.of(*_checked(label, p_b))]

    def difference(weight: np.ndarray) -> float:
        a, b = (measured(rows.weigh(weight)) for rows in scored)
        return a - b

    drawn = [difference(weight) for weight in _entity_weights(labels, codes, resamples, seed)]
    return _interval(difference(np.ones(len(labels))), drawn)


def resampled(
    label: ArrayLike,
    entity: ArrayLike,
    statistic: Callable[[np.ndarray], float],
    *,
    resamples: int = 400,
    seed: int = SEED,
) -> dict[str, float]:
    """Value, low and high of any number that follows from a weight a row; drawn as in ``evaluate``."""
    labels, _, codes = _checked(label, np.zeros(len(np.asarray(label))), entity)
    drawn = [statistic(weight) for weight in _entity_weights(labels, codes, resamples, seed)]
    return _interval(statistic(np.ones(len(labels))), drawn)


def _entity_weights(label: np.ndarray, codes: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn when as many entities as there are are drawn with replacement."""
    rng, entities = np.random.default_rng(seed), int(codes.max()) + 1
    while resamples > 0:
        weight = np.bincount(rng.integers(entities, size=entities), minlength=entities)[codes].astype(float)
        if 0 < weight @ label < weight.sum():
            resamples -= 1
            yield weight


def _interval(value: float, drawn: list[float]) -> dict[str, float]:
    low, high = np.quantile(drawn, INTERVAL)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _checked(label: ArrayLike, probability: ArrayLike, *entity: ArrayLike) -> tuple[np.ndarray, ...]:
    """Labels as bools, probabilities as floats, entities as codes 0..m-1."""
    raw, probabilities = pd.Series(np.asarray(label)), np.asarray(probability, float)
    lengths = [len(raw), len(probabilities), *(len(np.asarray(ids)) for ids in entity)]
    if len(set(lengths)) != 1:
        raise ValueError(f"label, probability and entity want equal lengths, got {lengths}")
    if not raw.isin([0, 1]).all():
        raise ValueError(f"labels want 0/1 or bools without nulls, got {raw[~raw.isin([0, 1])].iloc[0]!r}")
    if raw.nunique() != 2:
        raise ValueError(f"want both classes, got {raw.nunique()} in {len(raw)} rows: nothing can be ranked")
    outside = ~((probabilities >= 0) & (probabilities <= 1))
    if outside.any():
        raise ValueError(
            f"{outside.sum()} probabilities are NaN or outside 0..1, the first {probabilities[outside][0]}"
        )
    if any(pd.isna(np.asarray(ids)).any() for ids in entity):
        raise ValueError("an entity id is null; rows without one cannot be drawn together")
    return raw.to_numpy(bool), probabilities, *(pd.factorize(np.asarray(ids))[0] for ids in entity)
