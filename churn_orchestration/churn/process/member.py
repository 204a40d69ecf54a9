"""A purchase process as a classifier of silence, which learns from histories and needs no label."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from churn_orchestration.churn.process.fitting import NoFit, Process, fit
from churn_orchestration.churn.process.histories import COLUMNS, Histories

TRUSTED_TYPES = ["churn_orchestration.churn.process.member.PurchaseProcess"]
"""Types that skops must trust to save and load a PurchaseProcess, without a pickle."""


def gold_columns(source: str) -> tuple[str, str, str]:
    """The features of an event source from which x, t_x and T follow."""
    return (
        f"{source}_active_days_all",
        f"{source}_days_since_last",
        f"{source}_days_since_first",
    )


def gold_histories(features: pd.DataFrame, source: str) -> Histories:
    """The histories of a feature table's rows, in their order.

    Raises
    ------
    ValueError : a column is missing, or a row's entity has no event of the source yet

    >>> row = {"orders_active_days_all": 3, "orders_days_since_last": 4,
    ...        "orders_days_since_first": 30}
    >>> history = gold_histories(pd.DataFrame([row]), "orders")
    >>> float(history.x[0]), float(history.t_x[0]), float(history.age[0])
    (2.0, 26.0, 30.0)
    """
    active, last, first = _columns(features, gold_columns(source))
    return Histories.of(active - 1, first - last, first)


def possible(histories: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of `gold_columns`, n x 3, each made a history that can be; one that can be stays."""
    active, last, first = histories.T
    first = np.maximum(first, np.where(active > 1, last + 1, last))
    last = np.where(active > 1, last, first)
    return pd.DataFrame(np.column_stack([active, last, first]), columns=list(columns))


def _columns(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """The columns as floats. Raises ValueError if one is missing or has a null."""
    if missing := [name for name in names if name not in table]:
        raise ValueError(f"a purchase process needs {', '.join(names)}; missing: {missing}")
    columns = tuple(table[name].to_numpy(float, na_value=np.nan) for name in names)
    if nulls := np.isnan(columns).any(axis=0).sum():
        raise ValueError(f"{nulls} of {len(table)} rows have no first purchase yet: {names}")
    return columns


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
            return Histories.of(*_columns(features, COLUMNS))
        return gold_histories(features, self.source)
