"""The purchase processes of a question: of each day of a snapshot, and of a day without a model.

Each is fitted to everybody's dates up to the end of its day.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn import bound
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.question.labels import INACTIVITY, Question
from churn_orchestration.churn.sql import identifier
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.process.gold import DayProcess
    from churn_orchestration.churn.process.histories import Histories
    from churn_orchestration.churn.process.member import PurchaseProcess

REASON = "reason"
"""The key of a record that says why no process fits, and holds nothing else."""


def process_records(
    tables: Tables, question: Question, features: Callable[[dt.date], str], days: Iterable[dt.date]
) -> dict[str, dict[str, Any]]:
    """By day, the process that was fitted to the histories up to its end, or why none fits.

    Only of a question about silence; of any other, and where a feature is not declared that the
    histories are read from, there is none.

    Parameters
    ----------
    features : from a day to the SQL, in brackets, of everybody's feature rows on it
    """
    from churn_orchestration.churn.process.fitting import NoFit, fit

    if (names := _columns(question)) is None:
        return {}
    result = {}
    for day in days:
        process = fit(_histories(tables, question.entity, features(day), names))
        result[str(day)] = (
            {REASON: process.reason} if isinstance(process, NoFit) else process.record()
        )
    return result


def _columns(question: Question) -> tuple[str, str, str] | None:
    """The features that histories are read from; None: the question is not about silence, or they
    are not declared.
    """
    from churn_orchestration.churn.process.columns import gold_columns

    if question.kind != INACTIVITY or question.activity is None:
        return None
    names = gold_columns(question.activity.name)
    declared = {feature.name for feature in catalogue(question.features)}
    return names if declared.issuperset(names) else None


def process_of_day(tables: Tables, question: Question, rows: str) -> "DayProcess | None":
    """What forecasts a day before any model: a process that is fitted to that day's own histories.

    None: the histories cannot be read, see `_columns`, or no process fits. ``rows``: SQL, in
    brackets, of everybody's feature rows on the day.
    """
    import numpy as np

    from churn_orchestration.churn.process.fitting import NoFit, fit
    from churn_orchestration.churn.process.gold import DayProcess, possible

    if (names := _columns(question)) is None or question.activity is None:
        return None
    process = fit(_histories(tables, question.entity, rows, names))
    if isinstance(process, NoFit):
        return None
    medians = ", ".join(f"median({identifier(name)})::double" for name in names)
    [usual] = tables.rows(f"select {medians} from {rows} where {identifier(names[-1])} is not null")
    return DayProcess(
        process=process,
        source=question.activity.name,
        days=question.horizon.mean_days,
        gap_days=question.horizon.gap_days,
        usual=tuple(possible(np.array([usual], float), names).iloc[0]),
    )


def _histories(tables: Tables, entity: str, rows: str, names: tuple[str, str, str]) -> "Histories":
    """The distinct histories of the customers, or beyond MOST_HISTORIES of a part of them."""
    from churn_orchestration.churn.process.histories import Histories

    active, last, first = map(identifier, names)
    [(customers,)] = tables.rows(f"select count({first}) from {rows}")
    some = bound.some_entities(identifier(entity), customers, bound.MOST_HISTORIES)
    return Histories.of_table(
        tables.db.execute(
            f'select {active} - 1 as x, {first} - {last} as t_x, {first} as "T", count(*) as n '
            f"from {rows} where {first} is not null and {some} group by all order by all"
        ).df()
    )


def members(
    question: Question, records: Mapping[str, Mapping[str, Any]]
) -> dict["pd.Timestamp", "PurchaseProcess"]:
    """By day, the member of a blend; none where no process fits."""
    import pandas as pd

    return {
        pd.Timestamp(day): _member(question, record)
        for day, record in records.items()
        if REASON not in record
    }


def _member(question: Question, record: Mapping[str, Any]) -> "PurchaseProcess":
    from churn_orchestration.churn.process.member import PurchaseProcess

    horizon, activity = question.horizon, question.activity
    assert activity is not None
    return PurchaseProcess(horizon.mean_days, horizon.gap_days, activity.name, record)
