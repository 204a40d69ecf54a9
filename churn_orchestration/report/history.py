"""How one customer's risk moved over the scored days. Rows are dicts of a prediction, oldest
first.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
WIDEST = 60

Row = Mapping[str, Any]


def sparkline(probabilities: Sequence[float], widest: int = WIDEST) -> str:
    """One block a day on the scale 0 to 1; of more days than ``widest``, the mean of each stretch.

    >>> sparkline([0.0, 0.5, 1.0]), sparkline([0.0, 0.2, 0.9, 1.0], widest=2)
    ('▁▅█', '▁█')
    """
    stretches = min(len(probabilities), widest)
    edges = (
        [round(n * len(probabilities) / stretches) for n in range(stretches + 1)]
        if stretches
        else [0]
    )
    means = [sum(probabilities[a:b]) / (b - a) for a, b in pairwise(edges)]
    return "".join(BLOCKS[min(int(mean * len(BLOCKS)), len(BLOCKS) - 1)] for mean in means)


def band_since(rows: Sequence[Row]) -> Row:
    """The first row of the last unbroken stretch in the band of the last row."""
    since = rows[-1]
    for row in reversed(rows):
        if row["band"] != since["band"]:
            break
        since = row
    return since


def forecaster_changes(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The pairs of scored days between which another forecaster took over: that alone moves the
    number.
    """
    return [(a, b) for a, b in pairwise(rows) if a["model_version"] != b["model_version"]]


def largest_move(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The pair of scored days of one forecaster between which the risk moved most; None: it never
    moved.
    """
    pairs = [(a, b) for a, b in pairwise(rows) if a["model_version"] == b["model_version"]]
    most = max(pairs, key=_moved, default=None)
    return most if most and _moved(most) > 0 else None


def _moved(pair: tuple[Row, Row]) -> float:
    return abs(float(pair[1]["churn_probability"]) - float(pair[0]["churn_probability"]))


def became(before: str, after: str) -> str:
    """Two wordings of one thing as one line, without saying again what they share.

    >>> became("last order 12 days ago", "last order 45 days ago")
    'last order 12 days ago -> 45 days ago'
    >>> became("3 orders in the last 30 days", "2 orders in the last 30 days")
    '3 orders in the last 30 days -> 2'
    >>> became("no order yet", "last order 1 days ago")
    'no order yet -> last order 1 days ago'
    """
    old, new = before.split(), after.split()
    lead = _shared(old, new)
    end = _shared(old[lead:][::-1], new[lead:][::-1])
    kept = new[lead : len(new) - end] if end > 2 else new[lead:]
    return f"{before} -> {' '.join(kept or new)}"


def _shared(old: list[str], new: list[str]) -> int:
    """How many words two lists begin with alike."""
    pairs = zip(old, new, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def ordinal(number: int) -> str:
    """A rank in words.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 1102)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '1,102nd']
    """
    teens = number % 100 in (11, 12, 13)
    return f"{number:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
