"""A purchase process as a classifier of silence, which learns from histories and needs no label."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from churn_orchestration.churn.process.columns import gold_columns
from churn_orchestration.churn.process.fitting import NoFit, Process, fit
from churn_orchestration.churn.process.gold import (
    columns_of,
    gold_histories,
    possible,
)
from churn_orchestration.churn.process.histories import COLUMNS, Histories

TRUSTED_TYPES = ["churn_orchestration.churn.process.member.PurchaseProcess"]
"""Types that skops must trust to save and load a PurchaseProcess, without a pickle."""


class PurchaseProcess(ClassifierMixin, BaseEstimator):
    """Probability of no purchase in a horizon, by a process fitted to histories alone.

    Parameters
    ----------
    horizon_days : length of the outcome window, > 0
    gap_days : days between as_of and that window, >= 0
    source : event source whose features give the histories, see `gold_columns`; None: the table has
        the columns x, t_x, T
    record : of a Process fitted before, to all who ever bought; None: fit to the training rows, one
        a customer

    Attributes
    ----------
    record_ : the Process, as `Process.record` keeps it; empty if none fits
    reason_ : why none fits; empty if one does
    usual_ : medians of what it reads of the training rows: the history that a forecast is explained
        against
    classes_ : 0, a purchase; 1, none
    """

    def __init__(
        self,
        horizon_days: float,
        gap_days: float = 0,
        source: str | None = None,
        record: Mapping[str, str | float] | None = None,
    ) -> None:
        self.horizon_days = horizon_days
        self.gap_days = gap_days
        self.source = source
        self.record = record

    def fit(self, features: pd.DataFrame, label: object = None) -> Self:  # noqa: ARG002
        """Fit the process to the rows' histories, or take over ``record``; the label is not read.

        That none fits is a result: see ``reason_``.
        """
        process = (
            fit(self._histories(features))
            if self.record is None
            else Process.of_record(self.record)
        )
        self.record_ = process.record() if isinstance(process, Process) else {}
        self.reason_ = process.reason if isinstance(process, NoFit) else ""
        self.classes_ = np.array([0, 1])
        usual = features[list(self.columns)].astype(float).median().to_numpy()[None]
        self.usual_ = possible(usual, self.columns).to_numpy()[0] if self.source else usual[0]
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads of a table."""
        return COLUMNS if self.source is None else gold_columns(self.source)

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Log odds of silence, n finite floats; to the bit, each depends on its own row alone.

        Raises
        ------
        ValueError : no process fits, a column is missing, or a row has no history
        """
        return self.process().silence_log_odds(
            self._histories(features), self.horizon_days, self.gap_days
        )

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        """Probabilities of a purchase and of none, n x 2."""
        log_odds = self.decision_function(features)
        return np.column_stack([expit(-log_odds), expit(log_odds)])

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """The likelier class of each row."""
        return (self.decision_function(features) > 0).astype(int)

    def process(self) -> Process:
        """The fitted process. Raises ValueError with the reason if none fits."""
        check_is_fitted(self)
        if self.reason_:
            raise ValueError(f"no purchase process fits: {self.reason_}")
        return Process.of_record(self.record_)

    def _histories(self, features: pd.DataFrame) -> Histories:
        if self.source is None:
            return Histories.of(*columns_of(features, COLUMNS))
        return gold_histories(features, self.source)
