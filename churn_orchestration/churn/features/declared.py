"""What a feature table declares: event sources, attribute tables, measures, categories, flags, windows."""

from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Measure:
    """A number of a row. ``decimals``: how many are kept, exactly; ``unit``: of the column."""

    name: str
    column: str
    unit: str = ""
    decimals: int = 4


@dataclass(frozen=True)
class Category:
    """A category of a row. Each of ``values`` is a feature: its share of the events, or whether it holds.

    Parameters
    ----------
    closed : ``values`` are all there are, at most 62: a mask of bits then counts the distinct ones, which
        is quicker; what is none of them counts as one value more
    share_windows : the windows over which shares are taken, in days; all windows and all time if None
    """

    name: str
    column: str
    values: tuple[str, ...] = ()
    closed: bool = False
    share_windows: tuple[int, ...] | None = None

    def is_shared(self, window: str) -> bool:
        """Whether the shares of its values are taken over a window, days as text or ``all``."""
        return self.share_windows is None or window in map(str, self.share_windows)


@dataclass(frozen=True)
class Flag:
    """A condition on a row. Its share of the events is a feature, or whether it holds for the entity."""

    name: str
    condition: str


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
    """

    name: str
    table: str
    entity: str
    noun: str
    key: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    categories: tuple[Category, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def days_table(self) -> str:
        """The table of its daily parts."""
        return f"silver.{self.name}_days"


@dataclass(frozen=True)
class AttributeTable:
    """A table of attributes: one row per entity and landing, with ``day`` and ``known_on``.

    Of several rows of an entity, the one known last by as_of counts. ``noun``, where given, says whose
    attributes they are, before each of them.
    """

    name: str
    table: str
    entity: str
    noun: str = ""
    measures: tuple[Measure, ...] = ()
    categories: tuple[Category, ...] = ()
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class FeatureSet:
    """All that is declared of a feature table. Windows in days; ``trends`` compare two in a row."""

    entity: str
    sources: tuple[EventSource, ...]
    windows: tuple[int, ...] = (7, 30, 90, 180, 365)
    trends: tuple[int, ...] = (30, 90)
    attributes: tuple[AttributeTable, ...] = ()

    @property
    def inputs(self) -> tuple[EventSource | AttributeTable, ...]:
        """All that it reads: the event sources, then the attribute tables."""
        return (*self.sources, *self.attributes)

    @property
    def tables(self) -> list[str]:
        """The names of the tables that it reads, ``layer.table``, in order: of events, their daily parts."""
        read = {source.days_table for source in self.sources} | {table.table for table in self.attributes}
        return sorted(read)

    @property
    def rings(self) -> list[int]:
        """Upper ends of the age rings, days, ascending; what is older than the last is one more ring."""
        return sorted({*self.windows, *self.trends, *(2 * window for window in self.trends)})


def label_of(value: str) -> str:
    """A value as part of a name."""
    return "".join(letter if letter.isalnum() else "_" for letter in value.lower())
