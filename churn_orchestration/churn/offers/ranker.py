"""A ranker of candidates, learned from what came on earlier as_ofs, and its probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.offers.candidates import FEATURES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FEWEST = 50
"""Candidates that were bought, below which nothing is learned."""
ROUNDS = 80
PARAMETERS = {
    "objective": "binary", "learning_rate": 0.08, "num_leaves": 15, "min_data_in_leaf": 50,
    "lambda_l2": 10.0, "feature_fraction": 0.8, "seed": 1, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbose": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Ranker:
    """Trees over FEATURES: the probability that a candidate is bought, before it is calibrated."""

    trees: str

    def scores(self, rows: "pd.DataFrame") -> "np.ndarray":
        """Of each candidate, 0 to 1."""
        import lightgbm
        import numpy as np

        booster = lightgbm.Booster(model_str=self.trees)
        return np.asarray(booster.predict(rows[list(FEATURES)].to_numpy(), num_threads=1))


@dataclass(frozen=True)
class Calibration:
    """From scores to the share that was bought of candidates with such a score: a curve that never
    falls, straight between its points.
    """

    scores: tuple[float, ...]
    shares: tuple[float, ...]

    def probabilities(self, scores: "np.ndarray") -> "np.ndarray":
        """Of each score; at the ends, those of the nearest point."""
        import numpy as np

        return np.interp(scores, self.scores, self.shares)

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"scores": self.scores, "shares": self.shares}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Calibration":
        """The inverse of ``record``."""
        return cls(tuple(record["scores"]), tuple(record["shares"]))


def fit_ranker(rows: "pd.DataFrame", came: "np.ndarray") -> Ranker | None:
    """Learn which candidates were bought; None: too few were.

    Parameters
    ----------
    rows : candidates of one or more as_ofs with FEATURES, in a total order
    came : of each, whether it was bought within the horizon
    """
    import lightgbm

    if came.sum() < FEWEST or came.all():
        return None
    data = lightgbm.Dataset(rows[list(FEATURES)].to_numpy(), came.astype(int))
    return Ranker(lightgbm.train(PARAMETERS, data, ROUNDS).model_to_string())


def calibrated(scores: "np.ndarray", came: "np.ndarray") -> Calibration:
    """The curve of scores that a ranker gave candidates of days which it had not learned from.

    Source: Zadrozny, Elkan 2002 (isotonic regression).
    """
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0, y_max=1).fit(scores, came.astype(float))
    return Calibration(tuple(curve.X_thresholds_.tolist()), tuple(curve.y_thresholds_.tolist()))
