"""What lands on a day, in counts: of rows, and of each column. SQL makes them; nothing here judges
them.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FEW, MOST = 30, 1_000
"""A column of at most so many values in the weeks of a day is a category; more are not counted at
all.
"""
AGAIN_DAYS = 28
"""A value comes again where it landed on one of so many days before."""
LOGS = 10_000
"""Logarithms are kept as integers of this fraction: sums of floats differ from run to run."""
CELLS = "_cells"
"""The temporary table of one column: ``day``, ``value``, ``rows``, ``again``."""
NUMBERS = ("rows", "empty", "again", "most", "zero", "negative", "sized", "log", "square")
"""What is counted of a column by day; ``most``: rows of its most frequent value; ``sized``: rows
whose value is neither null nor 0; ``log`` and ``square``: sums of the logarithm of their absolute
value, and its square.
"""


@dataclass(frozen=True)
class Column:
    """One column, day by day: ``counts`` by name, see NUMBERS; ``values``: rows of each value by
    day.
    """

    counts: Mapping[str, np.ndarray]
    values: np.ndarray


@dataclass(frozen=True)
class Profile:
    """What landed from ``first`` on, day by day.

    ``repeated``: what distinguishes one row from another, as columns: its key, and all else that it
    holds.
    """

    first: dt.date
    rows: np.ndarray
    columns: Mapping[str, Column]
    repeated: tuple[Column, ...] = ()

    def day(self, number: int) -> dt.date:
        """The day of a place."""
        return self.first + dt.timedelta(days=number)

    def place(self, day: dt.date) -> int:
        """The place of a day."""
        return (day - self.first).days


def cells(table: str, value: str, first: dt.date, last: dt.date) -> str:
    """SQL: the values of an expression by the day on which they landed, and whether they came
    before.

    >>> print(cells("bronze.orders", '"amount"', dt.date(2024, 1, 1), dt.date(2024, 3, 1)))
    select *, coalesce(day - lag(day) over (partition by value order by day) <= 28, false) as again
    from (select known_on as day, "amount" as value, count(*) as rows from bronze.orders
      where known_on between date '2024-01-01' and date '2024-03-01' group by all)
    """
    before = "lag(day) over (partition by value order by day)"
    return f"""select *, coalesce(day - {before} <= {AGAIN_DAYS}, false) as again
from (select known_on as day, {value} as value, count(*) as rows from {table}
  where known_on between date '{first}' and date '{last}' group by all)"""


def counted(*, number: bool) -> str:
    """SQL: ``day`` and NUMBERS of the table CELLS; of what is no ``number``, the sizes are 0."""
    log = f"round(ln(nullif(abs(value::double), 0)) * {LOGS})::hugeint" if number else "0"
    sizes = {
        "zero": ("rows", "value = 0"),
        "negative": ("rows", "value < 0"),
        "sized": ("rows", "value <> 0"),
        "log": (f"rows * {log}", "value <> 0"),
        "square": (f"rows * {log} * {log}", "value <> 0"),
    }
    sums = {
        "rows": ("rows", "true"),
        "empty": ("rows", "value is null"),
        "again": ("rows", "again and value is not null"),
        **(sizes if number else dict.fromkeys(sizes, ("0", "true"))),
    }
    each = [
        f"coalesce(sum({what}) filter ({which}), 0)::double as {name}"
        for name, (what, which) in sums.items()
    ]
    most = "coalesce(max(rows) filter (value is not null), 0)::double as most"
    return f"select day, {', '.join([*each, most])} from {CELLS} group by day"


VALUES = (
    "select day, dense_rank() over (order by value) - 1 as place, rows::double as rows from "
    f"{CELLS} where value is not null and (select count(distinct value) from {CELLS}) <= {MOST}"
)
"""SQL: day, place and rows of each value of the table CELLS, where it is not one of too many."""
