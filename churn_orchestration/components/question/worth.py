"""A component whose forecasts say what a customer is worth, as a churn question sees it."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Spend:
    """What customers are expected to spend, which is what they are worth.

    Parameters
    ----------
    table : of the forecasts, ``values.x``
    unit : of its amounts
    version : what the forecasts depend on
    of : of feature rows of any as_ofs, in their order, what was forecast on each as_of by what was
        known then; null of whom nothing is
    """

    table: str
    unit: str
    version: str
    of: "Callable[[Tables, pd.DataFrame], pd.Series]" = field(repr=False, compare=False)


class ForecastsSpend(dg.Component):
    """A component that forecasts the spend of the customers of a feature table."""

    if TYPE_CHECKING:  # fields of what inherits it, which has them in an order of its own
        name: str
        features: str

    @abstractmethod
    def spend(self, tree: dg.ComponentTree, business: Business) -> Spend:
        """What it forecasts. Raises BusinessError: it cannot."""
