"""The rows of a source that one feature of one entity was counted from."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.features.seen import last_known, visible
from churn_orchestration.churn.sql import identifier, literal

_BEFORE = {"trend": 2, "velocity": 2, "acceleration": 3}
"""How many windows a feature compares, by a word of its name; any other one reads one."""
_WHOLE_LIFE = ("momentum",)


@dataclass(frozen=True)
class SourceRows:
    """A table and the days of it that a feature reads.

    Parameters
    ----------
    table : ``layer.table``
    first : the first day that is read; None: there is no first one
    sql : the rows of one entity, which is the parameter ``?``
    """

    table: str
    first: dt.date | None
    last: dt.date
    sql: str


def source_rows(
    declared: FeatureSet, about: Mapping[str, Any], as_of: dt.date
) -> SourceRows | None:
    """The rows that a feature reads at ``as_of``, as they were known at its end; None: of a select
    of the user's own, or of the day itself.

    ``about``: its row of the catalogue: feature, source and window

    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order")
    >>> about = {"feature": "orders_count_trend_30d", "source": "orders", "window": "30d"}
    >>> source_rows(FeatureSet("customer_id", (orders,)), about, dt.date(2024, 3, 31)).first
    datetime.date(2024, 2, 1)
    """
    for table in declared.inputs:
        if table.name != about["source"]:
            continue
        if isinstance(table, EventSource):
            rows, first = visible(table, as_of), _first(about, as_of)
        else:
            rows, first = last_known(table, as_of), None
        since = f" and day >= {literal(first)}" if first else ""
        sql = f"select * from ({rows}) where {identifier(table.entity)} = ?{since}"
        return SourceRows(table.table, first, as_of, sql)
    return None


def _first(about: Mapping[str, Any], as_of: dt.date) -> dt.date | None:
    days, words = str(about["window"]).removesuffix("d"), about["feature"].split("_")
    if not days.isdigit() or any(word in words for word in _WHOLE_LIFE):
        return None
    windows = max((times for word, times in _BEFORE.items() if word in words), default=1)
    return as_of - (int(days) * windows - 1) * DAY
