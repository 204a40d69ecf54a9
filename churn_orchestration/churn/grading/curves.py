"""The curves behind a grade: calibration and gain, as plain numbers that a picture is drawn
from.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import betaincinv

BINS = 10
SHARES = np.linspace(0, 1, 21)
LEVEL = (0.025, 0.975)


def rate_interval(events: ArrayLike, trials: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a rate, also where nothing or everything happened; events need not be
    whole.

    Jeffreys' interval. Source: Brown, Cai, DasGupta 2001, Interval estimation for a binomial
    proportion.

    >>> [end.round(3).tolist() for end in rate_interval([0, 5], [10, 10])]
    [[0.0, 0.224], [0.217, 0.776]]
    """
    hits, misses = np.asarray(events, float), np.asarray(trials, float) - np.asarray(events, float)
    low, high = (betaincinv(hits + 0.5, misses + 0.5, end) for end in LEVEL)
    return np.where(hits > 0, low, 0.0), np.where(misses > 0, high, 1.0)


def calibration(
    label: ArrayLike, probability: ArrayLike, entity: ArrayLike
) -> list[dict[str, float]]:
    """What was forecast and what happened, in the ten bins of ``calibration_error``, lowest
    forecasts first.

    Returns
    -------
    one dict a bin: rows, churned, mean_probability, churn_rate, low and high. Equal probabilities
    stay in one bin. Rows of one entity are no separate evidence, so the interval counts entities
    (Korn, Graubard 1998).

    >>> both = calibration([True, False, True], [0.9, 0.1, 0.9], ["a", "b", "a"])
    >>> [(result["rows"], result["churned"], result["mean_probability"]) for result in both]
    [(1, 0, 0.1), (2, 2, 0.9)]
    """
    rows = pd.DataFrame({"label": np.asarray(label, float), "p": np.asarray(probability, float)})
    rows["entity"] = np.asarray(entity)
    middle = rows["p"].rank(method="average", ascending=False) - 0.5
    bins = rows.groupby(np.minimum((middle * BINS / len(rows)).astype(int), BINS - 1))
    table = bins.agg(
        rows=("p", "size"), churned=("label", "sum"), mean_probability=("p", "mean"),
        churn_rate=("label", "mean"), entities=("entity", "nunique"),
    )  # fmt: skip
    table["low"], table["high"] = rate_interval(
        table["churn_rate"] * table["entities"], table["entities"]
    )
    table = table.drop(columns="entities").astype({"rows": int, "churned": int}).iloc[::-1]
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def gain(label: ArrayLike, score: ArrayLike) -> list[float]:
    """The share of all churners among the riskiest 0 %, 5 %, ... 100 %; of equal scores the share
    that fits.

    >>> gain([True, False, True, False], [0.9, 0.8, 0.3, 0.1])[::5]
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    by_score = pd.DataFrame({"label": np.asarray(label, float), "score": np.asarray(score, float)})
    groups = by_score.groupby("score")["label"].agg(["size", "sum"]).iloc[::-1].cumsum()
    seen, result = np.insert(groups.to_numpy(float), 0, 0.0, axis=0).T
    return [float(share) for share in np.interp(SHARES * seen[-1], seen, result) / result[-1]]
