"""Drift of a day's features from those a model was trained on, and how far is usual: counts in,
verdicts out.

The spread of a feature is a count per bin: the tenths of what the model was trained on, or its few
values; below and above all of them; missing. Counts come from SQL, however many rows there are; the
rest is arithmetic on small tables.

How far is usual is measured by replays: days up to the model's cut-off, on which nothing was wrong.
A company ages, seasons turn, and so the distance from a training snapshot grows with time, for each
feature at its own pace. A feature is alarmed where it is further off than that, by half more than
it ever was in a replay, and half more than it was of late.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

TENTHS = 10
FEW = 10
"""A feature of at most so many values has a bin a value, and is measured by Jensen-Shannon, not
PSI.
"""
BEYOND_USUAL = 1.5
RECENT = (
    8,
    35,
)  # days ago: a window of seven days has turned over, and a month has not been forgotten
REPLAY_DAYS = 8  # not a multiple of a week: every weekday is among them
MOST_REPLAYS = 31
NOISE = 0.25  # of independent samples: the same customers are in the snapshot and in the day
HARM = 0.05  # log odds, about one point of probability: a score's move on which nobody acts
LEAST_ROWS = 20


@dataclass(frozen=True)
class Bins:
    """How the values of a feature are binned.

    ``cuts``: ascending; the first and last are the least and largest value that the model was
    trained on. ``few``: they are all the values there were.
    """

    feature: str
    cuts: tuple[float, ...]
    few: bool

    @property
    def number(self) -> int:
        """Bins: below, up to each cut, above, missing."""
        return len(self.cuts) + 3

    def sql(self) -> str:
        """SQL: the bin of a row's value, from 0: below all."""
        value, cuts = f"{self.feature}::double", self._literals()
        place = " + ".join(f"({value} > {cut})::int" for cut in cuts)
        missing = f"{self.feature} is null or isnan({value})"
        return (
            f"case when {missing} then {self.number - 1} "
            f"else ({value} >= {cuts[0]})::int + {place} end"
        )

    def is_new(self) -> str:
        """SQL condition: a value within the range that the model was never trained on, of few."""
        value, cuts = f"{self.feature}::double", self._literals()
        return f"{value} between {cuts[0]} and {cuts[-1]} and {value} not in ({', '.join(cuts)})"

    def _literals(self) -> list[str]:
        return [repr(float(cut)) for cut in self.cuts]


def counted(bins: Sequence[Bins], rows: str) -> str:
    """SQL: ``feature``, ``day``, ``bin``, ``rows``, ``new`` of a relation with ``as_of`` and the
    features.
    """
    return " union all ".join(
        f"select '{each.feature}' as feature, as_of as day, {each.sql()} as bin, count(*) as rows, "
        f"count(*) filter ({each.is_new() if each.few else 'false'}) as new from {rows} group by "
        "all"
        for each in bins
    )


