"""Every interval of the platform, and nothing else: as_of, windows, outcome, maturity, the as_of
grid.

All intervals are whole days and inclusive at both ends. docs/explanation/time.md has the words.
"""

import calendar
import datetime as dt
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import count, islice, takewhile
from typing import Final, Literal, TypeAlias

DAY = dt.timedelta(days=1)
DAYS_IN_MONTH = 365.2425 / 12  # the mean of the Gregorian calendar
ENOUGH_ROWS = 10_000  # of a snapshot, for small models: of few customers, more as_ofs
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Horizon:
    """How far a churn question looks ahead, in days or in calendar months.

    Parameters
    ----------
    horizon_days : length of the outcome window, > 0; 0: in months, or the outcome is known on as_of
        itself
    gap_days : days between as_of and the first day of the outcome window, >= 0
    settle_days : days that late rows get to arrive before a silence is called churn, >= 0
    horizon_months : length of the outcome window in calendar months, > 0; 0: in days. After the
        last day of a month it is whole months; after another day it ends on the same day of a later
        month, or on the last day of a shorter one

    Raises
    ------
    ValueError : a number is below its least, or the window has a length in days and one in months

    >>> Horizon(30, gap_days=-61)
    Traceback (most recent call last):
    ValueError: gap_days is -61: an outcome window lies after its as_of, so at least 0
    """

    horizon_days: int = 0
    gap_days: int = 0
    settle_days: int = 0
    horizon_months: int = field(default=0, metadata={"later": True})

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            if (length := getattr(self, name)) < 0:
                raise ValueError(
                    f"{name} is {length}: an outcome window lies after its as_of, so at least 0"
                )
        if self.horizon_days and self.horizon_months:
            raise ValueError(
                f"horizon_days is {self.horizon_days} and horizon_months is {self.horizon_months}: "
                "an outcome window has one length"
            )

    def outcome(self, as_of: dt.date) -> tuple[dt.date, dt.date]:
        """First and last day of the outcome window of ``as_of``.

        >>> Horizon(horizon_days=7).outcome(dt.date(2024, 1, 31))
        (datetime.date(2024, 2, 1), datetime.date(2024, 2, 7))
        """
        before = as_of + DAY * self.gap_days
        return before + DAY, months_later(before, self.horizon_months) + DAY * self.horizon_days

    def days(self, as_of: dt.date) -> int:
        """Length of the outcome window of ``as_of``, in days.

        >>> [Horizon(horizon_months=1).days(dt.date(2024, month, 15)) for month in (1, 2)]
        [31, 29]
        """
        first, last = self.outcome(as_of)
        return (last + DAY - first).days

    @property
    def mean_days(self) -> float:
        """Length of the outcome window in days, the mean over all as_ofs.

        >>> Horizon(90).mean_days, round(Horizon(horizon_months=1).mean_days, 2)
        (90.0, 30.44)
        """
        return self.horizon_days + self.horizon_months * DAYS_IN_MONTH

    def label_known_on(self, as_of: dt.date) -> dt.date:
        """The day at whose end the outcome of ``as_of`` is known.

        >>> Horizon(horizon_days=90).label_known_on(dt.date(2011, 9, 9))
        datetime.date(2011, 12, 8)
        """
        return self.outcome(as_of)[1] + DAY * self.settle_days

    def newest_as_of(self, cutoff: dt.date) -> dt.date:
        """The newest as_of whose label is known at the end of ``cutoff``.

        >>> str(Horizon(horizon_months=1).newest_as_of(dt.date(2023, 3, 31)))
        '2023-02-28'
        """
        ended = cutoff - DAY * (self.horizon_days + self.settle_days)
        before = months_later(ended, -self.horizon_months)
        if months_later(before, self.horizon_months) > ended:
            before -= DAY  # on 30 March: the month after 28 February, a last day, ends on 31 March
        return before - DAY * self.gap_days

    def falls_due(self, day: dt.date) -> list[dt.date]:
        """The as_ofs whose label becomes known on ``day``, oldest first: of months, none to four.

        >>> [[str(as_of) for as_of in Horizon(horizon_months=1).falls_due(dt.date(2023, *day))]
        ...     for day in ((2, 28), (3, 28))]
        [['2023-01-28', '2023-01-29', '2023-01-30', '2023-01-31'], []]
        """
        return list(days_between(self.newest_as_of(day - DAY) + DAY, self.newest_as_of(day)))

    @property
    def wait(self) -> tuple[int, int]:
        """The fewest and the most days from an as_of until its label is known.

        >>> Horizon(90, settle_days=2).wait, Horizon(horizon_months=3).wait
        ((92, 92), (89, 92))
        """
        # The months from one last day to another; four years hold a leap year.
        ends = (months_later(dt.date(2001, 1, 31), n) - DAY * self.gap_days for n in range(48))
        days = [(self.label_known_on(as_of) - as_of).days for as_of in ends]
        return min(days), max(days)

    @property
    def unit(self) -> Literal["days", "months"]:
        """What its length is given in."""
        return "months" if self.horizon_months else "days"

    @property
    def length(self) -> int:
        """How many of its unit it is long."""
        return self.horizon_months or self.horizon_days

    @property
    def words(self) -> str:
        """Its length with its unit: ``30 days`` or ``1 month``."""
        return f"{self.length} {self.unit.removesuffix('s') if self.length == 1 else self.unit}"


