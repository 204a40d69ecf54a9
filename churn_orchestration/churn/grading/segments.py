"""Segments of customers, and how a model does by segment, the worst first."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.protocol import MIN_ENTITIES

MOST_VALUES, QUARTERS, RESAMPLES = 5, 4, 200
UNKNOWN = "unknown"
REPORTED = {name: metrics.METRICS[name] for name in ("auc", "log_loss")}


def cut(rows: pd.DataFrame, features: Sequence[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each segment of each feature: feature, segment in words, and its rows; every row is in one of
    each.

    A feature of few values has a segment a value, any other one a quarter of its known values; rows
    without a value are a segment of their own.
    """
    for feature in features:
        for segment, part in rows.groupby(_segments(rows[feature]), observed=True, sort=False):
            yield feature, str(segment), part


def by_segment(rows: pd.DataFrame, entity: str, features: Sequence[str]) -> list[dict[str, Any]]:
    """Each segment of each feature, by falling loss: what the forecast adds to the segment's own
    churn rate.

    Parameters
    ----------
    rows : held-out rows with ``entity``, ``label``, the probability ``model`` and the features

    Returns
    -------
    feature, segment, rows, entities, base_rate, mean_forecast, and with 95 % intervals auc and
    log_loss; ``skill``: the share of the log loss of the segment's own churn rate that the forecast
    takes away, below 0 where it knows less than that rate. Of segments with fewer than MIN_ENTITIES
    customers of one outcome the counts and rates alone
    """
    result = [
        {"feature": feature, "segment": segment} | _measured(part, entity)
        for feature, segment, part in cut(rows, features)
    ]
    return sorted(result, key=lambda segment: segment.get("skill", np.inf))


def _measured(part: pd.DataFrame, entity: str) -> dict[str, Any]:
    label = part["label"].astype(bool)
    measured: dict[str, Any] = {
        "rows": len(part),
        "entities": int(part[entity].nunique()),
        "base_rate": float(label.mean()),
        "mean_forecast": float(part["model"].mean()),
    }
    if min(part.loc[rows, entity].nunique() for rows in (label, ~label)) < MIN_ENTITIES:
        return measured
    graded = metrics.evaluate(
        label, part["model"], part[entity], resamples=RESAMPLES, metrics=REPORTED
    )
    rate = np.full(len(part), measured["base_rate"])
    own = metrics.measure(label, rate)["log_loss"]
    measured |= {name: graded[name] for name in REPORTED}
    return measured | {"skill": 1 - measured["log_loss"]["value"] / own}


def _segments(values: pd.Series) -> pd.Series:
    """The segment of each row, in words."""
    known = values.dropna()
    if known.nunique() <= MOST_VALUES or not pd.api.types.is_numeric_dtype(known):
        words = known.map(_plain)
    else:
        binned = pd.qcut(known.astype(float), QUARTERS, duplicates="drop")
        parts = list(binned.cat.categories)  # one alone, where most values are the same
        names = [f"{_plain(part.left)} to {_plain(part.right)}" for part in parts]
        names[-1] = f"above {_plain(parts[-1].left)}"
        names[0] = f"up to {_plain(parts[0].right)}"
        words = binned.cat.rename_categories(names).astype(str)
    return words.reindex(values.index).fillna(UNKNOWN)


def _plain(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, int | float | np.number) else str(value)
