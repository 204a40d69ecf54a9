"""The blocks of YAML of which a feature table consists, each turned into the words of the
engine.
"""

import datetime as dt
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import dagster as dg
from pydantic import Field, model_validator

from churn_orchestration.churn.features import declared as declarations
from churn_orchestration.churn.rows.user_sql import columns_of as columns_in
from churn_orchestration.churn.rows.user_sql import parsed

NAME = r"^[a-z][a-z0-9_]*$"
MOST_CLOSED = 62
"""Values of a closed category: a bit each of a 64-bit mask, one for all others, one for the
sign.
"""


AsWritten: TypeAlias = Annotated[
    list[str], dg.Resolver(lambda _, values: values, model_field_type=list[str])
]
"""Texts that stay texts: Dagster would read "1" as the number 1, and "True" as a truth value."""


def recorded(
    available_from: str | None, retired_on: str | None, of: str
) -> tuple[dt.date | None, dt.date | None]:
    """The days between which a column is recorded; a mistake in them is a ValueError that names
    it.
    """
    days: list[dt.date | None] = []
    for field, given in (("available_from", available_from), ("retired_on", retired_on)):
        try:
            days.append(dt.date.fromisoformat(given) if given is not None else None)
        except ValueError:
            raise ValueError(f'{of}: {field} "{given}" is no day: write it as 2024-03-31') from None
    first, end = days
    if first and end and end <= first:
        raise ValueError(
            f"{of}: retired_on {end} is not after available_from {first}: no day would be left"
        )
    return first, end


