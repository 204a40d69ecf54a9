"""What learns spend from features: a regression on their logs, and whether times how much.

Heavy imports stand at the top, so import this module inside the function that fits or forecasts.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import TweedieRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from churn_orchestration.churn.learners import SEED, TRUSTED_TYPES, Clipped, signed_log1p
from churn_orchestration.churn.value.question import (
    LEARNED,
    PER_PURCHASE,
    PURCHASES,
    SPEND,
    TWEEDIE,
    TWO_PART,
)

TYPES = [
    *TRUSTED_TYPES,
    "lightgbm.sklearn.LGBMRegressor",
    "sklearn._loss.loss.HalfTweedieLoss",
]
"""Types that skops must trust to save and load them, without a pickle."""
LEAST = 1e-6
"""Expected purchases or spend below it count as so much: their log is an input."""
POWER, ALPHA = 1.5, 0.01
"""Of the Tweedie regression: variance as mean to the power, between counts and amounts; penalty."""
TREES: dict[str, Any] = {
    "n_estimators": 200, "learning_rate": 0.05, "num_leaves": 4, "min_child_samples": 100,
    "colsample_bytree": 0.5, "deterministic": True, "force_row_wise": True, "n_jobs": 1,
    "random_state": SEED, "verbose": -1,
}  # fmt: skip
FEWEST_BUYERS = 100
"""Rows that spent something, else nothing is learned."""


@dataclass(frozen=True)
class Members:
    """Forecasts of spend that are learned from outcomes, beside the process; see ``fit_members``.

    Parameters
    ----------
    features : the columns that they read, floats; NaN is not known
    unit : what spend was divided by to learn it
    tweedie : of spend in the unit
    whether, how_much : whether anything is spent, and how much where it is, in the unit
    """

    features: list[str]
    unit: float
    tweedie: Pipeline
    whether: LGBMClassifier
    how_much: LGBMRegressor

    def forecast(self, rows: pd.DataFrame, process: pd.DataFrame) -> pd.DataFrame:
        """Expected spend of n rows by each of ``question.LEARNED``, finite and >= 0.

        Parameters
        ----------
        rows : holds the features
        process : what the purchase process forecasts of the rows, see ``SpendForecast.of``
        """
        if not len(rows):
            return pd.DataFrame({name: [] for name in LEARNED}, index=rows.index, dtype=float)
        table = _inputs(rows[self.features], process)
        with threadpool_limits(1):
            buys = np.asarray(self.whether.predict_proba(table))[:, 1]
            result = {
                TWEEDIE: self.tweedie.predict(table),
                TWO_PART: buys * np.asarray(self.how_much.predict(table)),
            }
        return pd.DataFrame(result, index=rows.index) * self.unit

    def record(self) -> dict[str, Any]:
        """What a file keeps of them, read again by `of_record`."""
        return dict(vars(self))

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Self:
        """The members of a `record`."""
        return cls(**record)


def fit_members(
    rows: pd.DataFrame, process: pd.DataFrame, spent: np.ndarray, features: list[str]
) -> Members | None:
    """Learn from rows of earlier days whose outcome is known; None: too few spent anything.

    Parameters
    ----------
    rows : n rows with the features, of one or several days
    process : what the purchase process forecasts of them
    spent : what came, n numbers >= 0
    """
    bought = spent > 0
    if bought.sum() < FEWEST_BUYERS or bought.all():
        return None
    table, unit = _inputs(rows[features], process), float(spent.mean())
    tweedie = make_pipeline(
        FunctionTransformer(signed_log1p, feature_names_out="one-to-one"),
        Clipped(),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        TweedieRegressor(power=POWER, alpha=ALPHA, link="log", max_iter=1_000),
    )
    with threadpool_limits(1):  # small tables: threads would wait for each other
        tweedie.fit(table, spent / unit)
        whether = LGBMClassifier(**TREES).fit(table, bought)
        how_much = LGBMRegressor(objective="gamma", **TREES).fit(
            table[bought], spent[bought] / unit
        )
    return Members(features, unit, tweedie, whether, how_much)


def _inputs(features: pd.DataFrame, process: pd.DataFrame) -> pd.DataFrame:
    """The features, and the logs of what the process expects."""
    expected = process[[PURCHASES, PER_PURCHASE, SPEND]].clip(lower=LEAST)
    return features.astype(float).join(np.log(expected).add_prefix("_log_"))
