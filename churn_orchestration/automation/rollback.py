"""The job that puts what was in force before a champion in force again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from churn_orchestration.components.question.training import promotion
from churn_orchestration.components.question.training.model import newest_day
from churn_orchestration.components.question.training.trigger import trigger_of
from churn_orchestration.storage import ledger
from churn_orchestration.storage.layers import POOL
from churn_orchestration.storage.resources import Warehouse
from churn_orchestration.storage.tracking import Tracking

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings

ROLL_BACK, UNDO = "roll_back", "undo"


class Undoing(dg.Config):
    """Which champion is rolled back, to what and why; nothing is done where it is champion no
    more.
    """

    question: str
    version: str
    to: str
    reason: str


def roll_back_job(questions: Mapping[str, "QuestionSettings"]) -> dg.JobDefinition:
    """The job ``roll_back``, over all questions of a business."""

    @dg.op(name=UNDO, pool=POOL)
    def undo(
        context: dg.OpExecutionContext, config: Undoing, warehouse: Warehouse, tracking: Tracking
    ) -> None:
        settings = questions[config.question]
        with warehouse.open() as tables:
            day = newest_day(tables, settings)
            champion = ledger.champion(tables.state, settings.name, day, settings.question.meaning)
            if champion is None or champion["model_version"] != config.version:
                context.log.info(f"{settings.name}: {config.version} is champion no more")
                return
            trigger, asked_by = trigger_of(context.run.tags)
            promotion.roll_back(
                tables, tracking, settings, config.to, day, config.reason, asked_by, trigger
            )
            context.log.info(
                f"{settings.name}: {config.to} is in force from {day} on: {config.reason}"
            )

    @dg.job(
        name=ROLL_BACK,
        description="Put what was in force before a champion in force again; the ledger says why.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        undo()

    return job