class MeasureSpec(dg.Model, dg.Resolvable):
    """A number of an event or an entity."""

    name: str = Field(pattern=NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    unit: str = Field("", description="shown next to it, e.g. usd")
    decimals: int = Field(4, ge=0, le=9, description="decimals kept, exactly")
    slope: bool = Field(
        False, description="events: how it changed from the first active day to the last"
    )
    answered: bool = Field(
        False,
        description="events: how many have it, and what share of all, in every window; of what may "
        "be missing, such as a score or a rating",
    )
    change: Literal["sum", "mean"] | None = Field(
        None,
        description="events: the last change from one day that has it to the next, and in every "
        "window the lowest and highest; sum or mean: of the events of a day",
    )
    available_from: str | None = Field(
        None,
        description="the first day on which it is recorded, e.g. 2024-03-01; a feature whose "
        "window begins earlier is null",
    )
    retired_on: str | None = Field(
        None,
        description="the first day on which it is no longer recorded; its features are null from "
        "then on",
    )

    @model_validator(mode="after")
    def _days_of_recording(self) -> "MeasureSpec":
        recorded(self.available_from, self.retired_on, f"measure {self.name}")
        return self


class CategorySpec(dg.Model, dg.Resolvable):
    """A category of an event or an entity."""

    name: str = Field(pattern=NAME, description="its name in the features")
    column: str = Field(description="the column that holds it")
    values: AsWritten = Field(
        [], description="each is a feature: its share of the events, or whether it is the entity's"
    )
    closed: bool = Field(
        False,
        description=(
            "events: `values` are all there are, at most 62; quicker, and others count as one"
        ),
    )
    share_windows: list[int] | None = Field(
        None,
        description="events: windows over which shares are taken; all, and all time, if not given",
    )
    concentration: bool = Field(
        False,
        description=(
            "events: top share, Herfindahl index and entropy over `values`, and the share of others"
        ),
    )
    counts: bool = Field(
        False,
        description="events: the number of events with each of `values`, over the windows of the "
        "shares",
    )

    mostly: bool = Field(
        False,
        description="events: of each of `values`, over the windows of the shares, whether no other "
        "is more frequent; of several as frequent, the first",
    )
    repeated: bool = Field(
        False,
        description="events: of its distinct values, declared or not, the share that are on at "
        "least two days, in every window; of products, what is bought again",
    )
    available_from: str | None = Field(
        None,
        description="the first day on which it is recorded, e.g. 2024-03-01; a feature whose "
        "window begins earlier is null",
    )
    retired_on: str | None = Field(
        None,
        description="the first day on which it is no longer recorded; its features are null from "
        "then on",
    )

    @model_validator(mode="after")
    def _days_of_recording(self) -> "CategorySpec":
        recorded(self.available_from, self.retired_on, f"category {self.name}")
        return self

    @model_validator(mode="after")
    def _values_where_needed(self) -> "CategorySpec":
        if (self.closed or self.concentration) and not self.values:
            raise ValueError(f"category {self.name}: `closed` and `concentration` need `values`")
        for field in ("counts", "mostly"):
            if getattr(self, field) and not self.values:
                raise ValueError(
                    f"category {self.name}: `{field}` needs `values`, of which each is a feature"
                )
        if self.closed and self.repeated:
            raise ValueError(
                f"category {self.name}: `repeated` counts the days of each value, and `closed` "
                "keeps none by itself: take `closed` out"
            )
        if self.closed and len(self.values) > MOST_CLOSED:
            raise ValueError(
                f"category {self.name}: {len(self.values)} values are too many for `closed`, which "
                f"takes {MOST_CLOSED}: take it out"
            )
        return self


class RatioSpec(dg.Model, dg.Resolvable):
    """The sum of one measure over the sum of another, in every window."""

    name: str = Field(pattern=NAME, description="its name in the features, e.g. discount_rate")
    top: str = Field(description="name of a measure")
    bottom: str = Field(description="name of a measure")


class FeatureRatioSpec(dg.Model, dg.Resolvable):
    """One feature of the table over another, of whatever source or table of attributes."""

    name: str = Field(pattern=NAME, description="its name, e.g. refunds_over_spend")
    top: str = Field(
        description="a feature, e.g. orders_days_since_last; without its window, e.g. "
        "returns_refund_sum: in every window that both have"
    )
    bottom: str = Field(description="the feature that it is divided by, named likewise")


class CadenceSpec(dg.Model, dg.Resolvable):
    """When in the week, and in the day, the events happen."""

    time: str | None = Field(
        None, description="a timestamp column (UTC): shares of night, morning, ... too"
    )
    windows: list[int] = Field([365], description="windows over which the shares are taken, days")

    def flags(self, timezone: str) -> dict[str, str]:
        """The conditions whose shares these are, in the business's zone."""
        bands = {"weekend": "isodow(day) > 5"}
        if self.time:
            hour = f"hour(timezone('{timezone}', timezone('UTC', {self.time})))"
            for name, first in (("night", 0), ("morning", 6), ("afternoon", 12), ("evening", 18)):
                bands[name] = f"{hour} between {first} and {first + 5}"
        return bands


class DateSpec(dg.Model, dg.Resolvable):
    """A date of an entity, such as the end of its contract."""

    name: str = Field(
        pattern=NAME, description="its name in the features: <table>_days_since_<name>"
    )
    column: str = Field(description="the column that holds it, a date or a timestamp")

    @model_validator(mode="after")
    def _is_no_end_of_events(self) -> "DateSpec":
        if self.name in ("first", "last"):
            raise ValueError(
                f"date {self.name}: days since first and last are those of events; rename it"
            )
        return self


class EventSourceSpec(dg.Model, dg.Resolvable):
    """A table of events."""

    name: str = Field(pattern=NAME, description="prefix of its features")
    table: str = Field(
        pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$", description="layer.table, e.g. silver.orders"
    )
    noun: str = Field(description="what one event is called in a sentence, e.g. order")
    entity: str | None = Field(
        None, description="the column of the entity, where it has another name here"
    )
    key: list[str] = Field(
        [], description="columns that identify an event, where it may be corrected"
    )
    measures: list[MeasureSpec] = Field([], description="numbers to aggregate")
    categories: list[CategorySpec] = Field([], description="categories to count")
    flags: dict[str, str] = Field(
        {}, description="name: SQL condition, whose share of the events is a feature"
    )
    flag_counts: list[str] = Field(
        [],
        description="names of flags, or of shares of `cadence`, of which the number of events is a "
        "feature too, over the same windows",
    )
    cadence: CadenceSpec | None = Field(
        None, description="shares of the weekend and of times of the day"
    )
    ratios: list[RatioSpec] = Field([], description="measures over measures")
    thirds: bool = Field(
        False, description="shares of the events in each third of the life seen so far"
    )
    recency_ratio: bool = Field(
        False, description="days since the last event over days since the first"
    )
    active_days_per_month: bool = Field(
        False, description="active days per 30 days of the life seen so far"
    )

    @model_validator(mode="after")
    def _ratios_of_measures(self) -> "EventSourceSpec":
        names = [measure.name for measure in self.measures]
        for ratio in self.ratios:
            if unknown := [each for each in (ratio.top, ratio.bottom) if each not in names]:
                raise ValueError(
                    f'{self.name}: ratio {ratio.name} names "{unknown[0]}", which is no measure of '
                    "it "
                    f"({', '.join(names)})"
                )
        return self

    def declared(self, entity: str, timezone: str) -> declarations.EventSource:
        """The same in the words of the engine."""
        measures, categories, flags = columns_of(self)
        if self.cadence:
            windows = tuple(self.cadence.windows)
            bands = self.cadence.flags(timezone).items()
            flags += tuple(declarations.Flag(name, condition, windows) for name, condition in bands)
        flags = tuple(replace(flag, counts=flag.name in self.flag_counts) for flag in flags)
        return declarations.EventSource(
            self.name,
            self.table,
            self.entity or entity,
            self.noun,
            tuple(self.key),
            measures,
            categories,
            flags,
            tuple(declarations.Ratio(ratio.name, ratio.top, ratio.bottom) for ratio in self.ratios),
            self.thirds,
            self.recency_ratio,
            self.active_days_per_month,
        )


class AttributeTableSpec(dg.Model, dg.Resolvable):
    """A table with one row per entity and landing; of several rows, the one known last by as_of
    counts.
    """

    name: str = Field(pattern=NAME, description="prefix of its features")
    table: str = Field(
        pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$",
        description="layer.table, e.g. silver.customers; or a mart of one row an entity that reads "
        "bronze and silver alone: its row at as_of",
    )
    noun: str = Field("", description="whose attributes they are, where a sentence should say so")
    entity: str | None = Field(
        None, description="the column of the entity, where it has another name here"
    )
    measures: list[MeasureSpec] = Field([], description="numbers, each a feature")
    categories: list[CategorySpec] = Field(
        [], description="categories; each of their values is a feature"
    )
    flags: dict[str, str] = Field(
        {}, description="name: SQL condition, which holds (1) or does not (0)"
    )
    dates: list[DateSpec] = Field(
        [], description="dates; the days from each to as_of are a feature, below 0 until it comes"
    )
    latest: Literal["landing", "day"] = Field(
        "landing",
        description="which row of an entity counts, of those known by as_of: that of the last "
        "landing or, as a history of states wants it, of the latest day",
    )
    fixed: bool | list[str] | None = Field(
        None,
        description="columns that never change after the day of their row; true: all. Where a "
        "file without {day} in its name dates its rows by an event time, "
        "all others are known from its landing on",
    )

    @model_validator(mode="after")
    def _fixed_are_read(self) -> "AttributeTableSpec":
        read = [*(m.column for m in self.measures), *(c.column for c in self.categories)]
        read += [
            column for condition in self.flags.values() for column in self._columns_of(condition)
        ]
        read += [date.column for date in self.dates]
        given = self.fixed if isinstance(self.fixed, list) else []
        if unknown := [name for name in given if name not in read]:
            raise ValueError(
                f'{self.name}: fixed names "{unknown[0]}", which is no column that it reads '
                f"({', '.join(dict.fromkeys(read))})"
            )
        return self

    def _columns_of(self, condition: str) -> list[str]:
        return columns_in(parsed(condition, f"{self.name}: flag"))

    @model_validator(mode="after")
    def _lands(self) -> "AttributeTableSpec":
        given = [name for name in ("latest", "fixed") if name in self.model_fields_set]
        if self.table.startswith("marts.") and given:
            raise ValueError(
                f"{self.name}: `{given[0]}` is of rows that land, and a mart has one row at as_of: "
                "take it out"
            )
        return self

    @model_validator(mode="after")
    def _counts_no_events(self) -> "AttributeTableSpec":
        for measure in self.measures:
            for field in ("answered", "change"):
                if getattr(measure, field):
                    raise ValueError(
                        f"{self.name}: measure {measure.name}: `{field}` is of events, and an "
                        "attribute has none: take it out"
                    )
        for category in self.categories:
            for field in ("counts", "mostly", "repeated"):
                if getattr(category, field):
                    raise ValueError(
                        f"{self.name}: category {category.name}: `{field}` is of events, and an "
                        "attribute has none: take it out"
                    )
        return self

    @model_validator(mode="after")
    def _says_something(self) -> "AttributeTableSpec":
        if mute := [category.name for category in self.categories if not category.values]:
            raise ValueError(
                f"{self.name}: category {mute[0]}: give its `values`; each becomes a feature"
            )
        if not (self.measures or self.categories or self.flags or self.dates):
            raise ValueError(
                f"{self.name}: give measures, categories, flags or dates: without one it has no "
                "feature"
            )
        return self

    def declared(
        self, entity: str, dated_back: bool, mart: declarations.Mart | None = None
    ) -> declarations.AttributeTable:
        """The same in the words of the engine; ``dated_back``: its rows are dated before their
        landing; ``mart``: what it reads, if that is a mart.
        """
        by_day, fixed = self.latest == "day", None
        if dated_back and not by_day and self.fixed is not True:
            given = set(self.fixed or [])
            conditions = [
                sql for sql in self.flags.values() if given.issuperset(self._columns_of(sql))
            ]
            fixed = (*sorted(given), *conditions)
        return declarations.AttributeTable(
            self.name,
            self.table,
            self.entity or entity,
            self.noun,
            *columns_of(self),
            by_day,
            fixed,
            tuple(declarations.Date(date.name, date.column) for date in self.dates),
            mart,
        )


def columns_of(
    spec: EventSourceSpec | AttributeTableSpec,
) -> tuple[
    tuple[declarations.Measure, ...],
    tuple[declarations.Category, ...],
    tuple[declarations.Flag, ...],
]:
    """The measures, categories and flags of a block."""
    return (
        tuple(
            declarations.Measure(
                m.name,
                m.column,
                m.unit,
                m.decimals,
                m.slope,
                *recorded(m.available_from, m.retired_on, m.name),
                m.answered,
                m.change,
            )
            for m in spec.measures
        ),
        tuple(
            declarations.Category(
                c.name,
                c.column,
                tuple(c.values),
                c.closed,
                None if c.share_windows is None else tuple(c.share_windows),
                c.concentration,
                c.counts,
                c.mostly,
                *recorded(c.available_from, c.retired_on, c.name),
                c.repeated,
            )
            for c in spec.categories
        ),
        tuple(declarations.Flag(name, condition) for name, condition in spec.flags.items()),
    )


class RefreshSpec(dg.Model, dg.Resolvable):
    """Which days of a run are recomputed."""

    mode: Literal["incremental", "full"] = Field(
        "incremental",
        description=(
            "incremental: those that are missing, or whose declaration or ground changed; full: all"
        ),
    )
    look_back_days: int | None = Field(
        None,
        ge=0,
        description="as_ofs as far before the newest stay as they were used when an earlier day "
        "lands again; null: all as_ofs from that day on are recomputed",
    )


class CohortSpec(dg.Model, dg.Resolvable):
    """Features compared with their mean over those whose first event was in the same month."""

    source: str = Field(
        description="name of the source whose first event says when an entity began"
    )
    features: list[str] = Field(
        min_length=1, description="names of features, e.g. orders_count_90d"
    )
    kinds: list[Literal["ratio", "difference", "z"]] = Field(
        ["ratio"],
        min_length=1,
        description="how: the ratio to the mean, the difference from it, or z, the difference in "
        "standard deviations; those that are named",
    )


class RfmSpec(dg.Model, dg.Resolvable):
    """Quintiles of recency, frequency and monetary value, fitted at the end of the month before
    as_of.
    """

    source: str = Field(description="name of a source")
    measure: str = Field(description="name of one of its measures")
    window: int = Field(365, description="days over which events are counted and amounts summed")
