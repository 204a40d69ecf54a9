"""Pictures of what landed: rows by day, and what was quarantined."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from churn_orchestration.pictures.canvas import (
    BLUE,
    INK,
    MOST_BARS,
    ORANGE,
    RED,
    days_below,
    in_bins,
    number_of,
    picture,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_RULES, OTHER = 5, "other rules"


def rows_by_day(
    table: str, rows: Mapping[dt.date, int], refused: Sequence[dt.date] = ()
) -> str | None:
    """Rows of a table by the day on which they landed; refused days are marked. None where nothing
    landed.
    """
    if not rows:
        return None
    edges, totals, width = in_bins(rows, min(rows), max([*rows, *refused]))
    heights = [total / (b - a) for total, a, b in zip(totals, edges, edges[1:], strict=False)]
    newest, top = max(rows), 1.12 * max(heights) or 1
    message = f"{table}: {sum(rows.values()):,} rows, {rows[newest]:,} of them on {newest}"
    if refused:
        message += f"; {len(refused)} {'day' if len(refused) == 1 else 'days'} refused"

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, edges, fill=True, color=BLUE, alpha=0.85)
        per = "rows a day" if width == 1 else f"rows a day, mean of {width} days"
        axes.set(title=message, ylabel=per, ylim=(0, top), xlim=(edges[0], edges[-1]))
        days_below(axes)
        for day in refused:
            axes.axvline(number_of(day) + 0.5, color=RED, linewidth=1.2)
        if refused:
            last = number_of(max(refused)) + 0.5
            side = "right" if last > (edges[0] + edges[-1]) / 2 else "left"
            write(axes, f"refused {max(refused)}", (last, top), (5, -9), RED, side)

    return picture(message, paint)


def quarantined_by_rule(source: str, counts: Sequence[tuple[dt.date, str, int]]) -> str | None:
    """Quarantined rows by day, a strip a rule, on one scale. None where nothing was ever
    quarantined.
    """
    totals: dict[str, int] = {}
    for _, rule, rows in counts:
        totals[rule] = totals.get(rule, 0) + rows
    if not totals:
        return None
    ranked = sorted(totals, key=lambda rule: (-totals[rule], rule))
    strips = ranked if len(ranked) <= MOST_RULES else [*ranked[: MOST_RULES - 1], OTHER]
    by_rule: dict[str, dict[dt.date, int]] = {strip: {} for strip in strips}
    for day, rule, rows in counts:
        of = by_rule[rule if rule in by_rule else OTHER]
        of[day] = of.get(day, 0) + rows
    first, last = min(day for day, *_ in counts), max(day for day, *_ in counts)
    binned = {
        strip: in_bins(by_day, first, last, MOST_BARS // 2) for strip, by_day in by_rule.items()
    }
    most = max(max(heights) for _, heights, _ in binned.values())
    total, leading = sum(totals.values()), ranked[0]
    message = (
        f"{source}: {total:,} rows quarantined, "
        f"most by {leading} ({100 * totals[leading] / total:.0f} %)"
    )

    def paint(axes: "Axes") -> None:
        names = []
        for floor, (strip, (edges, heights, width)) in enumerate(reversed(binned.items())):
            scaled = [floor + 0.85 * height / most for height in heights]
            axes.stairs(scaled, edges, baseline=floor, fill=True, color=ORANGE)
            axes.axhline(floor, color=INK, linewidth=0.5)
            per = "a day" if width == 1 else f"in {width} days"
            names.append(f"{strip}\n{sum(heights):,} rows, up to {max(heights):,} {per}")
        axes.set_yticks([floor + 0.4 for floor in range(len(names))], names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(title=message, ylim=(0, len(names)), xlim=(number_of(first), number_of(last) + 1))
        days_below(axes)

    return picture(message, paint, height=1.1 + 0.5 * len(strips), left=0.28)
