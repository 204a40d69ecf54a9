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
from churn_orchestration.storage.warehouse import Tables, literal, write_text

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.question.question import AskedQuestion

SAMPLED = 5_000  # rows of the day, and of the snapshot
SHOWN = 12  # features: each takes about 0.3 s and 60 kB


def draw(tables: Tables, asked: "AskedQuestion", day: dt.date, table: str) -> Path:
    """The page of a day, made where it is not there: of the features that are furthest off.

    ``table``: the one of drift, whose first features of a day tell most. The page is named after
    what it is drawn from, so the same day is drawn once, and anew where it is another.

    Raises
    ------
    BusinessError : nothing was compared on that day
    """
    judged = tables.day_file(table, day)
    rows = f"from {literal(judged)} limit {SHOWN}"
    found = tables.db.execute(rows).df().to_dict("records") if judged else []
    gold = tables.day_file(asked.gold, day)
    if not found or not gold:
        raise BusinessError(
            f"{asked.name}: nothing was compared on {day}: no model scored it, or nothing could be "
            "replayed"
        )
    version = found[0]["model_version"]
    name = f"{asked.name}_drift-{day}-{digest(gold.name, version, found)}.html"
    path = pages.folder(tables.state) / name
    if not path.exists():
        reference = Reference.of(tables, asked, version)
        people = f"({population(asked.question, f'(from {literal(gold)})', day)})"
        trained = literal(snapshot_file(tables, asked, reference.record))
        now, before = (_some(tables, asked, reference, rows) for rows in (people, trained))
        title = f"{asked.name}: drift on {day} from model {version}"
        # Evidently changes NumPy's own lists when it is imported: that is kept out of a run.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            write_text(path, apart.submit(page, title, found, now, before).result())
    return path


def _some(
    tables: Tables, asked: "AskedQuestion", reference: Reference, rows: str
) -> "pd.DataFrame":
    """The features of a sample of rows, and the forecast of each."""
    names = reference.record["features"]
    some = sample(tables, asked.question.entity, names, rows, SAMPLED)[names].astype(float)
    return some.assign(**{SCORE: reference.model.predict_proba(some)[:, 1]})
