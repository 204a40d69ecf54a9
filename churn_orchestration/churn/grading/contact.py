"""Whom to contact: from which probability on, chosen on older held-out rows, reported on the
newest.
"""

from typing import Any

import numpy as np
import pandas as pd

from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.question.settings import (
    CAPACITY,
    PROFIT,
    RECALL,
    ContactRule,
    Economics,
)
from churn_orchestration.churn.splits import entity_folds

CHOOSE_FOLDS = 3  # of entities, where there is one held-out day only
NOBODY = 2.0  # a threshold above every probability


def threshold(rule: ContactRule, held_out: pd.DataFrame, economics: Economics) -> float | None:
    """The least probability to contact, from rows with ``label`` and ``model``; None: capacity
    decides.

    Above every probability where no threshold keeps the precision.

    >>> rows = pd.DataFrame({"label": [True, False, True, False], "model": [0.9, 0.8, 0.3, 0.1]})
    >>> [threshold(ContactRule(by, 0.6), rows, Economics()) for by in ("recall", "precision")]
    [0.3, 0.3]
    """
    if rule.by == CAPACITY:
        return None
    if rule.by == PROFIT:
        return economics.cut
    counts = held_out.groupby("model")["label"].agg(["sum", "size"]).iloc[::-1].cumsum()
    if rule.by == RECALL:
        reached = counts["sum"] / counts["sum"].iloc[-1] >= rule.floor
        return float(reached.idxmax())
    kept = counts.index[counts["sum"] / counts["size"] >= rule.floor]
    return float(kept.min()) if len(kept) else NOBODY


def contacted(
    rule: ContactRule, scored: pd.DataFrame, contact_threshold: float | None, economics: Economics
) -> np.ndarray:
    """Who of one day's rows is contacted; of equals at the border of the capacity, the first.

    Parameters
    ----------
    scored : rows with the probability ``model`` and, where it is known, ``recent_value``; without
        it the riskiest have the most at stake
    contact_threshold : from ``threshold``; None: the capacity decides
    """
    probability = scored["model"].to_numpy(float)
    if contact_threshold is not None:
        return np.asarray(probability >= contact_threshold)
    value = (
        scored["recent_value"].to_numpy(float) if "recent_value" in scored else np.ones(len(scored))
    )
    at_stake = np.nan_to_num(probability * value, nan=-np.inf)
    pays = probability >= economics.cut
    order = np.lexsort((-probability, -at_stake, ~pays))
    chosen = np.zeros(len(scored), bool)
    chosen[order[: rule.room(len(scored))]] = True
    return chosen & pays


def choose_and_report_rows(
    held_out: pd.DataFrame, entity: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Held-out rows to choose on, and others to report on: the newest day, or entities where there
    is one.
    """
    newest = held_out["as_of"] == held_out["as_of"].max()
    if newest.all():
        newest = pd.Series(entity_folds(held_out[entity]) >= CHOOSE_FOLDS, index=held_out.index)
    return held_out[~newest], held_out[newest]


def as_contacted(
    rule: ContactRule, held_out: pd.DataFrame, entity: str, economics: Economics
) -> pd.DataFrame:
    """The held-out rows to report on, each with whether the rule contacts it: ``contact``."""
    chosen_on, reported_on = choose_and_report_rows(held_out, entity)
    least = threshold(rule, chosen_on, economics)
    return reported_on.assign(contact=contacted(rule, reported_on, least, economics))


def contact_summary(
    rule: ContactRule, held_out: pd.DataFrame, entity: str, economics: Economics
) -> dict[str, Any]:
    """What the rule would have done on rows on which it was not chosen, with 95 % intervals.

    Parameters
    ----------
    held_out : rows with ``entity``, ``as_of``, ``label``, the probability ``model`` and
        ``recent_value``

    Returns
    -------
    ``threshold``, ``rows``, and of ``contacted`` (share of all), ``precision``, ``recall`` and
    ``profit`` (of a customer's value, per customer) value, low and high; precision is absent where
    nobody is contacted
    """
    chosen_on, reported_on = choose_and_report_rows(held_out, entity)
    contact_threshold = threshold(rule, chosen_on, economics)
    chosen = contacted(rule, reported_on, contact_threshold, economics)
    label = reported_on["label"].to_numpy(bool)
    hit, miss = chosen & label, chosen & ~label
    counted = {
        "contacted": lambda weight: weight @ chosen / weight.sum(),
        "recall": lambda weight: weight @ hit / (weight @ label),
        "profit": lambda weight: (
            float(economics.earned(weight @ hit, weight @ miss)) / weight.sum()
        ),
    }
    if chosen.any():
        counted["precision"] = lambda weight: weight @ hit / max(weight @ chosen, 1e-9)
    result: dict[str, Any] = {
        name: metrics.resampled(label, reported_on[entity], statistic)
        for name, statistic in counted.items()
    }
    return result | {
        "rule": rule.sentence(),
        "threshold": contact_threshold,
        "rows": len(reported_on),
        "chosen_on": sorted({str(day.date()) for day in chosen_on["as_of"]}),
        "reported_on": str(held_out["as_of"].max().date()),
    }
