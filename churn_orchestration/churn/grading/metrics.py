"""Quality of churn probabilities, each number with its 95 % interval from resampled entities.

Every metric is a weighted one, so a bootstrap sample is a vector of weights: row order and ties are
settled once, and a resample costs a few passes over the rows and no copy of them. A metric that is
a mean over rows costs a resample one pass over the entities. A value is always that of all rows;
beyond MOST_RESAMPLED rows its interval is resampled from a part of the entities, and made narrower
by the root of the part's share. Source: Politis, Romano, Wolf 1999, Subsampling.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from threadpoolctl import ThreadpoolController

from churn_orchestration.churn.question.settings import Economics

SEED = 20_111_209
INTERVAL = (0.025, 0.975)
MOST_RESAMPLED, LEAST_RARE = 100_000, 5_000
"""Rows that are resampled, and of the rarer outcome at least so many, or all."""
WHOLE_DRAWS = 20  # of all rows, where the others are of a part
BINS = 10
DECILE = 0.1
_ONE_THREAD = partial(ThreadpoolController().limit, limits=1, user_api="blas")
"""Sums this small lose more to threads than they gain: five times as long next to another
process.
"""


@dataclass(frozen=True)
class _Scored:
    """Rows by falling probability; equal probabilities are one group, ``last`` holds the last row
    of each.
    """

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
        return cls(order, label, probability, last, _NOTHING).came(label)

    def weigh(self, weight: np.ndarray) -> "_Weighed":
        weight = weight[self.order]
        rows, events = np.cumsum(weight)[self.last], np.cumsum(weight * self.label)[self.last]
        return _Weighed(
            self, weight, np.concatenate((_NOTHING, rows)), np.concatenate((_NOTHING, events))
        )

    def came(self, label: np.ndarray) -> Self:
        """The same forecasts with other labels, given in their order."""
        edge = np.finfo(float).eps
        clipped = np.clip(self.probability, edge, 1 - edge)
        return replace(self, label=label, log_loss=-np.log(np.where(label, clipped, 1 - clipped)))


_NOTHING = np.zeros(1)


@dataclass(frozen=True)
class _Weighed:
    """A weight a row, and the weight of rows and of events cumulated to each group's end, from
    0.
    """

    scored: _Scored
    weight: np.ndarray
    rows: np.ndarray
    events: np.ndarray


@dataclass(frozen=True)
class Mean:
    """A metric that is the mean of a number a row, given in the order of the rows."""

    of: Callable[[_Scored], np.ndarray]

    def __call__(self, sample: _Weighed) -> float:
        return float(sample.weight @ self.of(sample.scored) / sample.rows[-1])


def _auc(sample: _Weighed) -> float:
    others = sample.rows - sample.events
    middle = (sample.events[1:] + sample.events[:-1]) / 2
    return np.diff(others) @ middle / (sample.events[-1] * others[-1])


def _average_precision(sample: _Weighed) -> float:
    result, seen = sample.events[1:], sample.rows[1:]
    precision = np.divide(result, seen, out=np.zeros_like(result), where=seen > 0)
    return np.diff(sample.events) @ precision / result[-1]


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


def profit(economics: Economics) -> Mean:
    """Profit per customer, in customers' values, of contacting all whose probability makes a
    contact pay.
    """

    def earned(scored: _Scored) -> np.ndarray:
        contacted = scored.probability >= economics.cut
        return np.where(contacted, economics.earned(scored.label.astype(int), ~scored.label), 0.0)

    return Mean(earned)


Metric: TypeAlias = Callable[[_Weighed], float]
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": _auc,
        "average_precision": _average_precision,
        "log_loss": Mean(lambda scored: scored.log_loss),
        "brier": Mean(lambda scored: np.square(scored.probability - scored.label)),
        "calibration_error": _calibration_error,
        "lift_top_decile": _lift_top_decile,
        "recall_top_decile": _recall_top_decile,
        "base_rate": Mean(lambda scored: scored.label.astype(float)),
    }
)


def measure(
    label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None
) -> dict[str, float]:
    """Every metric of METRICS as a plain number; a row of weight w counts as w equal rows.

    calibration_error: mean absolute gap between mean probability and event rate in 10 bins of equal
    weight, equal probabilities staying in one bin. A group of equal probabilities across the border
    of the top decile counts there by the share that fits. log_loss clips at 2.2e-16, as
    scikit-learn does.

    >>> measure([True, False, True, False], [0.9, 0.8, 0.3, 0.1])["auc"]
    0.75
    """
    scored = _Scored.of(*_checked(label, probability))
    sample = scored.weigh(
        np.ones(len(scored.label)) if weight is None else np.asarray(weight, float)
    )
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
    whole = _Scored.of(labels, probabilities).weigh(np.ones(len(labels)))
    part = _part(labels, codes, seed)
    scored, alike = _Scored.of(labels[part], probabilities[part]), np.ones(part.sum())
    drawn = _resample([scored], pd.factorize(codes[part])[0], metrics, resamples, seed)
    report = {
        name: _interval(metric(whole), drawn[name][:, 0], metric(scored.weigh(alike)), part.mean())
        for name, metric in metrics.items()
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

    Outcomes are drawn from the probabilities themselves, row by row, and measured; the interval is
    that of a later measurement, not of the mean. An outcome outside says that the probabilities
    were wrong. It is the estimate from confidence alone: where the world changes and the model does
    not notice, it fails.

    Parameters
    ----------
    probability : n probabilities of churn, 0..1
    resamples, seed : number of draws > 0, and the seed that fixes them

    Returns
    -------
    metric -> {"value": mean of the draws, "low", "high"}

    Raises
    ------
    ValueError : a probability is NaN or outside 0..1, or fewer than one churner, or stayer, is
        expected

    >>> result = expected(np.full(1000, 0.3))
    >>> round(result["auc"]["value"], 2), round(result["base_rate"]["value"], 2)
    (0.5, 0.3)
    """
    chance = np.asarray(probability, float)
    _, chance = _checked(np.arange(len(chance)) % 2, chance)
    if not 1 <= chance.sum() <= len(chance) - 1:
        raise ValueError(
            f"{chance.sum():.1f} of {len(chance)} are expected to churn: nothing can be ranked"
        )
    rarer = min(chance.sum(), len(chance) - chance.sum())
    step = max(1, int(1 / _share(len(chance), rarer)))
    drawn = _outcomes(
        np.sort(chance)[step // 2 :: step] if step > 1 else chance, metrics, resamples, seed
    )
    means = {name: float(np.mean(result)) for name, result in drawn.items()}
    values = means
    if step > 1:  # of fewer rows, a calibration error is larger: chance alone makes it so
        whole = _outcomes(chance, metrics, WHOLE_DRAWS, seed)
        values = {name: float(np.mean(result)) for name, result in whole.items()}
    return {
        name: _interval(values[name], result, means[name], 1 / step)
        for name, result in drawn.items()
    }


def _outcomes(
    chance: np.ndarray, metrics: Mapping[str, Metric], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Each metric on so many draws of the outcomes from the probabilities: name -> draws."""
    rng, drawn = np.random.default_rng(seed), list[dict[str, float]]()
    scored, alike = _Scored.of(np.zeros(len(chance), bool), chance), np.ones(len(chance))
    with _ONE_THREAD():
        while len(drawn) < draws:
            label = rng.random(len(chance)) < chance
            if label.any() and not label.all():
                sample = scored.came(label[scored.order]).weigh(alike)
                drawn.append({name: float(metric(sample)) for name, metric in metrics.items()})
    return {name: np.array([draw[name] for draw in drawn]) for name in metrics}


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
    """``metric`` of p_a minus that of p_b on the same rows, with its 95 % interval; as in
    ``evaluate``.

    Both are measured on the same resamples, so what they share cancels: the interval is far
    narrower than two separate ones.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; want one of {', '.join(METRICS)}")
    measured = METRICS[metric] if isinstance(metric, str) else metric
    labels, first, codes = _checked(label, p_a, entity)
    _, second = _checked(label, p_b)

    def of(rows: np.ndarray) -> tuple[list[_Scored], float]:
        scored = [_Scored.of(labels[rows], forecast[rows]) for forecast in (first, second)]
        a, b = (measured(each.weigh(np.ones(rows.sum()))) for each in scored)
        return scored, a - b

    part = _part(labels, codes, seed)
    (scored, of_part), (_, value) = of(part), of(np.ones(len(labels), bool))
    drawn = _resample(scored, pd.factorize(codes[part])[0], {"": measured}, resamples, seed)[""]
    return _interval(value, drawn[:, 0] - drawn[:, 1], of_part, part.mean())


def resampled(
    label: ArrayLike,
    entity: ArrayLike,
    statistic: Callable[[np.ndarray], float],
    *,
    resamples: int = 400,
    seed: int = SEED,
) -> dict[str, float]:
    """Value, low and high of any number that follows from a weight a row; drawn as in
    ``evaluate``.
    """
    labels, _, codes = _checked(label, np.zeros(len(np.asarray(label))), entity)
    with _ONE_THREAD():
        drawn = [
            statistic(times[codes]) for times in _drawn_entities(labels, codes, resamples, seed)
        ]
    return _interval(statistic(np.ones(len(labels))), np.array(drawn))


def _resample(
    scored: Sequence[_Scored],
    codes: np.ndarray,
    metrics: Mapping[str, Metric],
    resamples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Each metric of forecasts of the same rows on each resample: name -> resamples x forecasts."""
    means = {name: metric for name, metric in metrics.items() if isinstance(metric, Mean)}
    ranks = {name: metric for name, metric in metrics.items() if name not in means}
    sums = [
        np.bincount(codes[rows.order], weights=metric.of(rows))
        for metric in means.values()
        for rows in scored
    ]
    sizes, label = np.bincount(codes), np.empty(len(codes), bool)
    label[scored[0].order] = scored[0].label
    summed = np.column_stack([sizes, *sums]).astype(float)
    result = {name: np.empty((resamples, len(scored))) for name in metrics}
    with _ONE_THREAD():
        for place, times in enumerate(_drawn_entities(label, codes, resamples, seed)):
            rows_drawn, *drawn = times @ summed
            for number, name in enumerate(means):
                of = drawn[number * len(scored) : (number + 1) * len(scored)]
                result[name][place] = np.array(of) / rows_drawn
            for forecast, rows in enumerate(scored if ranks else ()):
                sample = rows.weigh(times[codes])
                for name, metric in ranks.items():
                    result[name][place, forecast] = metric(sample)
    return result


def _drawn_entities(
    label: np.ndarray, codes: np.ndarray, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """How often each entity is drawn when as many as there are are drawn with replacement."""
    rng, rows = np.random.default_rng(seed), np.bincount(codes).astype(float)
    events = np.bincount(codes, weights=label)
    while resamples > 0:
        times = np.bincount(rng.integers(len(rows), size=len(rows)), minlength=len(rows)).astype(
            float
        )
        if 0 < times @ events < times @ rows:
            resamples -= 1
            yield times


def _part(label: np.ndarray, codes: np.ndarray, seed: int) -> np.ndarray:
    """The rows that are resampled, as n bools: all, or those of a part of the entities."""
    churned = label.sum()
    share = _share(len(label), min(churned, len(label) - churned))
    if share == 1:
        return np.ones(len(label), bool)
    return (np.random.default_rng(seed).random(codes.max() + 1) < share)[codes]


def _share(rows: int, rarer: float) -> float:
    return float(min(1, max(MOST_RESAMPLED / rows, LEAST_RARE / rarer)))


def _interval(
    value: float, drawn: np.ndarray, of_part: float = 0.0, share: float = 1.0
) -> dict[str, float]:
    """``drawn`` of a part, whose own value is ``of_part``: its spread is that of all, larger."""
    if share < 1:
        drawn = value + (drawn - of_part) * np.sqrt(share)
    low, high = np.quantile(drawn, INTERVAL)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _checked(
    label: ArrayLike, probability: ArrayLike, *entity: ArrayLike
) -> tuple[np.ndarray, ...]:
    """Labels as bools, probabilities as floats, entities as codes 0..m-1."""
    raw, probabilities = pd.Series(np.asarray(label)), np.asarray(probability, float)
    lengths = [len(raw), len(probabilities), *(len(np.asarray(ids)) for ids in entity)]
    if len(set(lengths)) != 1:
        raise ValueError(f"label, probability and entity want equal lengths, got {lengths}")
    if not raw.isin([0, 1]).all():
        raise ValueError(
            f"labels want 0/1 or bools without nulls, got {raw[~raw.isin([0, 1])].iloc[0]!r}"
        )
    if raw.nunique() != 2:
        raise ValueError(
            f"want both classes, got {raw.nunique()} in {len(raw)} rows: nothing can be ranked"
        )
    outside = ~((probabilities >= 0) & (probabilities <= 1))
    if outside.any():
        raise ValueError(
            f"{outside.sum()} probabilities are NaN or outside 0..1, the first "
            f"{probabilities[outside][0]}"
        )
    if any(pd.isna(np.asarray(ids)).any() for ids in entity):
        raise ValueError("an entity id is null; rows without one cannot be drawn together")
    return raw.to_numpy(bool), probabilities, *(pd.factorize(np.asarray(ids))[0] for ids in entity)
