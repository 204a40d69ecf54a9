"""Columns that are recorded from a day on, or until one: their features are null beyond these days.

What a source did not record is no 0 and no silence.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import (
    AttributeTable,
    Category,
    Date,
    EventSource,
    FeatureSet,
    Flag,
    Measure,
)
from churn_orchestration.churn.features.feature import Feature
from churn_orchestration.churn.sql import literal

PART = re.compile(r'_([sau])(\d+)\."?(\w+)')
"""A column of a merged row in the SQL of a feature, see ``rings``."""
_WINDOW = re.compile(r"_(\d+)$")
_CHANGE, _AGAIN = re.compile(r"_change_(last|min|max)_\w+"), re.compile(r"_again_(\d+|all)")
"""What follows a measure's name in its changes, and a category's in its values of two days."""


_Column: TypeAlias = Measure | Category | Flag | Date


def read_by(table: EventSource | AttributeTable, part: str) -> _Column | None:
    """What a part of a merged row is made of; None of the rhythm of the events.

    >>> orders = EventSource("orders", "silver.orders", "customer_id", "order",
    ...                      measures=(Measure("fee", "fee_usd"), Measure("fee_net", "net_usd")))
    >>> read_by(orders, "fee_net_sum_30").column, read_by(orders, "events_30")
    ('net_usd', None)
    """
    if isinstance(table, EventSource):
        all_columns: tuple[_Column, ...] = (*table.measures, *table.categories, *table.flags)
        named = {column.name: column for column in all_columns}
        # What is merged of a column may begin as another column's name does.
        for name, own in named.items():
            rest = part.removeprefix(name)
            if isinstance(own, Measure) and own.change and _CHANGE.fullmatch(rest):
                return own
            if isinstance(own, Category) and own.repeated and _AGAIN.fullmatch(rest):
                return own
        fitting = [name for name in named if part.startswith(f"{name}_")]
        return named[max(fitting, key=len)] if fitting else None
    kind, number = part[1], int(re.findall(r"\d+", part)[0])
    columns: dict[str, Sequence[_Column]] = {
        "m": table.measures, "c": table.categories, "f": table.flags, "d": table.dates,
    }  # fmt: skip
    return columns[kind][number]


def where_recorded(declared: FeatureSet, feature: Feature) -> Feature:
    """A feature that is null where it reads days on which one of its columns is not recorded.

    A window lies wholly within the days of the column; of all time, the life so far of an entity
    does, from its first event on.
    """
    limits = [limit for limit in _limits(declared, feature) if limit.column.is_limited]
    if not limits:
        return feature
    conditions = dict.fromkeys(sql for limit in limits for sql in limit.conditions)
    nulls = dict.fromkeys(words for limit in limits for words in limit.nulls)
    names = dict.fromkeys(limit.column.name for limit in limits)
    absent = f"{' and '.join(names)} not recorded".replace("_", " ")
    known = [] if feature.null_means == "never null" else [feature.null_means]
    return replace(
        feature,
        sql=f"case when {' and '.join(conditions)} then {feature.sql} end",
        null_means=", or ".join([*known, *nulls]),
        null_phrase=f"{feature.null_phrase}, or {absent}" if feature.null_phrase else absent,
        recorded_from=max((limit.first for limit in limits if limit.first), default=None),
    )


@dataclass(frozen=True)
class _Limit:
    """A column that a feature reads.

    Parameters
    ----------
    row : of the merged ones, as ``_s0``
    noun : what an event of it is called; of an attribute, empty
    days : the window over which it is read; None of all time, and of an attribute
    """

    column: Measure | Category
    row: str
    noun: str
    days: int | None

    @property
    def first(self) -> dt.date | None:
        """The first as_of that may have a value."""
        begun = self.column.available_from
        return begun + DAY * ((self.days or 1) - 1) if begun else None

    @property
    def of_the_life(self) -> bool:
        return bool(self.noun) and self.days is None

    @property
    def conditions(self) -> Iterator[str]:
        if self.first:
            begins = "$as_of"
            if self.of_the_life:
                begins += f" - cast(coalesce({self.row}._oldest, 0) as integer)"
            yield f"{begins} >= {literal(self.first)}"
        if self.column.retired_on:
            yield f"$as_of < {literal(self.column.retired_on)}"

    @property
    def nulls(self) -> Iterator[str]:
        if self.first:
            begins = f"as_of or the first {self.noun}" if self.of_the_life else "as_of"
            yield f"{begins} lies before {self.first}"
        if self.column.retired_on:
            yield f"as_of is {self.column.retired_on} or later"


def _limits(declared: FeatureSet, feature: Feature) -> Iterator[_Limit]:
    """The measures and categories that a feature reads."""
    tables: dict[str, Sequence[EventSource | AttributeTable]] = {
        "s": declared.sources, "a": declared.attributes,
    }  # fmt: skip
    for kind, number, part in PART.findall(feature.sql):
        table = tables[kind][int(number)]
        column = read_by(table, part)
        if isinstance(column, (Measure, Category)):
            is_event = isinstance(table, EventSource)
            window = _WINDOW.search(part) if is_event else None
            noun = table.noun if is_event else ""
            yield _Limit(column, f"_{kind}{number}", noun, int(window[1]) if window else None)
