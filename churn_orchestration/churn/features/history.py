"""The kernel of many as_ofs: daily parts of some groups merged into windows in one pass, as
integers.

What it merges is divided by the SQL of one as_of (``rings.final``), so that both give the same
bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from churn_orchestration.churn.features.declared import ALL

_IDENTITY = {"min": np.iinfo(np.int64).max, "max": np.iinfo(np.int64).min, "or": 0}
_REDUCE = {"min": np.minimum, "max": np.maximum, "or": np.bitwise_or}


@dataclass(frozen=True)
class Days:
    """Daily parts of some groups: entities, or entities as they were visible on one as_of.

    Parameters
    ----------
    group : int64, 0 to groups - 1, ascending
    day : int64, days since 1970-01-01, ascending within a group, each once
    parts : int64 columns, one value a row; where a minimum or maximum is null, the identity of
        int64
    groups : how many groups there are; one may have no row
    """

    group: np.ndarray
    day: np.ndarray
    parts: Mapping[str, np.ndarray]
    groups: int


def merged(
    days: Days,
    group: np.ndarray,
    as_of: np.ndarray,
    wanted: Mapping[str, tuple[str, Sequence[str]]],
    ends: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    thirds_of: str | None = None,
    changes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """The parts of each request (group, as_of), merged over windows that end at its as_of.

    Parameters
    ----------
    group, as_of : int64, one value a request; days since 1970-01-01
    wanted : by part, how it is merged (``sum``, ``min``, ``max`` or ``or``) and the windows: days
        as text, or ``all``; the part ``_active`` counts the rows
    ends : by column, a part and whether its value of the ``first`` or ``last`` row is wanted
    thirds_of : a part to sum, as ``_third1`` to ``_third3``, over the thirds of the days since the
        first row
    changes : by part, the windows over which the lowest and highest change from one row that has it
        to the next are wanted; a row that has it not has the identity of a minimum

    Returns
    -------
    int64 columns, one value a request: ``<part>_<window>``, and of all rows up to as_of
    ``_youngest`` and ``_oldest``, days since the last and the first; ``_gaps``, ``_gap_sum`` and
    ``_gap_squares`` between them; of changes ``<part>_min_<window>``, ``<part>_max_<window>`` and
    ``<part>_last_all``. Of a request without a row: 0; -1 for ``_youngest`` and ``_oldest``; the
    identity of a minimum or maximum, and of a last change that of a minimum. A sum is exact if it
    fits 64 bits itself, for the sums that it is the difference of may wrap around.

    >>> days = Days(np.array([0, 0]), np.array([10, 14]), {"events": np.array([2, 5])}, groups=1)
    >>> wanted = {"events": ("sum", ["3", "all"])}
    >>> result = merged(days, np.array([0, 0]), np.array([13, 15]), wanted)
    >>> result["events_3"].tolist(), result["events_all"].tolist(), result["_youngest"].tolist()
    ([0, 5], [2, 7], [3, 1])
    """
    asked = [*(windows for _, windows in wanted.values()), *changes.values()]
    spans = sorted({int(window) for windows in asked for window in windows if window != ALL})
    place = _Places(days, group, as_of, spans)
    names = [f"{name}_{window}" for name, (_, windows) in wanted.items() for window in windows]
    block = np.empty(
        (len(names), len(as_of)), "int64"
    )  # at once: memory for each by itself costs more
    result = dict(zip(names, block, strict=True))
    for name, (how, windows) in wanted.items():
        into = {window: result[f"{name}_{window}"] for window in windows}
        if name == "_active":
            for window, out in into.items():
                np.subtract(place.last, place.first[window], out=out)
        elif how == "sum":
            _sums(days.parts[name], place, into)
        else:
            _extremes(how, days.parts[name], place, into)
    result |= _rhythm(days, place, as_of)
    for name, (part, end) in ends.items():
        row = place.first[ALL] if end == "first" else place.last - 1
        result[name] = np.where(
            place.last > place.first[ALL], np.append(days.parts[part], 0)[row], 0
        )
    if thirds_of:
        result |= _thirds(days, place, group, as_of, thirds_of)
    for part, windows in changes.items():
        result |= _changes(days, place, part, windows)
    return result


class _Places:
    """Where the rows of each request begin and end: ``first[window]`` to ``last``, exclusive."""

    def __init__(
        self, days: Days, group: np.ndarray, as_of: np.ndarray, spans: Sequence[int]
    ) -> None:
        seen = np.unique(as_of)
        edges = np.unique(np.concatenate([seen - span for span in (0, *spans)]))
        width = len(edges) + 1  # the last place of a group is for what lies after every edge
        counts = np.bincount(
            days.group * width + np.searchsorted(edges, days.day), minlength=days.groups * width
        )
        until = np.concatenate([[0], np.cumsum(counts)])  # rows before each (group, edge)
        at, row = np.searchsorted(seen, as_of), group * width
        self.rows = len(days.day)
        self.last = until[row + np.searchsorted(edges, seen)[at] + 1]
        self.first = {ALL: until[row]}
        for span in spans:
            self.first[str(span)] = until[row + np.searchsorted(edges, seen - span)[at] + 1]

    @cached_property
    def halves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each window two stretches of 2^level rows that cover it, as places in a table level x
        row.

        Where a window is empty, the place after the last row of level 0.
        """
        longest = int((self.last - self.first[ALL]).max(initial=0))
        level = np.maximum(np.frexp(np.arange(longest + 1.0))[1] - 1, 0).astype(
            "int64"
        )  # by length
        row, half = level * (self.rows + 1), 1 << level
        result = {}
        for window, first in self.first.items():
            length = self.last - first
            start, none = row[length], length == 0
            left, right = start + first, start + self.last - half[length]
            left[none] = right[none] = self.rows
            result[window] = (left, right)
        return result


