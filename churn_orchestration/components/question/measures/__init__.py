"""The business measures of a question: what its forecasts mean for those who run the business."""

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.components.question.measures.at_risk import AtRisk
from churn_orchestration.components.question.measures.churn_rate import ChurnRate
from churn_orchestration.components.question.measures.measure import Measure
from churn_orchestration.components.question.measures.movers import Movers
from churn_orchestration.components.question.measures.retention import Retention
from churn_orchestration.components.question.question import AskedQuestion


def measure_assets(business: Business, asked: AskedQuestion) -> list[dg.AssetsDefinition]:
    """The assets measures/<question>_*; without a later outcome, or an activity, those that need
    none.
    """
    kinds: list[type[Measure]] = [AtRisk, Movers]
    if asked.question.kind != STATIC:
        kinds.append(ChurnRate)
    if asked.question.activity:
        kinds.append(Retention)
    return [kind(business, asked).asset() for kind in kinds]