def month_ends(first: dt.date, last: dt.date) -> list[dt.date]:
    """The last days of months from one day to another, both included.

    >>> [str(day) for day in month_ends(dt.date(2024, 1, 31), dt.date(2024, 3, 30))]
    ['2024-01-31', '2024-02-29']
    """
    return [day for day in days_between(first, last) if (day + dt.timedelta(days=1)).day == 1]


def last_month_end(first: dt.date, day: dt.date, least: int = 28) -> dt.date | None:
    """The last month-end up to ``day``, with at least so many days from ``first``; None: there is
    none.

    >>> str(last_month_end(dt.date(2024, 1, 10), dt.date(2024, 3, 9), 28))
    '2024-02-29'
    >>> last_month_end(dt.date(2024, 1, 10), dt.date(2024, 2, 9), 28) is None
    True
    """
    return max(month_ends(first + DAY * (least - 1), day), default=None)


def months_back(day: dt.date, months: int) -> dt.date:
    """The same day of the month ``months`` earlier, >= 0, or the last day of a shorter month.

    >>> months_back(dt.date(2024, 3, 31), 1)
    datetime.date(2024, 2, 29)
    """
    if months < 0:
        raise ValueError(f"{months} months back: at least 0")
    return _in_month(day, -months)


def months_later(day: dt.date, months: int) -> dt.date:
    """The same day ``months`` later, or earlier below 0; the last day of a month stays a last day.

    >>> [str(months_later(dt.date(2023, 2, day), 1)) for day in (27, 28)]
    ['2023-03-27', '2023-03-31']
    """
    after = day + DAY
    return _in_month(after, months) - DAY if after.day == 1 else _in_month(day, months)


def _in_month(day: dt.date, months: int) -> dt.date:
    """The same day of another month, or the last day of a shorter one."""
    year, month0 = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month0 + 1, min(day.day, calendar.monthrange(year, month0 + 1)[1]))


MONTH: Final = "month"
Every: TypeAlias = Literal["month", "month_end"] | int
"""How as_ofs follow each other: by calendar months, as last days of months, or by so many days."""


def back_from(day: dt.date, every: Every) -> Iterator[dt.date]:
    """The as_ofs up to ``day``, the newest first, without end.

    >>> [str(day) for day in islice(back_from(dt.date(2024, 3, 30), "month_end"), 2)]
    ['2024-02-29', '2024-01-31']
    """
    if isinstance(every, int):
        if every < 1:
            raise ValueError(f"an as_of every {every} days: at least 1")
        return (day - DAY * (every * n) for n in count())
    if every == MONTH:
        return (months_back(day, n) for n in count())
    first_of_month = (day + DAY).replace(day=1)
    return (months_back(first_of_month, n) - DAY for n in count())


def as_of_grid(
    cutoff: dt.date,
    horizon: Horizon,
    first_day: dt.date,
    min_history_days: int,
    most: int,
    every: Every = MONTH,
) -> list[dt.date]:
    """The as_ofs of a training snapshot, oldest first: the newest matured one, and back from it.

    Parameters
    ----------
    cutoff : what is knowable at the end of this day
    horizon : of the question
    first_day : first day with data; an as_of needs ``min_history_days`` of data, > 0, its own day
        included
    most : the largest number of as_ofs, > 0
    every : how they follow each other

    Returns
    -------
    list of dates, oldest first; empty where no as_of has matured yet

    >>> as_of_grid(dt.date(2024, 6, 30), Horizon(90), dt.date(2024, 1, 1), 28, most=6)
    [datetime.date(2024, 2, 1), datetime.date(2024, 3, 1), datetime.date(2024, 4, 1)]
    """
    if min(min_history_days, most) < 1:
        raise ValueError(f"{most} as_ofs with {min_history_days} days of data: at least 1 of each")
    newest_first = back_from(horizon.newest_as_of(cutoff), every)
    oldest_allowed = first_day + DAY * (min_history_days - 1)
    return sorted(takewhile(lambda as_of: as_of >= oldest_allowed, islice(newest_first, most)))


