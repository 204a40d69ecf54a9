"""The sufficient statistics of purchase processes: repeat purchase days, recency and age, counted.

Of each customer x, the days with a purchase after the first one; t_x, days from the first purchase
to the last; and T (``age``), days from the first purchase to as_of.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from churn_orchestration.churn.sql import identifier, literal

COLUMNS = ("x", "t_x", "T")
MOST_CELLS = 200_000
"""A fit looks at so many distinct histories at most, see `Histories.binned`."""
NARROWEST = 1 / 128
"""The first width of a cell that is tried."""


def histories_sql(activity: str, entity: str, as_of: dt.date) -> str:
    """A select of one row per entity that was active by ``as_of``: the entity, x, t_x, T.

    Parameters
    ----------
    activity : a table, or a select in brackets, with the columns ``entity`` and ``day``; rows of
        the same entity and day count once. It holds only what was known at as_of
    """
    on, key = literal(as_of), identifier(entity)
    return (
        f"select {key}, count(distinct day) - 1 as x, max(day) - min(day) as t_x, "
        f'{on} - min(day) as "T" from {activity} where day <= {on} group by {key}'
    )


def counted_sql(activity: str, entity: str, as_of: dt.date) -> str:
    """A select of one row per distinct history, x, t_x, T, with n, its number of entities.

    See `histories_sql` for the parameters. Its rows are ordered and are what `Histories.of_table`
    reads.
    """
    names = 'x, t_x, "T"'
    each = histories_sql(activity, entity, as_of)
    return f"select {names}, count(*) as n from ({each}) group by {names} order by {names}"


@dataclass(frozen=True)
class Histories:
    """Purchase histories, each with the number of customers that have it; four arrays of floats.

    Parameters
    ----------
    x : repeat purchase days, >= 0
    t_x : days from the first purchase to the last, > 0 where x is, else 0
    age : days from the first purchase to as_of, >= t_x
    n : customers, > 0

    Raises
    ------
    ValueError : lengths differ, or a history cannot be
    """

    x: np.ndarray
    t_x: np.ndarray
    age: np.ndarray
    n: np.ndarray

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(value, float) for name, value in vars(self).items()}
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        if len({array.shape for array in arrays.values()}) > 1 or self.x.ndim != 1:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"want four arrays of one length, got shapes {shapes}")
        for what, possible in {
            "a number that is null or infinite": np.isfinite(sum(arrays.values())),
            "x < 0": self.x >= 0,
            "t_x < 0, or t_x > T": (self.t_x >= 0) & (self.t_x <= self.age),
            "x > 0 and t_x = 0, or x = 0 and t_x > 0": (self.x > 0) == (self.t_x > 0),
            "n <= 0": self.n > 0,
        }.items():
            if not possible.all():
                at = int(np.argmin(possible))
                row = ", ".join(f"{name} = {array[at]:g}" for name, array in arrays.items())
                raise ValueError(
                    f"{(~possible).sum()} histories have {what}, such as number {at}: {row}"
                )

    @classmethod
    def of(cls, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> Self:
        """One history a customer, in their order."""
        return cls(x, t_x, age, np.ones(len(x)))

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> Self:
        """Of a table with the columns x, t_x, T, and n if a row is more than one customer."""
        x, t_x, age = (table[name].to_numpy(float) for name in COLUMNS)
        n = table["n"].to_numpy(float) if "n" in table else np.ones(len(table))
        return cls(x, t_x, age, n)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def customers(self) -> float:
        """How many there are."""
        return float(self.n.sum())

    def distinct(self) -> "tuple[Histories, np.ndarray]":
        """The distinct histories, each with an n of 1, and which of them each of these is.

        >>> both, which = Histories.of(np.array([0, 2, 0]), np.array([0, 5, 0]),
        ...                            np.array([9, 7, 9])).distinct()
        >>> both.x, which
        (array([0., 2.]), array([0, 1, 0]))
        """
        table = pd.DataFrame({"x": self.x, "t_x": self.t_x, "T": self.age})
        which = table.groupby(list(COLUMNS), sort=False).ngroup().to_numpy()
        first = np.unique(which, return_index=True)[1]
        return Histories.of(self.x[first], self.t_x[first], self.age[first]), which

    def grouped(self) -> "Histories":
        """The distinct histories, sorted, with the customers of each; the likelihood is the same.

        >>> Histories.of(np.array([0, 2, 0]), np.array([0, 5, 0]), np.array([9, 7, 9])).grouped().n
        array([2., 1.])
        """
        table = pd.DataFrame({"x": self.x, "t_x": self.t_x, "T": self.age, "n": self.n})
        return Histories.of_table(table.groupby(list(COLUMNS), as_index=False)["n"].sum())

    def binned(self, most: int = MOST_CELLS) -> "Histories":
        """At most ``most`` histories: the distinct ones, or the means of cells of similar ones.

        A cell is narrow where the likelihood bends: it is as wide in 2 sqrt(x), in the logs of T
        and t_x times sqrt(1 + x), and in the log of the silence in usual gaps. Means leave the
        likelihood's first order as it is, so a cell errs by its width squared;
        docs/adr/0035-purchase-process.md measures it.
        """
        exact = self.grouped()
        if len(exact) <= most:
            return exact
        x, age, silence = exact.x, exact.age, exact.age - exact.t_x
        gaps = np.where(x > 0, silence * (x + 1) / np.maximum(age, 1e-300), 0)
        root = np.sqrt(1 + x)
        times = (root * np.log1p(age), root * np.log1p(exact.t_x), np.log1p(gaps))
        bends = (2 * np.sqrt(x), *times)
        width = NARROWEST
        while True:
            cell = pd.DataFrame(np.floor(np.stack(bends, axis=1) / width))
            number = cell.groupby(list(cell)).ngroup().to_numpy()
            if number.max() < most:
                break
            width *= 1.25
        n = np.bincount(number, exact.n)

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(number, exact.n * values) / n

        t_x, age = mean(exact.t_x), mean(age)
        return Histories(mean(x), np.minimum(t_x, age), age, n)

    def in_units_of(self, days: float) -> "Histories":
        """The same with times in units of so many days."""
        return Histories(self.x, self.t_x / days, self.age / days, self.n)

    def blocks(self, rows: int) -> "list[Histories]":
        """The same in parts of so many rows, in order; at least one, which may be empty."""
        parts = [slice(start, start + rows) for start in range(0, max(len(self), 1), rows)]
        return [Histories(self.x[p], self.t_x[p], self.age[p], self.n[p]) for p in parts]
