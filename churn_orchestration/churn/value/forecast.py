"""What each customer will spend in a horizon: how often they come again times what they spend then.

Both are fitted to the histories up to one day, so a forecast reads nothing of a later one and needs
no outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from churn_orchestration.churn.process.columns import gold_columns, spend_columns
from churn_orchestration.churn.process.fitting import NoFit, Process, fit
from churn_orchestration.churn.process.gold import gold_histories
from churn_orchestration.churn.process.spend import GammaGamma, discounted_purchases, fit_spend
from churn_orchestration.churn.value.question import LIFETIME, PER_PURCHASE, PURCHASES, SPEND


@dataclass(frozen=True)
class SpendForecast:
    """A purchase process and the spend on a purchase day, as they forecast a day.

    Parameters
    ----------
    source, measure : name the features that are read, see `spend_columns`
    days : length of the horizon
    gap_days : between as_of and the horizon
    yearly_discount : for the value of a whole future; None: that is not forecast
    """

    process: Process
    spend: GammaGamma
    source: str
    measure: str
    days: float
    gap_days: float = 0
    yearly_discount: float | None = None

    def of(self, features: pd.DataFrame) -> pd.DataFrame:
        """Of each row: mean purchase days in the horizon, mean spend on one, and their product;
        where a discount is given, what all purchases to come are worth today.

        ``features``: the `spend_columns`, of customers who have bought. Returns n finite rows,
        >= 0, in their order.
        """
        histories = gold_histories(features, self.source)
        purchases = self.process.expected_purchases(histories, self.gap_days + self.days)
        if self.gap_days:
            purchases = purchases - self.process.expected_purchases(histories, self.gap_days)
        per_purchase = self.spend.expected(*_means(features, self.source, self.measure))
        result = {
            PURCHASES: purchases,
            PER_PURCHASE: per_purchase,
            SPEND: purchases * per_purchase,
        }
        if self.yearly_discount is not None:
            future = discounted_purchases(self.process, histories, self.yearly_discount)
            result[LIFETIME] = future * per_purchase
        return pd.DataFrame(result, index=features.index)

    def record(self) -> dict[str, Any]:
        """What a file keeps of it, read again by `of_record`."""
        return {
            "process": self.process.record(), "spend": self.spend.record(), "source": self.source,
            "measure": self.measure, "days": self.days, "gap_days": self.gap_days,
        }  # fmt: skip

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The forecast of a `record`."""
        return cls(
            Process.of_record(record["process"]), GammaGamma.of_record(record["spend"]),
            record["source"], record["measure"], record["days"], record["gap_days"],
        )  # fmt: skip


def fit_forecast(
    features: pd.DataFrame, source: str, measure: str, days: float, gap_days: float = 0
) -> SpendForecast | NoFit:
    """Fit both to the histories of a day; or why one does not fit.

    ``features``: the `spend_columns` of everybody who has bought by its end
    """
    process = fit(gold_histories(features, source))
    if isinstance(process, NoFit):
        return process
    spend = fit_spend(*_means(features, source, measure))
    if isinstance(spend, NoFit):
        return spend
    return SpendForecast(process, spend, source, measure, days, gap_days)


def _means(features: pd.DataFrame, source: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Purchase days of each row, and the mean spend on them."""
    bought = features[gold_columns(source)[0]].to_numpy(float, na_value=np.nan)
    spent = features[spend_columns(source, measure)[-1]].to_numpy(float, na_value=np.nan)
    return bought, spent / bought
