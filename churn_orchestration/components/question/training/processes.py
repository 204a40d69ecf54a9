"""The purchase process of each as_of of a snapshot, fitted to everybody's dates up to its end."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.question.labels import INACTIVITY, Question
from churn_orchestration.churn.sql import identifier
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

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
    from churn_orchestration.churn.process.member import gold_columns

    if question.kind != INACTIVITY or question.activity is None:
        return {}
    names = gold_columns(question.activity.name)
    if not set(names) <= {feature.name for feature in catalogue(question.features)}:
        return {}
    result = {}
    for day in days:
        process = fit(_histories(tables, features(day), names))
        result[str(day)] = (
            {REASON: process.reason} if isinstance(process, NoFit) else (process.record())
        )
    return result


def _histories(tables: Tables, rows: str, names: tuple[str, str, str]) -> Any:
    from churn_orchestration.churn.process.histories import Histories

    active, last, first = map(identifier, names)
    return Histories.of_table(
        tables.db.execute(
            f'select {active} - 1 as x, {first} - {last} as t_x, {first} as "T", count(*) as n '
            f"from {rows} where {first} is not null group by all order by all"
        ).df()
    )


def members(
    question: Question, records: Mapping[str, Mapping[str, Any]]
) -> dict["pd.Timestamp", "PurchaseProcess"]:
    """By day, the member of a blend; none where no process fits."""
    import pandas as pd

    from churn_orchestration.churn.process.member import PurchaseProcess

    return {
        pd.Timestamp(day): PurchaseProcess(
            question.horizon.mean_days, question.horizon.gap_days, question.activity.name, record
        )
        for day, record in records.items()
        if question.activity and REASON not in record
    }
