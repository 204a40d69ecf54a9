"""How rows are split into those that train and those that are graded: by as_of, purged; or by
entity.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn_orchestration.churn.calendar import Horizon, purged
from churn_orchestration.churn.protocol import ENTITY_FOLDS

FOLD_SEED = 20_111_209


@dataclass(frozen=True)
class Fold:
    """One test as_of with the purged as_ofs that train for it."""

    test: dt.date
    train: tuple[dt.date, ...]


def folds(as_ofs: list[dt.date], horizon: Horizon, most: int) -> list[Fold]:
    """The newest ``most`` test as_ofs that have at least one purged as_of to train on, newest
    first.

    >>> grid = [dt.date(2024, month, 1) for month in (1, 2, 3, 4, 5)]
    >>> newest = folds(grid, Horizon(60), most=2)
    >>> [(fold.test.month, [day.month for day in fold.train]) for fold in newest]
    [(5, [1, 2, 3]), (4, [1, 2])]
    """
    candidates = (
        Fold(test, tuple(purged(as_ofs, test, horizon))) for test in sorted(as_ofs, reverse=True)
    )
    return [fold for fold in candidates if fold.train][:most]


def entity_folds(entity: pd.Series, seed: int = FOLD_SEED) -> np.ndarray:
    """The fold of each row, 0 to ENTITY_FOLDS - 1: a seeded hash of its entity's text, so always
    the same.

    >>> entity_folds(pd.Series(["ann", "bob", "ann", 7])).tolist()
    [4, 2, 4, 4]
    """

    def fold(text: str) -> int:
        digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % ENTITY_FOLDS

    codes, ids = pd.factorize(entity)
    return np.array([fold(str(id_)) for id_ in ids])[codes]
