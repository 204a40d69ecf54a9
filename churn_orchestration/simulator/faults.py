"""Faults of deliveries: late rows, rows written twice, and malformed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

MALFORMED = {
    "unparsable_date": ("ordered_at", "2024-13-45 00:00:00"),
    "empty_customer_id": ("customer_id", ""),
    "text_amount": ("amount_usd", "abc"),
    "surplus_field": ("channel", "web,surplus"),
    "nan_amount": ("amount_usd", "NaN"),
    "future_date": ("ordered_at", "2099-01-01 00:00:00"),
}
"""Kind of malformed row: the column that is spoilt, and the text put there."""


@dataclass(frozen=True)
class Faults:
    """How faulty the delivery is; shares are of all orders, 0..1.

    Parameters
    ----------
    late_share : orders written 1 .. max_late_days days after their own day
    duplicate_share : orders written twice, the same row in the same file
    malformed_share : extra spoilt rows, with an order_id of their own ("M...") so that no order is lost

    Raises
    ------
    ValueError : a share is not in 0..1, or max_late_days < 1

    >>> Faults(late_share=2)
    Traceback (most recent call last):
    ...
    ValueError: Faults: late_share is 2, it must be in 0..1
    """

    late_share: float = 0.02
    max_late_days: int = 10
    duplicate_share: float = 0.005
    malformed_share: float = 0.003

    def __post_init__(self) -> None:
        """Refuse faults that cannot be."""
        for name in ("late_share", "duplicate_share", "malformed_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Faults: {name} is {getattr(self, name)}, it must be in 0..1")
        if self.max_late_days < 1:
            raise ValueError(f"Faults: max_late_days is {self.max_late_days}, it must be at least 1")


def deliver(orders: pd.DataFrame, last_day: pd.Timestamp, faults: Faults, seed: int) -> pd.DataFrame:
    """The rows that reach us, faults included, with the day of the file that brings them.

    A late row whose later day would lie after ``last_day`` comes on its own day. Each kind of fault has its
    own random stream, so that switching one off leaves the others where they were; the streams are not those
    of a shop with the same seed.

    Parameters
    ----------
    orders : order_id, customer_id, ordered_at, amount_usd, channel; one row an order, by time

    Returns
    -------
    The columns of orders as text, known_on (timestamp at midnight), and fault ("", "duplicate" or a key of
    ``MALFORMED``); by known_on, a faulty copy right after its source row, under the same index entry
    """
    late, doubled, malformed = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence([seed, *b"faults"]).spawn(3)
    )
    text = orders.assign(
        ordered_at=orders["ordered_at"].dt.strftime("%Y-%m-%d %H:%M:%S"),
        amount_usd=np.char.mod("%.2f", orders["amount_usd"].to_numpy()),
        known_on=_known_on(orders["ordered_at"].dt.normalize(), last_day, faults, late),
        fault="",
    )
    twice = text.iloc[_choose(len(text), faults.duplicate_share, doubled)].assign(fault="duplicate")
    spoilt = _spoil(text.iloc[_choose(len(text), faults.malformed_share, malformed)])
    rows = pd.concat([text, twice, spoilt]).rename_axis("row")
    return rows.sort_values(["known_on", "row"], kind="stable")


def _known_on(
    own_day: pd.Series, last_day: pd.Timestamp, faults: Faults, rng: np.random.Generator
) -> pd.Series:
    """Day of the file of every order."""
    late = _choose(len(own_day), faults.late_share, rng)
    delay_days = np.zeros(len(own_day), dtype=int)
    delay_days[late] = rng.integers(1, faults.max_late_days, len(late), endpoint=True)
    known_on = own_day + pd.to_timedelta(delay_days, unit="D")
    return known_on.where(known_on <= last_day, own_day)


def _choose(count: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of a share of the rows, in their order."""
    return np.sort(rng.choice(count, round(count * share), replace=False))


def _spoil(rows: pd.DataFrame) -> pd.DataFrame:
    """Make every row malformed, the kinds in rotation."""
    spoilt = rows.assign(
        order_id=[f"M{number:08d}" for number in range(1, len(rows) + 1)],
        fault=np.resize(np.array(list(MALFORMED)), len(rows)),
    )
    for kind, (column, text) in MALFORMED.items():
        spoilt.loc[spoilt["fault"] == kind, column] = text
    return spoilt