def psi(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Population stability index of counts in bins, the last axis; half a row is added to each bin.

    >>> round(float(psi(np.array([50, 50]), np.array([80, 20]))), 2)
    0.41
    """
    p, q = _shares(one), _shares(other)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence, nats, of counts in bins, the last axis; half a row is added to
    each bin.

    >>> round(float(jensen_shannon(np.array([50, 50]), np.array([80, 20]))), 3)
    0.05
    """
    p, q = _shares(one), _shares(other)
    middle = (p + q) / 2
    return np.asarray((p * np.log(p / middle) + q * np.log(q / middle)).sum(axis=-1) / 2)


def _shares(counts: np.ndarray) -> np.ndarray:
    filled = np.asarray(counts, float) + 0.5
    return filled / filled.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Usual:
    """How far a feature is usually from what the model was trained on.

    Parameters
    ----------
    counts : of the training snapshot, per bin
    centre : the mean day of its rows
    still, pace : distance = still + pace x (days since the centre)^2, both >= 0
    excess : the largest ratio of a replay's distance to that
    noise : what chance alone makes of a day with one row
    replays : distance by day
    """

    counts: np.ndarray
    centre: dt.date
    still: float
    pace: float
    excess: float
    noise: float
    replays: Mapping[dt.date, float]

    def limit(self, day: dt.date, rows: float) -> float:
        """The distance that is still usual on a day with so many rows whose value is known."""
        return BEYOND_USUAL * self.excess * self.expected(day, rows)

    def expected(self, day: dt.date, rows: float) -> float:
        """The distance to expect, by replays and by chance."""
        lag = (day - self.centre).days
        return float(self.still + self.pace * lag * lag + self.noise / max(rows, LEAST_ROWS))


def usual(
    bins: Bins, snapshot: Mapping[dt.date, np.ndarray], replays: Mapping[dt.date, np.ndarray]
) -> Usual | None:
    """What replays say of a feature; None without two of them, or where the model saw one value
    only.

    ``snapshot`` and ``replays``: counts per bin, by as_of.
    """
    if len(replays) < 2 or len(bins.cuts) < 2:
        return None
    total = np.sum(list(snapshot.values()), axis=0)
    numbers = [day.toordinal() for day in snapshot]
    sizes = [counts.sum() for counts in snapshot.values()]
    centre = dt.date.fromordinal(round(np.average(numbers, weights=sizes)))
    apart = {day: distance(bins, total, counts) for day, counts in sorted(replays.items())}
    lags = np.array([(day - centre).days for day in apart], float)
    (still, pace), _ = nnls(
        np.column_stack([np.ones_like(lags), lags**2]), np.array(list(apart.values()))
    )
    used = int(np.count_nonzero(total + np.sum(list(replays.values()), axis=0)))
    noise = (
        NOISE * max(used - 1, 1) / (8 if bins.few else 1)
    )  # Jensen-Shannon is an eighth of PSI, nearby
    known = Usual(total, centre, float(still), float(pace), 1.0, noise, apart)
    ratios = [
        far / known.expected(day, float(replays[day][:-1].sum())) for day, far in apart.items()
    ]
    return replace(known, excess=max([1.0, *ratios]))


def distance(bins: Bins, one: np.ndarray, other: np.ndarray) -> float:
    """How far two counts of a feature are apart, by the measure that suits it."""
    return float((jensen_shannon if bins.few else psi)(one, other))


@dataclass(frozen=True)
class Drift:
    """A feature on a day, compared with what the model was trained on.

    Parameters
    ----------
    value, limit : the distance, and up to where it is usual
    recent : the largest distance of late; None: nothing is known of those days
    missing, missing_before : share of rows without a value
    beyond : share of rows below or above all that the model was trained on
    """

    feature: str
    measure: str
    value: float
    limit: float
    recent: float | None
    missing: float
    missing_before: float
    beyond: float

    @property
    def alarmed(self) -> bool:
        """Whether it is further off than is usual, and than it was of late."""
        return self.value > max(self.limit, BEYOND_USUAL * (self.recent or 0.0))


def drifted(
    bins: Bins, counts: np.ndarray, day: dt.date, known: Usual, before: Mapping[dt.date, float]
) -> Drift:
    """A day's counts of a feature, judged.

    ``before``: the distances of earlier days by the same reference; replays are known besides.
    """
    rows, total = max(float(counts.sum()), 1.0), float(known.counts.sum())
    apart = {**known.replays, **before}
    of_late = [far for then, far in apart.items() if RECENT[0] <= (day - then).days <= RECENT[1]]
    return Drift(
        bins.feature,
        "js" if bins.few else "psi",
        distance(bins, known.counts, counts),
        known.limit(day, float(counts[:-1].sum())),
        max(of_late, default=None),
        float(counts[-1]) / rows,
        float(known.counts[-1]) / total,
        float(counts[0] + counts[-2]) / rows,
    )


def replay_days(first: dt.date, cutoff: dt.date) -> list[dt.date]:
    """The days from ``first`` to a cut-off on which a model's features are replayed, oldest
    first.
    """
    back = (cutoff - dt.timedelta(days=REPLAY_DAYS * number) for number in range(MOST_REPLAYS))
    return sorted(day for day in back if day >= first)
