"""The rows of a source that one feature of one entity was counted from."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import EventSource, FeatureSet
from churn_orchestration.churn.features.seen import last_known, visible
from churn_orchestration.churn.sql import identifier, literal

_BEFORE = {"trend": 2, "velocity": 2}
"""How many windows the features of a family compare; those of any other one read one."""
_ACCELERATION = 3
_WHOLE_LIFE = ("momentum", "change")  # a change is from a day that may lie before the window
_AMONG_PEERS = ("cohort", "rfm")


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
    of the user's own, of the day itself, or among peers.

    ``about``: its row of the catalogue: feature, source, family and window

    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order")
    >>> about = {"feature": "orders_count_trend_30d", "source": "orders", "family": "trend"}
    >>> about |= {"window": "30d"}
    >>> source_rows(FeatureSet("customer_id", (orders,)), about, dt.date(2024, 3, 31)).first
    datetime.date(2024, 2, 1)
    """
    for table in declared.inputs:
        if table.name != about["source"] or about["family"] in _AMONG_PEERS:
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
    window, family = str(about["window"]), about["family"]
    days = window.removesuffix("d")
    if not days.isdigit() or family in _WHOLE_LIFE:
        return None
    windows = _BEFORE.get(family, 1)
    if family == "velocity" and about["feature"].endswith(f"_acceleration_{window}"):
        windows = _ACCELERATION
    return as_of - (int(days) * windows - 1) * DAY
