"""What a feature table declares: event sources, attribute tables, measures, categories, flags,
windows.
"""

import datetime as dt
from dataclasses import dataclass, field

from churn_orchestration.churn.rows.known_rows import known_rows, of_day
from churn_orchestration.churn.sql import identifier, identifiers

ALL = "all"
CLOCKS = ("day", "known_on", "_partition")
"""The columns by which a row of what landed is known."""


class _Recorded:
    """A column, which may be recorded from a day on, or until one."""

    available_from: dt.date | None
    retired_on: dt.date | None

    @property
    def is_limited(self) -> bool:
        """Whether there are days on which it is not recorded."""
        return bool(self.available_from or self.retired_on)


class _Shared:
    """What is counted as a share of the events of a window."""

    name: str
    share_windows: tuple[int, ...] | None

    def is_shared(self, window: str) -> bool:
        """Whether shares are taken over a window, days as text or ``all``."""
        return self.share_windows is None or window in map(str, self.share_windows)


@dataclass(frozen=True)
class Measure(_Recorded):
    """A number of a row.

    Parameters
    ----------
    unit : of the column
    decimals : how many are kept, exactly
    slope : whether its change from the first active day to the last is a feature
    answered : whether the number of events that have it is a feature, and their share of all
    change : ``sum`` or ``mean``, what a day comes to, where the changes from one day that has it to
        the next are features
    available_from, retired_on : the first day on which it is recorded; the first on which it no
        longer is
    """

    name: str
    column: str
    unit: str = ""
    decimals: int = 4
    slope: bool = False
    available_from: dt.date | None = field(default=None, metadata={"later": True})
    retired_on: dt.date | None = field(default=None, metadata={"later": True})
    answered: bool = field(default=False, metadata={"later": True})
    change: str | None = field(default=None, metadata={"later": True})


@dataclass(frozen=True)
class Ratio:
    """The sum of one measure over the sum of another, in every window: names of measures of the
    source.
    """

    name: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Category(_Shared, _Recorded):
    """A category of a row. Each of ``values`` is a feature: its share of the events, or whether it
    holds.

    Parameters
    ----------
    closed : ``values`` are all there are, at most 62: a mask of bits then counts the distinct ones,
        which is quicker; what is none of them counts as one value more
    share_windows : the windows over which shares are taken, in days; all windows and all time if
        None
    concentration : whether, over those windows, the top share, the Herfindahl index and the entropy
        of the declared values are features, and the share of rows that have none of them
    counts : whether, over those windows, the number of events with each value is a feature too
    mostly : whether, over those windows, it is a feature of each value if no other is more frequent
    repeated : whether, over every window, the share of its distinct values that are on at least two
        days is a feature
    available_from, retired_on : the first day on which it is recorded; the first on which it no
        longer is
    """

    name: str
    column: str
    values: tuple[str, ...] = ()
    closed: bool = False
    share_windows: tuple[int, ...] | None = None
    concentration: bool = False
    counts: bool = field(default=False, metadata={"later": True})
    mostly: bool = field(default=False, metadata={"later": True})
    available_from: dt.date | None = field(default=None, metadata={"later": True})
    retired_on: dt.date | None = field(default=None, metadata={"later": True})
    repeated: bool = field(default=False, metadata={"later": True})


@dataclass(frozen=True)
class Flag(_Shared):
    """A condition on a row. Its share of the events is a feature, or whether it holds for the
    entity.

    ``share_windows``: the windows over which the share is taken, in days; all and all time if None.
    ``counts``: whether, over those windows, the number of events it holds for is a feature too.
    """

    name: str
    condition: str
    share_windows: tuple[int, ...] | None = None
    counts: bool = field(default=False, metadata={"later": True})


@dataclass(frozen=True)
class Date:
    """A date of an entity, such as the end of its contract: the days from it to as_of, below 0
    until then.
    """

    name: str
    column: str


