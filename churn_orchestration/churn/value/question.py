"""A question of value: whose spend, of what, over which horizon; and the names of its answers."""

from dataclasses import dataclass, replace

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import EventSource, FeatureSet, Measure
from churn_orchestration.churn.process.columns import spend_columns
from churn_orchestration.churn.sql import identifier, identifiers

PURCHASES, PER_PURCHASE, SPEND = "expected_purchases", "spend_per_purchase", "expected_spend"
LOW, HIGH, LIFETIME = "low", "high", "lifetime_value"
METRICS = {
    "rmse": "root of the mean squared error, in the unit",
    "total_ratio": "all that was forecast over all that was spent; 1 is best",
    "spearman": "rank correlation of forecast and outcome",
    "top_decile_capture": "share of all that was spent that the tenth with the largest forecasts "
    "spent",
}
COVERAGE = "coverage"
"""The share of outcomes within their intervals."""
FORECASTER, OUTCOME = "forecaster", "spent"
SERVED, PROCESS, BLEND, LAST_PERIOD = "served", "process", "blend", "last_period"
TWEEDIE, TWO_PART = LEARNED = ("tweedie", "two_part")
FORECASTERS = {
    SERVED: "what scored",
    PROCESS: "the purchase process times the spend on a purchase",
    TWEEDIE: "a Tweedie regression on the logs of the features",
    TWO_PART: "whether anything is spent, times how much",
    LAST_PERIOD: "what was spent in as many days before",
    "mean_of_the_last": "the mean of that for all",
}


@dataclass(frozen=True)
class SpendQuestion:
    """What is forecast: the sum of a measure of an event source, of each entity, over a horizon.

    Parameters
    ----------
    observation_days : an entity is forecast if it has an event in so many days; None: ever
    share : of outcomes that an interval is to hold, 0..1
    features : that may be learned from
    currency : the column of the source that names the currency; None: there is one
    yearly_discount : by which a year makes money worth less, for the value of a whole future; None:
        that is not forecast
    """

    name: str
    entity: str
    activity: EventSource
    measure: Measure
    horizon: Horizon
    observation_days: int | None
    share: float
    features: FeatureSet
    currency: str | None = None
    yearly_discount: float | None = None

    @property
    def columns(self) -> list[str]:
        """The features that a forecast reads."""
        return list(spend_columns(self.activity.name, self.measure.name))

    @property
    def bare(self) -> FeatureSet:
        """As few features as hold those columns, for a day that has none stored."""
        source = replace(
            self.activity,
            measures=(self.measure,), categories=(), flags=(), ratios=(), thirds=False,
        )  # fmt: skip
        return FeatureSet(self.entity, (source,), (1,), ())

    def bought(self, rows: str) -> str:
        """SQL: the columns of everybody who has bought, of feature rows, in the entity's order."""
        named = identifiers([self.entity, *self.columns])
        bought = f"{identifier(self.columns[0])} > 0"
        return f"select {named} from {rows} where {bought} order by {identifier(self.entity)}"
