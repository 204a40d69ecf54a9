"""A look back: train at a cut-off, score that day, grade on what matured since; by the assets'
functions.
"""

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn import protocol
from churn_orchestration.churn.calendar import month_ends
from churn_orchestration.churn.features.rings import features_at
from churn_orchestration.churn.question.labels import STATIC, labelled
from churn_orchestration.components.question.scoring.forecaster import Forecaster
from churn_orchestration.components.question.scoring.issued import is_issued
from churn_orchestration.components.question.scoring.scores import catalogue_words, score, write
from churn_orchestration.components.question.training import model as models
from churn_orchestration.components.question.training import snapshot as snapshots
from churn_orchestration.storage.door import publish
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.tracking import Tracking
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    from churn_orchestration.components.question.question import QuestionSettings


def backtest(
    tables: Tables,
    tracking: Tracking,
    business: Business,
    settings: "QuestionSettings",
    as_of: dt.date,
    log: Callable[[str], None] = models.LOG.info,
) -> dict[str, Any]:
    """Train at cut-off ``as_of``, score ``as_of``, grade on the data that came since.

    ``log`` is given the progress of a search. The scores are stored as predictions marked
    ``backtest``, unless there is a forecast of that day.

    Raises
    ------
    BusinessError : the question is static, the outcome of ``as_of`` is not known yet, or nothing
        can be trained or scored
    """
    from churn_orchestration.churn.grading import evaluation as evaluations

    question = settings.question
    if question.kind == STATIC:
        raise BusinessError(
            f"{settings.name}: a static question has no later outcome, so there is nothing to look "
            "back to; `churn train` grades it out of fold"
        )
    known_by = models.newest_day(tables, settings)
    matures = question.horizon.label_known_on(as_of)
    if matures > known_by:
        raise BusinessError(
            f"{settings.name}: the outcome of {as_of} is known on {matures}, and data reach "
            f"{known_by}: the latest day to look back to is "
            f"{question.horizon.newest_as_of(known_by)}"
        )
    snapshots.require_valid(tables, business, question, known_by)
    snapshots.build(tables, business, settings, as_of)
    record = models.train(
        tables, tracking, settings, as_of, known_by, protocol.BACKTEST, "churn backtest", log
    )
    features = f"({features_at(question.features, as_of)})"
    frame = tables.db.execute(labelled(question, features, as_of, known_by)).df()
    once = snapshots.distinct(settings, frame)
    if frame["label"].nunique() < 2:
        raise BusinessError(
            f"{settings.name}: the {len(frame)} customers of {as_of} all had the same outcome: no "
            "grade"
        )
    model = ModelFiles(tables.state, settings.name, record["model_version"]).model()
    by = Forecaster.of(tables, settings, record, model)
    stored = not is_issued(tables, settings, as_of)
    if stored:
        valued = settings.valued(tables, frame)
        write(
            tables,
            settings,
            as_of,
            score(settings, valued, catalogue_words(tables, settings), by),
            backtest=True,
        )
        publish(tables)
    forecasts = evaluations.scores(model, once, question, record["base_rate"])
    return {
        "question": settings.name, "as_of": str(as_of), "graded_on_data_until": str(known_by),
        "entities": len(once), "base_rate": float(once["label"].mean()),
        "model_version": record["model_version"], "trained_on": record["as_ofs"],
        "learner": record["learner"], "stored": stored,
        "report": evaluations.graded(once, forecasts, question.entity),
    }  # fmt: skip


def rolling(
    tables: Tables,
    tracking: Tracking,
    business: Business,
    settings: "QuestionSettings",
    since: dt.date,
    log: Callable[[str], None] = models.LOG.info,
) -> list[dict[str, Any]]:
    """Look back from every month-end since a day whose outcome is known; each as ``backtest``,
    oldest first.

    Of a month-end from which nothing could be trained: ``as_of`` and ``refused``, the reason.

    Raises
    ------
    BusinessError : the outcome of none of them is known
    """
    newest = settings.question.horizon.newest_as_of(models.newest_day(tables, settings))
    result = list[dict[str, Any]]()
    for as_of in month_ends(since, newest):
        log(f"{settings.name}: looking back from {as_of}")
        try:
            result.append(backtest(tables, tracking, business, settings, as_of, log))
        except BusinessError as error:
            result.append({"as_of": str(as_of), "refused": str(error)})
    if not result:
        raise BusinessError(
            f"{settings.name}: no month ends from {since} on whose outcome is known: outcomes are "
            f"known of days up to {newest}"
        )
    return result
