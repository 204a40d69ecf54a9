"""Pictures of campaigns: what a day's list gains and what more room would, and what was done so
far.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import (
    BLUE,
    DASHED,
    GREEN,
    INK,
    RED,
    Panel,
    days_below,
    number_of,
    picture,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STEPS = 120
VERDICTS = {"works": ("works", GREEN), "harms": ("harms", RED)}
OUTCOMES = {"leaves": ("Fewer who leave, % of all", 100), "spend": ("More spent by a customer", 1)}


def listed(
    name: str, day: dt.date, contacted: Sequence[float], waiting: Sequence[float]
) -> str | None:
    """What each contact of a day's list is expected to gain, and what the next ones would. None
    where nobody is worth one.

    ``contacted``, ``waiting``: gain less cost of each customer, those who come first first
    """
    gains = [*contacted, *waiting]
    if not gains:
        return None
    step = -(-len(gains) // MOST_STEPS)
    edges = [*range(0, len(gains), step), len(gains)]
    heights = [
        sum(gains[low:high]) / (high - low)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]  # fmt: skip
    total, more = sum(contacted), sum(waiting)
    message = f"{name} on {day}: {len(contacted):,} contacts gain {total:,.0f} after their cost"
    top = 1.3 * max(*heights, 1e-9)

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, edges, fill=True, color=BLUE, alpha=0.35)
        room = len(contacted)
        here = [n for n in range(len(heights)) if edges[n] < room]
        if here:
            inside = [min(edge, room) for edge in edges[: len(here) + 1]]
            axes.stairs(heights[: len(here)], inside, fill=True, color=BLUE, alpha=0.85)
        axes.axvline(room, color=INK, linewidth=1, linestyle=DASHED)
        words = f"{len(waiting):,} wait for room: {more:,.0f}" if waiting else "nobody waits"
        side = "right" if room > 0.6 * len(gains) else "left"
        write(axes, words, (room, 0.92 * top), (5, -3), INK, side)
        axes.set(title=message, xlim=(0, len(gains)), ylim=(min(0, *heights), top))
        axes.set(xlabel="customers, those who are worth most first; dashed: the room of the day")
        axes.set_ylabel("gain less cost, each")

    return picture(message, paint, left=0.1)


def effect(name: str, course: Sequence[Mapping[str, Any]]) -> str | None:
    """What a campaign has done by each day, with the interval that holds at every look. None where
    nothing can be said of any day.

    ``course``: of each ``measured_on`` and ``outcome`` the ``effect``, ``low``, ``high`` (None: too
    few outcomes) and ``verdict``; oldest first
    """
    known = [row for row in course if row["effect"] is not None]
    if not known:
        return None
    said = []

    def line(outcome: str) -> Panel:
        title, scale = OUTCOMES[outcome]
        rows = [row for row in known if row["outcome"] == outcome]
        word, color = VERDICTS.get(rows[-1]["verdict"], ("not known yet", INK))
        last = rows[-1]
        said.append(f"{outcome} {word}, {scale * last['effect']:+.1f}")

        def paint(axes: "Axes") -> None:
            days = [number_of(row["measured_on"]) for row in rows]
            low, value, high = (
                [scale * row[end] for row in rows] for end in ("low", "effect", "high")
            )
            axes.axhline(0, color=INK, linewidth=1, linestyle=DASHED)
            if len(days) > 1:
                axes.fill_between(days, low, high, color=color, alpha=0.2, linewidth=0)
                axes.plot(days, value, color=color)
            else:
                axes.vlines(days, low, high, color=color, alpha=0.4, linewidth=5)
                axes.plot(days, value, "o", color=color, markersize=5)
                axes.set_xlim(days[0] - 2, days[0] + 2)
            axes.set(title=f"{title}: {word}")
            axes.set_xlabel("shaded: 95 % at every look; above 0 is good")
            axes.margins(y=0.15)
            days_below(axes)

        return paint

    panels = [line(each) for each in OUTCOMES if any(row["outcome"] == each for row in known)]
    on = known[-1]["measured_on"]
    return picture(f"{name} by {on}: {'; '.join(said)}", *panels, height=3.2, left=0.08)
