"""What a block of offers declares."""

import datetime as dt
from dataclasses import dataclass

from churn_orchestration.churn.calendar import DAY, Horizon
from churn_orchestration.churn.features.declared import EventSource
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.sql import identifier, literal

PROBABILITY, SCORE, RANK, WHY, COLD = "buy_probability", "score", "rank", "why", "is_cold"


@dataclass(frozen=True)
class Retired:
    """A table of items with the day from which each is not sold any more.

    Parameters
    ----------
    table : ``layer.table``, with ``known_on``
    item : its column of the item
    on : its column of the first day on which the item is not sold; null: it is sold
    """

    table: str
    item: str
    on: str

    def items(self, as_of: dt.date) -> str:
        """SQL: the items that are retired on a day by the row that was known last at its end."""
        item, on, day = identifier(self.item), f"{identifier(self.on)}::date", literal(as_of)
        return (
            f"select item from (select {item}::varchar as item, {on} as on_day from {self.table} "
            f"where known_on <= {day} and {item} is not null qualify row_number() over ("
            f"partition by {item} order by known_on desc, _partition desc, {on} desc nulls last) "
            f"= 1) where on_day <= {day}"
        )


@dataclass(frozen=True)
class Offering:
    """What is offered to whom.

    Parameters
    ----------
    entity : of the feature table whose customers get offers
    source : of the purchases, a row per item of a basket
    item : its column of the item
    basket : its column of the order; None: all that an entity buys on a day is one basket
    quantity : its column of how many; a row not above 0 is no purchase. None: every row is one
    window_days : how far back purchases count
    recent_days : over how many of these something is popular
    horizon : within which an offer is to be bought
    most : offers a customer
    again_after : days after the last purchase from which the same item is offered again; None:
        never, 0: at once
    unsold_days : an item that nobody bought for so many days is not offered
    retired : items that are not sold any more, by day
    min_baskets : that hold a pair, for it to count
    most_items : a basket with more is no choice of things that go together
    factors : of the factorisation; None: there is none
    """

    name: str
    entity: str
    source: EventSource
    item: str
    basket: str | None
    quantity: str | None
    window_days: int
    recent_days: int
    horizon: Horizon
    most: int
    again_after: int | None
    unsold_days: int
    retired: Retired | None
    min_baskets: int
    most_items: int
    factors: int | None

    def lines(self, first: dt.date, last: dt.date, known_by: dt.date) -> str:
        """SQL: entity, item, basket and day of every row of some days that is a purchase, as known
        at the end of ``known_by``; all but the day as text, in scoring and training alike.
        """
        of = identifier(self.source.entity)
        item = identifier(self.item)
        basket = identifier(self.basket) if self.basket else f"{of}::varchar || ' ' || day::varchar"
        bought = f"{identifier(self.quantity)} > 0" if self.quantity else "true"
        columns = (
            f"{of}::varchar as entity, {item}::varchar as item, ({basket})::varchar as basket, "
            f"day, {bought} as is_bought"
        )
        return (
            f"select entity, item, basket, day from ({visible(self.source, known_by, columns)}) "
            f"where day between {literal(first)} and {literal(last)} and is_bought"
        )

    def known(self, as_of: dt.date) -> str:
        """SQL: the purchases of the window of an as_of, each item of an entity's basket once: on
        its first day, where the rows of an order have several.
        """
        first = as_of - DAY * (self.window_days - 1)
        lines = self.lines(first, as_of, as_of)
        return (
            f"select entity, item, basket, min(day) as day from ({lines}) "
            "where item is not null and basket is not null group by all"
        )
