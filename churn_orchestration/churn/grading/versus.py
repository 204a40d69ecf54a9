"""A candidate against the champion, on rows whose outcome neither has seen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm

from churn_orchestration.churn.grading import metrics
from churn_orchestration.churn.protocol import POWER_OF_AUC
from churn_orchestration.churn.question.settings import Economics


@dataclass(frozen=True)
class Versus:
    """A candidate against the champion on the same rows: paired differences, candidate minus
    champion.

    Parameters
    ----------
    log_loss, profit, auc : value, low, high, 95 % interval clustered by entity; profit in
        customers' values
    rows : how many; ``how`` says of what, in words
    controls : whether each forecast of known worth would be promoted: oracle, nobody, everybody
    """

    log_loss: dict[str, float]
    profit: dict[str, float]
    auc: dict[str, float]
    rows: int
    how: str
    controls: dict[str, bool]

    @classmethod
    def of(
        cls,
        label: pd.Series,
        candidate: ArrayLike,
        champion: ArrayLike,
        entity: pd.Series,
        how: str,
        economics: Economics,
    ) -> "Versus":
        """Compare two forecasts of the same rows, and with them three whose worth is known."""
        outcome = np.asarray(label, float)
        known = {
            "oracle": outcome,
            "nobody": np.zeros(len(outcome)),
            "everybody": np.ones(len(outcome)),
        }
        earned = metrics.profit(economics)

        def difference(forecast: ArrayLike, metric: "str | metrics.Metric") -> dict[str, float]:
            return metrics.paired_difference(label, forecast, champion, entity, metric)

        controls = {
            name: better_in(difference(forecast, "log_loss"), difference(forecast, earned))
            for name, forecast in known.items()
        }
        result = (
            difference(candidate, "log_loss"),
            difference(candidate, earned),
            difference(candidate, "auc"),
        )
        return cls(*result, len(outcome), how, controls)

    @property
    def better(self) -> bool:
        """Whether the candidate is better, chance ruled out."""
        return better_in(self.log_loss, self.profit)

    @property
    def power(self) -> float:
        """The probability that the interval of a candidate that is POWER_OF_AUC better would
        exclude 0.
        """
        spread = (self.auc["high"] - self.auc["low"]) / (2 * norm.ppf(0.975))
        return float(norm.cdf(POWER_OF_AUC / spread - norm.ppf(0.975))) if spread > 0 else 1.0

    def broken(self) -> str:
        """What is wrong with the comparison itself; empty: nothing."""
        if not self.controls["oracle"]:
            return "a forecast that knows every outcome does not win it"
        won = [name for name in ("nobody", "everybody") if self.controls[name]]
        return f"contacting {won[0]} wins it" if won else ""

    def evidence(self) -> dict[str, Any]:
        """As evidence for the ledger."""
        return asdict(self) | {"power_of_auc_0.02": self.power}


def better_in(log_loss: Mapping[str, float], profit: Mapping[str, float]) -> bool:
    """Better in log loss, chance ruled out, and not worse in profit, chance ruled out.

    A lead in profit alone is not enough: with two ways to win, equal models won twice as often.
    """
    return log_loss["high"] < 0 and not profit["high"] < 0