def usual_as_ofs(horizon: Horizon, every: Every = MONTH) -> int:
    """How many as_ofs are enough of many customers: the newest has three whose outcome it knows.

    >>> [usual_as_ofs(Horizon(days)) for days in (30, 90, 180, 365)]
    [6, 6, 9, 16]
    >>> [usual_as_ofs(Horizon(horizon_months=months)) for months in (1, 3, 6, 12)]
    [6, 6, 9, 15]
    >>> usual_as_ofs(Horizon(90), every=7)
    16
    """
    return max(6, 3 + _steps(horizon, every))


def as_ofs_of(customers: int, horizon: Horizon, every: Every = MONTH) -> int:
    """How many as_ofs are trained on where nobody says: the usual number, or of few customers more.

    >>> [as_ofs_of(customers, Horizon(90)) for customers in (300, 1_000, 3_000)]
    [12, 10, 6]
    """
    most, usual = enough_as_ofs(horizon, every), usual_as_ofs(horizon, every)
    return min(most, max(usual, ENOUGH_ROWS // max(customers, 1)))


def enough_as_ofs(horizon: Horizon, every: Every = MONTH) -> int:
    """How many as_ofs let each of three test days learn from several others.

    >>> [enough_as_ofs(Horizon(days)) for days in (90, 180, 365)]
    [12, 12, 19]
    """
    return max(12, 6 + _steps(horizon, every))


def _steps(horizon: Horizon, every: Every) -> int:
    """From how many as_ofs ago the outcome is known."""
    if isinstance(every, int):
        return math.ceil(horizon.wait[1] / every)
    days = horizon.gap_days + horizon.horizon_days + horizon.settle_days
    return horizon.horizon_months + math.ceil(days / 30)


def purged(train: Iterable[dt.date], test: dt.date, horizon: Horizon) -> list[dt.date]:
    """The as_ofs that may train a model that is tested at ``test``: their labels are known by then.

    >>> purged([dt.date(2024, 1, 1), dt.date(2024, 2, 1)], dt.date(2024, 4, 1), Horizon(90))
    [datetime.date(2024, 1, 1)]
    """
    return sorted(as_of for as_of in train if horizon.label_known_on(as_of) <= test)


def days_between(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Every day from ``first`` to ``last``, both included."""
    for offset in range((last - first).days + 1):
        yield first + DAY * offset


@dataclass(frozen=True)
class ClosedDays:
    """Days on which nothing is expected to land: weekdays, single days and ranges.

    >>> closed = ClosedDays.parse(["saturday", "2010-12-24..2011-01-03"])
    >>> dt.date(2010, 12, 25) in closed, dt.date(2011, 1, 4) in closed
    (True, False)
    """

    weekdays: frozenset[int]
    ranges: tuple[tuple[dt.date, dt.date], ...]

    @classmethod
    def parse(cls, words: Iterable[str | dt.date]) -> "ClosedDays":
        """Read weekday names, ``YYYY-MM-DD`` and ``YYYY-MM-DD..YYYY-MM-DD``. Raises ValueError."""
        weekdays, ranges = set(), []
        for word in words:
            text = str(word).strip().lower()
            if text in WEEKDAYS:
                weekdays.add(WEEKDAYS.index(text))
                continue
            first, dots, last = text.partition("..")
            try:
                span = (
                    dt.date.fromisoformat(first),
                    dt.date.fromisoformat(last if dots else first),
                )
            except ValueError as error:
                raise ValueError(
                    f'"{word}" is no weekday ({", ".join(WEEKDAYS)}), no YYYY-MM-DD '
                    "and no YYYY-MM-DD..YYYY-MM-DD"
                ) from error
            if span[1] < span[0]:
                raise ValueError(f'"{word}" ends before it begins')
            ranges.append(span)
        return cls(frozenset(weekdays), tuple(ranges))

    def __contains__(self, day: dt.date) -> bool:
        return day.weekday() in self.weekdays or any(
            first <= day <= last for first, last in self.ranges
        )
