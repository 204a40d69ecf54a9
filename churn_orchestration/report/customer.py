"""Who a customer is: its feature row of a day in the words of the catalogue, for any business."""

import datetime as dt
from typing import Any

from churn_orchestration.churn.features.catalogue import LOWERS, RAISES, worded
from churn_orchestration.report.history import became
from churn_orchestration.storage.warehouse import Tables, literal, quoted

Words = dict[str, dict[str, Any]]
LATELY = 90  # days; of the declared windows, the nearest to it shows what was of late
CHANGES = 4


def feature_row(
    tables: Tables, gold: str, key: str, entity: object, day: dt.date
) -> dict[str, Any]:
    """The features of a customer on a day; empty where gold has none."""
    result = tables.db.execute(
        f"select * exclude (as_of) from {gold} where as_of = {literal(day)} and {quoted(key)} = ?",
        [entity],
    )
    names = [column[0] for column in result.description]
    rows = result.fetchall()
    return dict(zip(names, rows[0], strict=True)) if rows else {}


def catalogue(tables: Tables, gold: str) -> Words:
    """The catalogue of a feature table by feature."""
    result = tables.db.execute(f"from {gold}_catalogue")
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return {row["feature"]: row for row in rows}


def feature_text(about: dict[str, Any], value: Any) -> str:
    """A feature's value in the words of its catalogue row."""
    unknown = about["null_phrase"] or f"{about['feature']} unknown"
    return worded(value, about["phrase"], unknown, about["zero_phrase"] or "")


def introduced(words: Words, row: dict[str, Any], day: dt.date) -> list[dict[str, Any]]:
    """What each source has of a customer: first and last activity, and what it did or is, in
    words.

    A source without ``days_since_last`` is one of attributes: all that is not 0 is shown.
    """
    sources = []
    for source in dict.fromkeys(about["source"] for about in words.values()):
        own = {
            name: about
            for name, about in words.items()
            if about["source"] == source and name in row
        }
        days = {end: row.get(f"{source}_days_since_{end}") for end in ("first", "last")}
        shown = _worth_telling(source, own, row)
        sources.append(
            {
                "source": source,
                "days_since_last": days["last"],
                **{
                    end: None if ago is None else day - dt.timedelta(days=int(ago))
                    for end, ago in days.items()
                },
                "features": {name: row[name] for name in shown},
                "words": list(dict.fromkeys(feature_text(own[name], row[name]) for name in shown)),
            }
        )
    return sources


def _worth_telling(source: str, own: Words, row: dict[str, Any]) -> list[str]:
    """Of attributes, what is not 0. Of events, the counts and sums so far and lately; a 0 if it has
    words.
    """
    last = f"{source}_days_since_last"
    if last not in own:
        return [name for name in own if row[name]]
    if row[last] is None:
        return [last]
    return [name for name in _so_far_and_lately(own) if row[name] or own[name]["zero_phrase"]]


def _so_far_and_lately(own: Words) -> list[str]:
    """The counts and sums of all time, and those of the window nearest to LATELY."""
    names = [
        name
        for name, about in own.items()
        if about["family"] in ("frequency", "value") and "_active_days_" not in name
    ]
    windows = {
        int(w.removesuffix("d")) for name in names if (w := own[name]["window"]).endswith("d")
    }
    near = min(windows, key=lambda days: (abs(days - LATELY), days), default=None)
    return [
        name for window in ("all", f"{near}d") for name in names if own[name]["window"] == window
    ]


def changed_features(
    words: Words, before: dict[str, Any], after: dict[str, Any], reasons: list[str]
) -> list[str]:
    """What changed in a customer between two days, in words: what the reasons name, then what
    changed most.

    One line a family of features, since the members of one say nearly the same.
    """
    spoken = {
        name: (feature_text(about, before[name]), feature_text(about, after[name]))
        for name, about in words.items()
        if name in before and name in after
    }
    named = {reason.removeprefix(RAISES).removeprefix(LOWERS) for reason in reasons}
    differ = [
        name
        for name, (old, new) in spoken.items()
        if old != new and not name.endswith("_days_since_first")  # a day more on every day
    ]
    differ.sort(key=lambda n: (not named & set(spoken[n]), -_relative(before[n], after[n])))
    of_family = {words[name]["family"]: name for name in reversed(differ)}
    return [became(*spoken[name]) for name in differ if name in of_family.values()][:CHANGES]


def _relative(before: object, after: object) -> float:
    """How much a number changed, from 0 to 1; anything else that changed, changed wholly."""
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(after - before) / (abs(after) + abs(before)) if after != before else 0.0
    return 1.0
