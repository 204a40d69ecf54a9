"""A change in what landed, and changes in words."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

ROWS = "rows"
"""What a change of the number of rows is a change of."""


@dataclass(frozen=True)
class Change:
    """One thing that changed.

    Parameters
    ----------
    column : whose values changed, or ROWS
    day : on which it showed
    since : the first of the days that show it
    factor : by which it changed; None where it is no matter of more or less
    says : in words, without a value of the data
    """

    column: str
    day: dt.date
    since: dt.date
    factor: float | None
    says: str


def sentence(result: Sequence[Change]) -> str:
    """Changes of one day in a sentence; columns that changed by one factor have one cause, named
    once.

    >>> day = dt.date(2024, 7, 1)
    >>> cents = [Change(column, day, day, 100.0, "x 100") for column in ("amount", "shipping")]
    >>> sentence([Change(ROWS, day, day, 0.5, "50 rows where about 100 are usual (x 0.5)"), *cents])
    '50 rows where about 100 are usual (x 0.5); amount, shipping: x 100 since 2024-07-01'
    """
    alike = list[list[Change]]()
    for change in result:
        same = [each for each in alike if _by_one_factor(each[0], change)]
        if same:
            same[0].append(change)
        else:
            alike.append([change])
    parts = []
    for each in alike:
        names = ", ".join(change.column for change in each)
        parts.append(each[0].says if names == ROWS else f"{names}: {each[0].says}")
    return f"{'; '.join(parts)} since {min(change.since for change in result)}"


def _by_one_factor(one: Change, other: Change) -> bool:
    if ROWS in (one.column, other.column) or not one.factor or not other.factor:
        return False
    return abs(log(one.factor / other.factor)) < log(1.1)
