"""A purchase process on the rows of gold: which columns it reads, its forecast, and what moves it.

Imports neither a learner nor scikit-learn, for a day without a model is scored by this alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from churn_orchestration.churn.process.columns import gold_columns
from churn_orchestration.churn.process.fitting import Process
from churn_orchestration.churn.process.histories import Histories


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
    active, last, first = columns_of(features, gold_columns(source))
    return Histories.of(active - 1, first - last, first)


def possible(histories: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of `gold_columns`, n x 3, each made a history that can be; one that can be stays."""
    active, last, first = histories.T
    first = np.maximum(first, np.where(active > 1, last + 1, last))
    last = np.where(active > 1, last, first)
    return pd.DataFrame(np.column_stack([active, last, first]), columns=list(columns))


def columns_of(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """The columns as floats. Raises ValueError if one is missing or has a null."""
    if missing := [name for name in names if name not in table]:
        raise ValueError(f"a purchase process needs {', '.join(names)}; missing: {missing}")
    columns = tuple(table[name].to_numpy(float, na_value=np.nan) for name in names)
    if nulls := np.isnan(columns).any(axis=0).sum():
        raise ValueError(f"{nulls} of {len(table)} rows have no first purchase yet: {names}")
    return columns


def shapley_values(
    log_odds: Callable[[pd.DataFrame], np.ndarray], own: pd.DataFrame, usual: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray]:
    """What each number of a history adds to its log odds, against usual numbers; and what theirs
    are.

    Parameters
    ----------
    log_odds : of rows of `gold_columns`
    own : n x 3, those columns
    usual : 3 numbers, those of a history that can be

    Returns
    -------
    n x 3, and n log odds of the usual history: row by row they add up to the log odds. Source:
    Shapley 1953.
    """
    everybody, columns = range(len(own.columns)), list(own.columns)
    # The forecast for a history that has some of the row's own numbers, and else the usual ones
    forecast = {
        chosen: log_odds(
            possible(np.where(np.isin(everybody, chosen), own.to_numpy(float), usual), columns)
        )
        for size in range(len(columns) + 1)
        for chosen in combinations(everybody, size)
    }
    parts = pd.DataFrame(0.0, own.index, columns)
    for number, name in enumerate(columns):
        for chosen in forecast:
            if number not in chosen:
                share = 1 / (len(columns) * comb(len(columns) - 1, len(chosen)))
                with_it = tuple(sorted((*chosen, number)))
                parts[name] += share * (forecast[with_it] - forecast[chosen])
    return parts, forecast[()]


@dataclass(frozen=True, kw_only=True)
class DayProcess:
    """The process that is fitted to the histories of one day, as it forecasts that day.

    Parameters
    ----------
    process : fitted to everybody who ever bought
    source : the event source whose features give the histories, see `gold_columns`
    days, gap_days : length of the outcome window, and days between as_of and it
    usual : medians of the day's `gold_columns`
    """

    process: Process
    source: str
    days: float
    gap_days: float
    usual: tuple[float, ...]

    def log_odds(self, features: pd.DataFrame) -> np.ndarray:
        """Log odds of no purchase within the horizon, n floats; each depends on its row alone."""
        histories = gold_histories(features, self.source)
        return self.process.silence_log_odds(histories, self.days, self.gap_days)

    def contributions(self, features: pd.DataFrame) -> pd.DataFrame:
        """What each column that it reads adds to a row's log odds; n x 3."""
        own = features[list(gold_columns(self.source))].astype(float)
        return shapley_values(self.log_odds, own, np.array(self.usual))[0]
