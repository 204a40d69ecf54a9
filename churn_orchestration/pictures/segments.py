"""Pictures of segments: how many customers are in each, and over the days."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import (
    BLUE,
    INK,
    days_below,
    number_of,
    picture,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DAYS = 120


def segments(
    name: str, order: Sequence[str], course: Sequence[tuple[dt.date, str, int]]
) -> str | None:
    """The customers of each segment on the newest day, and over the days. None without any.

    Parameters
    ----------
    order : the segments, the first rule first
    course : day, segment, customers; oldest first
    """
    if not course:
        return None
    days = sorted({day for day, *_ in course})[-MOST_DAYS:]
    counts = {(day, segment): customers for day, segment, customers in course}
    last = {segment: counts.get((days[-1], segment), 0) for segment in order}
    total = sum(last.values())

    def sizes(axes: "Axes") -> None:
        places = range(len(order))
        axes.barh(places, [last[segment] for segment in order], color=BLUE, height=0.62)
        for place, segment in enumerate(order):
            words = f"{last[segment]:,} ({last[segment] / total:.0%})" if total else "0"
            write(axes, words, (last[segment], place), (5, -3), INK)
        axes.set_yticks(places, order)
        axes.invert_yaxis()
        axes.set(title=f"{name} on {days[-1]}", xlim=(0, 1.5 * max(last.values()) or 1))
        axes.set_xlabel("customers")
        axes.xaxis.set_major_formatter("{x:,.0f}")

    def shares(axes: "Axes") -> None:
        at = [number_of(day) for day in days]
        whole = [sum(counts.get((day, segment), 0) for segment in order) or 1 for day in days]
        floor = [0.0] * len(days)
        for n, segment in enumerate(order):
            part = [
                100 * counts.get((day, segment), 0) / of
                for day, of in zip(days, whole, strict=True)
            ]
            top = [low + each for low, each in zip(floor, part, strict=True)]
            shade = 0.5 - 0.4 * n / max(1, len(order) - 1)
            axes.fill_between(at, floor, top, color=BLUE, alpha=shade, linewidth=0, step="post")
            if part[-1] > 6:
                write(axes, segment, (at[-1], (floor[-1] + top[-1]) / 2), (4, -3), INK, "right")
            floor = top
        axes.set(title="Shares over the days", ylim=(0, 100), ylabel="% of customers")
        days_below(axes)

    panels = [sizes, shares] if len(days) > 2 else [sizes]
    return picture(
        f"{name} {days[-1]}: {total:,} customers in {len(order)} segments",
        *panels,
        height=1.1 + 0.28 * max(6, len(order)),
        left=0.22,
    )


def value_and_risk(name: str, day: dt.date, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Whom to keep: the mean risk and the mean value of each segment. None where none is forecast.

    ``rows``: segment, customers, churn_probability and recent_value, means; None: not forecast
    """
    shown = [row for row in rows if row["churn_probability"] is not None and row["recent_value"]]
    if not shown:
        return None
    most = max(row["customers"] for row in shown)

    def paint(axes: "Axes") -> None:
        for row in shown:
            at = (100 * row["churn_probability"], row["recent_value"])
            size = 40 + 900 * row["customers"] / most
            axes.scatter(*at, s=size, color=BLUE, alpha=0.35, linewidth=0)
            words, is_right = f"{row['segment']} ({row['customers']:,})", at[0] > 65
            away = size**0.5 / 2 + 3
            write(axes, words, at, (away, -3), INK, "right" if is_right else "left")
        axes.set(title=f"{name} on {day}: the upper right is to be kept", xlim=(0, 100))
        axes.set(xlabel="mean churn probability, %; area: customers", ylabel="mean recent value")
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.margins(y=0.2)

    alt = f"{name} {day}: mean risk and value of {len(shown)} segments"
    return picture(alt, paint, height=3.6, left=0.1)


def flows(
    name: str,
    order: Sequence[str],
    since: dt.date,
    day: dt.date,
    moved: Sequence[tuple[str, str, int]],
) -> str | None:
    """Who moved from which segment to which between two days. None where nobody did.

    Parameters
    ----------
    order : the segments, the first rule first
    moved : segment on ``since``, segment on ``day``, customers; of those who are in two
    """
    if not moved:
        return None
    counts = {(was, now): customers for was, now, customers in moved}
    shown = [one for one in order if any(one in pair for pair in counts)]
    most, total = max(counts.values()), sum(counts.values())

    def paint(axes: "Axes") -> None:
        from matplotlib.colors import to_rgba_array

        shades = [
            to_rgba_array([(BLUE, 0.6 * counts.get((was, now), 0) / most) for now in shown])
            for was in shown
        ]
        axes.imshow(shades, aspect="auto", interpolation="none")
        for (was, now), customers in counts.items():
            at = (shown.index(now), shown.index(was))
            write(axes, f"{customers:,}", at, (0, -3), INK, "center")
        numbers = [str(number) for number in range(1, len(shown) + 1)]
        axes.set_xticks(range(len(shown)), numbers)
        axes.set_yticks(
            range(len(shown)), [f"{one}  {n}" for one, n in zip(shown, numbers, strict=True)]
        )
        axes.set(title=f"{total:,} customers moved from {since} to {day}")
        axes.set(xlabel="to, by the number of the segment", ylabel="from")

    alt = f"{name}: {total:,} customers moved between segments from {since} to {day}"
    return picture(alt, paint, height=1.4 + 0.32 * max(4, len(shown)), left=0.23)
