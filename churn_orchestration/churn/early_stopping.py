"""How many boosted trees, and how many leaves of each, forecast rows unseen best."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, early_stopping
from sklearn.base import clone
from xgboost import XGBClassifier

MOST_TREES, PATIENCE = 1_000, 50
Boosted = LGBMClassifier | XGBClassifier
Masks = tuple[np.ndarray, np.ndarray]
"""Rows that train and rows that judge, as n bools each."""


def loss_by_tree(
    member: Boosted,
    train: tuple[pd.DataFrame, np.ndarray],
    test: tuple[pd.DataFrame, np.ndarray],
    patience: int = PATIENCE,
) -> np.ndarray:
    """Log loss of the rows that judge after 1, 2, ... trees, until it has not fallen for
    ``patience`` of them.

    Parameters
    ----------
    member : unfitted, with the most trees that there may be
    train, test : features, n x f floats, and outcomes, n bools or 0/1
    """
    (table, label), (unseen, outcome) = train, test
    label, outcome = label.astype(int), outcome.astype(int)
    if isinstance(member, LGBMClassifier):
        light: LGBMClassifier = clone(member)
        light.fit(
            table, label, eval_X=unseen, eval_y=outcome, eval_metric="binary_logloss",
            callbacks=[early_stopping(patience, verbose=False)],
        )  # fmt: skip
        [curve] = light.evals_result_.values()
        return np.array(curve["binary_logloss"])
    extreme: XGBClassifier = clone(member)
    extreme.set_params(early_stopping_rounds=patience, eval_metric="logloss")
    extreme.fit(table, label, eval_set=[(unseen, outcome)], verbose=False)
    [curve] = extreme.evals_result().values()
    return np.array(curve["logloss"])


def best_by_fold(
    members: Sequence[Boosted], features: pd.DataFrame, churned: np.ndarray, splits: Sequence[Masks]
) -> tuple[int, int]:
    """The member, by its number, and its number of trees, whose mean log loss over splits is least.

    Parameters
    ----------
    members : unfitted, the one that learns least first; the first that forecasts worse than the one
        before it is the last that is tried
    features, churned : n x f numbers, NaN = undefined; n bools
    splits : rows that train and rows that judge, both with both outcomes

    >>> table = pd.DataFrame({"x": np.arange(400) % 7, "noise": np.arange(400) * 37 % 101})
    >>> half = np.arange(400) < 200
    >>> stumps = LGBMClassifier(n_estimators=200, num_leaves=2, n_jobs=1, verbose=-1)
    >>> churned = (table["x"] > 4).to_numpy() ^ (table["noise"] < 10).to_numpy()
    >>> number, trees = best_by_fold([stumps], table, churned, [(half, ~half), (~half, half)])
    >>> number, 0 < trees < 200
    (0, True)
    """
    table, best = features.astype(float), list[tuple[float, int]]()
    for member in members:
        curves = [
            loss_by_tree(member, (table[seen], churned[seen]), (table[later], churned[later]))
            for seen, later in splits
        ]
        shortest = min(map(len, curves))
        sizes = [later.sum() for _, later in splits]
        mean = np.average([curve[:shortest] for curve in curves], axis=0, weights=sizes)
        best.append((float(mean.min()), int(mean.argmin()) + 1))
        if len(best) > 1 and best[-1][0] > best[-2][0]:
            break
    number = min(range(len(best)), key=lambda each: best[each][0])
    return number, best[number][1]