@dataclass(frozen=True)
class EventSource:
    """A table of events: one row per event with ``day``, ``known_on`` and the entity's column.

    Parameters
    ----------
    name : prefix of its features
    table : ``layer.table``
    entity : the column that names who acted
    noun : what one event is called in a sentence
    key : columns that identify an event; of several versions, the one known last by as_of counts
    ratios : measures over measures
    thirds : whether the share of its events in each third of the life seen so far is a feature
    recency_ratio : whether the days since the last event over those since the first is a feature
    active_days_per_month : whether the active days per 30 days of the life seen so far is a feature
    """

    name: str
    table: str
    entity: str
    noun: str
    key: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    categories: tuple[Category, ...] = ()
    flags: tuple[Flag, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    thirds: bool = False
    recency_ratio: bool = field(default=False, metadata={"later": True})
    active_days_per_month: bool = field(default=False, metadata={"later": True})

    @property
    def reads(self) -> tuple[str, ...]:
        """What landed of which its rows are made: the table itself."""
        return (self.table,)

    @property
    def days_table(self) -> str:
        """The table of its daily parts."""
        return f"silver.{self.name}_days"


@dataclass(frozen=True)
class Mart:
    """A select of a day over what landed, which gives its rows at any as_of.

    Parameters
    ----------
    select : as it is in ``file``; ``$as_of`` is the day
    reads : the tables that it names, ``layer.table``, each with its declared key
    late : those of them that say nothing before they landed, though their rows are dated earlier
    """

    select: str
    file: str
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    late: tuple[str, ...] = ()

    def at(self, as_of: dt.date) -> str:
        """SQL, in brackets: its rows at ``as_of``, by what was known at its end."""
        keys = dict(self.reads)

        def known(table: str) -> str:
            late = table in self.late
            rows = known_rows(table, CLOCKS, keys[table], as_of, "_partition", since_landing=late)
            return f"({rows})"

        return f"(\n{of_day(self.select, as_of, self.file, known)}\n)"


@dataclass(frozen=True)
class AttributeTable:
    """A table of attributes: one row per entity and landing, with ``day`` and ``known_on``.

    Of several rows of an entity, the one known last by as_of counts; with ``by_day``, as a history
    of states wants it, the one of the latest day. ``noun``, where given, says whose attributes they
    are.

    ``fixed``, where its rows landed at once and are dated earlier: the columns and conditions that
    never change after the row's day. What else a row says is known from its landing on. None: all
    is known with it. ``mart``, where ``table`` is one: its rows at as_of, one of an entity.
    """

    name: str
    table: str
    entity: str
    noun: str = ""
    measures: tuple[Measure, ...] = ()
    categories: tuple[Category, ...] = ()
    flags: tuple[Flag, ...] = ()
    by_day: bool = False
    fixed: tuple[str, ...] | None = None
    dates: tuple[Date, ...] = ()
    mart: Mart | None = field(default=None, metadata={"later": True})

    @property
    def reads(self) -> tuple[str, ...]:
        """What landed of which its rows are made: the table itself, or what its mart reads."""
        return tuple(name for name, _ in self.mart.reads) if self.mart else (self.table,)

    def is_known_with_its_row(self, sql: str) -> bool:
        """Whether a column, or a condition, is known as soon as its row is; if not, from its
        landing on.
        """
        return self.fixed is None or sql in self.fixed

    @property
    def known_late(self) -> list[str]:
        """The families of the features that are known from the landing of their row on; of a mart,
        all, where a table that it reads says nothing before it landed.
        """
        read = [(m.name, m.column) for m in self.measures] + [
            (c.name, c.column) for c in self.categories
        ]
        read += [(flag.name, flag.condition) for flag in self.flags]
        read += [(date.name, date.column) for date in self.dates]
        late = bool(self.mart and self.mart.late)
        return [
            f"{self.name}_{name}"
            for name, sql in read
            if late or not self.is_known_with_its_row(sql)
        ]


@dataclass(frozen=True)
class UserTable:
    """A select of the user's own, one row per entity, in which ``$as_of`` is the day.

    Parameters
    ----------
    name : prefix of its features
    select : as it is in ``file``
    columns : its other columns, numbers or booleans, each with what it means
    reads : the tables that it names, ``layer.table``
    """

    name: str
    entity: str
    select: str
    columns: tuple[tuple[str, str], ...]
    reads: tuple[str, ...]
    file: str

    def at(self, as_of: dt.date) -> str:
        """SQL: one row per entity at ``as_of``, as ``_entity`` and the columns."""
        names = identifiers(name for name, _ in self.columns)
        select = self.select.replace("$as_of", f"date '{as_of.isoformat()}'")
        return f"select {identifier(self.entity)} as _entity, {names} from (\n{select}\n)"


@dataclass(frozen=True)
class Cohort:
    """Those whose first event of a source was in the same month; ``features``: compared with their
    mean.

    ``kinds``: a ``ratio`` to it, a ``difference`` from it, or that in standard deviations, ``z``.
    """

    source: str
    features: tuple[str, ...]
    kinds: tuple[str, ...] = field(default=("ratio",), metadata={"later": True})


@dataclass(frozen=True)
class FeatureRatio:
    """One feature over another, of whatever source or table of attributes.

    ``top``, ``bottom``: a feature by its whole name; or a name without its window, in every window
    that both have.
    """

    name: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Rfm:
    """Quintiles of recency, frequency and monetary value of a source, over a window in days."""

    source: str
    measure: str
    window: int

    @property
    def columns(self) -> dict[str, str]:
        """The features that are cut into quintiles."""
        return {
            "recency": f"{self.source}_days_since_last",
            "frequency": f"{self.source}_count_{self.window}d",
            "monetary": f"{self.source}_{self.measure}_sum_{self.window}d",
        }


@dataclass(frozen=True)
class FeatureSet:
    """All that is declared of a feature table.

    Parameters
    ----------
    windows : days
    trends : windows that are compared with the one before, days
    velocity : windows between which the change per day is measured, and the change of that change,
        days
    momentum : windows whose rate is compared with that of the whole life, days
    calendar : whether month, weekday and time of the year of as_of are features
    own : selects of the user's own, whose columns join the rest
    cohort, rfm : features among peers
    ratios : features over features

    Raises
    ------
    ValueError : a window has no day
    """

    entity: str
    sources: tuple[EventSource, ...]
    windows: tuple[int, ...] = (7, 30, 90, 180, 365)
    trends: tuple[int, ...] = (30, 90)
    attributes: tuple[AttributeTable, ...] = ()
    velocity: tuple[int, ...] = ()
    momentum: tuple[int, ...] = ()
    calendar: bool = False
    own: tuple[UserTable, ...] = ()
    cohort: Cohort | None = None
    rfm: Rfm | None = None
    ratios: tuple[FeatureRatio, ...] = field(default=(), metadata={"later": True})

    def __post_init__(self) -> None:
        if none := [days for days in self.rings if days < 1]:
            raise ValueError(f"a window of {none[0]} days: windows are whole days, at least 1")

    @property
    def inputs(self) -> tuple[EventSource | AttributeTable, ...]:
        """All that it reads: the event sources, then the attribute tables."""
        return (*self.sources, *self.attributes)

    @property
    def tables(self) -> list[str]:
        """The names of the tables that it reads, ``layer.table``, in order: of events, their daily
        parts.
        """
        read = {source.days_table for source in self.sources}
        read = read.union(*(table.reads for table in self.attributes))
        return sorted(read.union(*(table.reads for table in self.own)))

    @property
    def marts(self) -> list[str]:
        """The marts whose rows are attributes, ``marts.x``, in order."""
        return sorted({table.table for table in self.attributes if table.mart})

    @property
    def rings(self) -> list[int]:
        """Upper ends of the age rings, days, ascending; what is older than the last is one more
        ring.
        """
        lagged = [times * window for window in self.velocity for times in (1, 2, 3)]
        compared = [times * window for window in self.trends for times in (1, 2)]
        return sorted({*self.windows, *compared, *lagged, *self.momentum})


def label_of(value: str) -> str:
    """A value as part of a name."""
    return "".join(letter if letter.isalnum() else "_" for letter in value.lower())
