"""Small questions, without a business."""

import datetime as dt
from dataclasses import replace

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.question.labels import Label, Question
from churn_orchestration.components.features.proof import pipeline_of
from churn_orchestration.components.question.question import QuestionSettings

ORDERS = EventSource("orders", "silver.orders", "customer_id", "order", ("order_id",))
ENDS = EventSource("end", "silver.ends", "customer_id", "cancellation", ("order_id",))
FEATURES = FeatureSet("customer_id", (ORDERS,), (7,), (7,))
SILENT = Question("q", "inactivity", FEATURES, ORDERS, Horizon(5))
CANCELS = Question("q", "event", FEATURES, ORDERS, Horizon(5), terminal=ENDS)
LABEL = Label("bronze.customers", "customer_id", "churned = 'Yes'")
QUESTION = Question("q", "inactivity", FeatureSet("customer_id", (ORDERS,)), ORDERS, Horizon(30))
STATIC = replace(QUESTION, kind="static", activity=None, horizon=Horizon(0), label=LABEL)


def asking(question: Question) -> QuestionSettings:
    """The question as a component of a business asks it."""
    return QuestionSettings(
        question, "gold.f", 3, 28, "logistic", 1, (0.3, 0.5, 0.7), False, "v",
        pipeline=pipeline_of(question.features, dt.date(2024, 1, 1), (), {}),
    )  # fmt: skip
