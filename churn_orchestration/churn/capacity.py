"""How much a learner may learn, by the evidence that there is."""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from churn_orchestration.churn.protocol import MIN_ENTITIES


class Capacity(NamedTuple):
    """How much the members may learn; the defaults are the settings that a search has to beat.

    Parameters
    ----------
    trees, leaf_rows, leaves : number of trees, fewest training rows in a leaf, most leaves of a
        tree
    rate, columns, l2 : of the boosted trees: learning rate, share of the features a tree sees,
        penalty
    c : of the logistic member: inverse of its penalty
    row_weight : of XGBoost, whose leaves want a weight, not a number of rows: the weight of one
    """

    trees: int
    leaf_rows: int
    leaves: int = 4
    rate: float = 0.03
    columns: float = 0.6
    l2: float = 5.0
    c: float = 0.01
    row_weight: float = 0.2  # a row weighs p(1 - p), 0.25 at most, and 0.07 where 8 % leave

    @classmethod
    def of(cls, rows: int, scarce_entities: int) -> Self:
        """Grow with the evidence: rows, and distinct entities of the rarer class.

        >>> [Capacity.of(rows, scarce)[:2] for rows, scarce in ((12_000, 2_000), (300, 60))]
        [(300, 200), (100, 100)]
        """
        # 300 trees with leaves of 30 rows, fitted to 100 customers, were 0.05 log loss worse than
        # this.
        return cls(int(np.clip(scarce_entities // 5, 100, 300)), min(200, rows // 3))


class HopelessLabel(ValueError):  # noqa: N818 - the name says what is wrong
    """The label cannot be learned from: one class only, or too few entities of one class."""


def scarce_entities(churned: np.ndarray, entity: np.ndarray) -> int:
    """Distinct entities of the rarer outcome. Raises HopelessLabel below MIN_ENTITIES."""
    gone, stayed = pd.unique(entity[churned]).size, pd.unique(entity[~churned]).size
    if min(gone, stayed) < MIN_ENTITIES:
        raise HopelessLabel(
            f"want at least {MIN_ENTITIES} entities that churned and {MIN_ENTITIES} that stayed, "
            f"found {gone} and {stayed} in {len(churned)} rows"
        )
    return min(gone, stayed)