def _rhythm(days: Days, place: _Places, as_of: np.ndarray) -> dict[str, np.ndarray]:
    first, last = place.first[ALL], place.last
    seen, known = last > first, np.append(days.day, 0)
    youngest = np.where(seen, as_of - known[last - 1], -1)
    oldest = np.where(seen, as_of - known[first], -1)
    gap = np.diff(days.day, prepend=0)
    gap[np.diff(days.group, prepend=-1) != 0] = 0
    squares = np.concatenate([[0], np.cumsum(gap * gap)])
    begun = np.minimum(first + 1, last)  # the first row of a group has no gap
    return {
        "_youngest": youngest,
        "_oldest": oldest,
        "_gaps": last - begun,
        "_gap_sum": oldest - youngest,
        "_gap_squares": squares[last] - squares[begun],
    }


def _thirds(
    days: Days, place: _Places, group: np.ndarray, as_of: np.ndarray, part: str
) -> dict[str, np.ndarray]:
    """Third k, from 0, holds the days of which 3 x (day - first) // (as_of - first + 1) is k."""
    begun = np.append(days.day, 0)[place.first[ALL]]
    life = as_of - begun + 1
    span = max(int(days.day.max(initial=0)), int(as_of.max(initial=0))) + 2
    key = days.group * span + days.day
    cuts = [place.first[ALL]]
    cuts += [np.searchsorted(key, group * span + begun + -(-k * life // 3)) for k in (1, 2)]
    cuts = [np.clip(cut, place.first[ALL], place.last) for cut in (*cuts, place.last)]
    total = np.concatenate([[0], np.cumsum(days.parts[part])])
    return {f"_third{k}": total[cuts[k]] - total[cuts[k - 1]] for k in (1, 2, 3)}


def _changes(
    days: Days, place: _Places, part: str, windows: Sequence[str]
) -> dict[str, np.ndarray]:
    """A change belongs to the later of its two rows."""
    values, none = days.parts[part], _IDENTITY["min"]
    has = np.flatnonzero(values != none)
    follows = np.flatnonzero(np.diff(days.group[has]) == 0)
    row = has[follows + 1]
    change = values[row] - values[has[follows]]
    result: dict[str, np.ndarray] = {}
    for how in ("min", "max"):
        each = np.full(len(values), _IDENTITY[how])
        each[row] = change
        into = {window: np.empty(len(place.last), "int64") for window in windows}
        _extremes(how, each, place, into)
        result |= {f"{part}_{how}_{window}": out for window, out in into.items()}
    seen = (
        np.searchsorted(row, place.last) - 1
    )  # of all changes, the last before each request's end
    own = (seen >= 0) & (np.append(row, -1)[seen] >= place.first[ALL])
    result[f"{part}_last_{ALL}"] = np.where(own, np.append(change, none)[seen], none)
    return result


def _sums(values: np.ndarray, place: _Places, into: Mapping[str, np.ndarray]) -> None:
    total = np.zeros(len(values) + 1, "int64")
    np.cumsum(values, out=total[1:])
    upto = total[place.last]
    for window, out in into.items():
        np.take(
            total, place.first[window], out=out, mode="clip"
        )  # any mode but "raise" fills out directly
        np.subtract(upto, out, out=out)


def _extremes(how: str, values: np.ndarray, place: _Places, into: Mapping[str, np.ndarray]) -> None:
    """By a sparse table: row i of level k holds what rows i to i + 2^k - 1 reduce to."""
    reduce, rows = _REDUCE[how], len(values)
    longest = int((place.last - place.first[ALL]).max(initial=1))
    table = np.empty(
        (max(longest, 1).bit_length(), rows + 1), "int64"
    )  # only what is read is filled
    table[0, :rows], table[0, rows] = values, _IDENTITY[how]
    for level in range(1, len(table)):
        half = 1 << (level - 1)
        reduce(
            table[level - 1, : rows - half],
            table[level - 1, half:rows],
            out=table[level, : rows - half],
        )
    flat, other = table.ravel(), np.empty(len(place.last), "int64")
    for window, out in into.items():
        left, right = place.halves[window]
        np.take(flat, left, out=out, mode="clip")
        np.take(flat, right, out=other, mode="clip")
        reduce(out, other, out=out)
