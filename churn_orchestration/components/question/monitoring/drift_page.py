"""The drift of a day as a page for a person who looks: Evidently draws it on samples, and decides
nothing.
"""

import datetime as dt
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from churn_orchestration.business import BusinessError, digest
from churn_orchestration.churn.question.labels import population
from churn_orchestration.components.question.monitoring.reference import (
    SCORE,
    Reference,
    sample,
    snapshot_file,
)
from churn_orchestration.pictures import pages
from churn_orchestration.pictures.evidently_page import page
from churn_orchestration.storage.files import write_text
from churn_orchestration.storage.warehouse import Tables, literal

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.question.question import QuestionSettings

SAMPLED = 5_000  # rows of the day, and of the snapshot
SHOWN = 12  # features: each takes about 0.3 s and 60 kB


def draw(tables: Tables, settings: "QuestionSettings", day: dt.date, table: str) -> Path:
    """The page of a day, made where it is not there: of the features that are furthest off.

    ``table``: the one of drift, whose first features of a day matter most. The page is named after
    what it is drawn from, so the same day is drawn once, and again where it is another.

    Raises
    ------
    BusinessError : nothing was compared on that day
    """
    judged = tables.day_file(table, day)
    rows = f"from {literal(judged)} limit {SHOWN}"
    result = tables.db.execute(rows).df().to_dict("records") if judged else []
    gold = tables.day_file(settings.gold, day)
    if not result or not gold:
        raise BusinessError(
            f"{settings.name}: nothing was compared on {day}: no model scored it, or nothing could "
            "be replayed"
        )
    version = result[0]["model_version"]
    name = f"{settings.name}_drift-{day}-{digest(gold.name, version, result)}.html"
    path = pages.folder(tables.state) / name
    if not path.exists():
        reference = Reference.of(tables, settings, version)
        people = f"({population(settings.question, f'(from {literal(gold)})', day)})"
        trained = literal(snapshot_file(tables, settings, reference.record))
        now, before = (_some(tables, settings, reference, rows) for rows in (people, trained))
        title = f"{settings.name}: drift on {day} from model {version}"
        # Evidently changes NumPy's own lists when it is imported: that is kept out of a run.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            write_text(path, apart.submit(page, title, result, now, before).result())
    return path


def _some(
    tables: Tables, settings: "QuestionSettings", reference: Reference, rows: str
) -> "pd.DataFrame":
    """The features of a sample of rows, and the forecast of each."""
    names = reference.record["features"]
    some = sample(tables, settings.question.entity, names, rows, SAMPLED)[names].astype(float)
    return some.assign(**{SCORE: reference.model.predict_proba(some)[:, 1]})
