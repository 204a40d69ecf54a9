"""The business measures of a question: what its forecasts mean for those who run the business."""

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.components.question.measures.at_risk import AtRisk
from churn_orchestration.components.question.measures.churn_rate import ChurnRate
from churn_orchestration.components.question.measures.measure import Measure
from churn_orchestration.components.question.measures.movers import Movers
from churn_orchestration.components.question.measures.retention import Retention
from churn_orchestration.components.question.question import QuestionSettings


def measure_assets(business: Business, settings: QuestionSettings) -> list[dg.AssetsDefinition]:
    """The assets measures/<question>_*; without a later outcome, or an activity, those that need
    none.
    """
    kinds: list[type[Measure]] = [AtRisk, Movers]
    if settings.question.kind != STATIC:
        kinds.append(ChurnRate)
    if settings.question.activity:
        kinds.append(Retention)
    return [kind(business, settings).asset() for kind in kinds]
