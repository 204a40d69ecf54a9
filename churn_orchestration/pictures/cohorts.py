"""A picture of a number by cohort and by how old the cohort is."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import BLUE, INK, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COHORTS, MOST_AGES = 12, 13
STRONGEST = 0.4
"""How opaque the largest number is: the words on it hold their contrast."""


def cohorts(
    mart: str,
    measure: str,
    key: Sequence[str],
    day: dt.date,
    cells: Sequence[tuple[Any, int, float | None]],
) -> str | None:
    """A number of each cohort in each period of its life, the newest cohorts. None without any.

    A number of a month that is not over on ``day`` is in brackets. Shades leave the first period
    out, in which all of a cohort are there.

    Parameters
    ----------
    measure : what is drawn; numbers that are all from 0 to 1 are read as shares
    key : the columns of the cohort and of the number of periods
    cells : cohort, number of periods since it began, value; None: there is none
    """
    drawn = {(cohort, age): value for cohort, age, value in cells if value is not None}
    if not drawn:
        return None
    all_cohorts = sorted({cohort for cohort, _ in drawn})
    shown = all_cohorts[-MOST_COHORTS:]
    ages = sorted({age for cohort, age in drawn if cohort in shown})[:MOST_AGES]
    drawn = {place: drawn[place] for place in drawn if place[0] in shown and place[1] in ages}
    is_share = all(0 <= value <= 1 for value in drawn.values())
    later = [value for (_, age), value in drawn.items() if age != ages[0]]
    top = max(later or drawn.values()) or 1
    is_monthly = all(isinstance(cohort, dt.date) and cohort.day == 1 for cohort in shown)
    words = measure.replace("_", " ")
    still = _open(drawn, day) if is_monthly else set()

    def paint(axes: "Axes") -> None:
        from matplotlib.colors import to_rgba_array

        shades = [
            [(BLUE, _shade(drawn.get((cohort, age)), top)) for age in ages] for cohort in shown
        ]
        axes.imshow([to_rgba_array(row) for row in shades], aspect="auto", interpolation="none")
        for (cohort, age), value in drawn.items():
            number = f"{100 * value:.0f}" if is_share else _short(value)
            text = f"({number})" if (cohort, age) in still else number
            at = ages.index(age), shown.index(cohort)
            axes.text(*at, text, color=INK, ha="center", va="center", fontsize=8)
        named = [f"{c:%Y-%m}" if is_monthly and isinstance(c, dt.date) else str(c) for c in shown]
        axes.set_yticks(range(len(shown)), named)
        axes.set_xticks(range(len(ages)), [str(age) for age in ages])
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        newest = f": the newest {len(shown)} of {len(all_cohorts)}"
        axes.set(
            title=f"{words}{', %,' if is_share else ''} by {key[0]}"
            f"{newest if len(all_cohorts) > len(shown) else ''}"
        )
        axes.set_ylabel(f"{key[0]}: who began then")
        note = "; in brackets: the month is not over" if still else ""
        axes.set_xlabel(f"{key[1]} of its life, {ages[0]} is that in which it began{note}")

    alt = f"{mart} {day}: {words} of {len(shown)} cohorts over {len(ages)} periods"
    return picture(alt, paint, height=1.1 + 0.22 * max(4, len(shown)), left=0.12)


def _open(drawn: Mapping[tuple[Any, int], float], day: dt.date) -> set[tuple[Any, int]]:
    """The cells of the month of a day, where that is not its last."""
    if (day + dt.timedelta(days=1)).day == 1:
        return set()
    return {
        (cohort, age)
        for cohort, age in drawn
        if isinstance(cohort, dt.date)
        and 12 * cohort.year + cohort.month + age == 12 * day.year + day.month
    }


def _shade(value: float | None, top: float) -> float:
    return 0.0 if value is None else STRONGEST * min(1.0, max(0.0, value / top))


def _short(value: float) -> str:
    """A number in four letters or so.

    >>> [_short(value) for value in (3.14159, 42.4, 940, 1_250, 9_990, 2_600_000)]
    ['3.1', '42', '940', '1.2k', '10k', '2.6M']
    """
    for edge, by, letter in ((1e6, 1e6, "M"), (1e3, 1e3, "k"), (0, 1, "")):
        if abs(value) >= edge:
            scaled = value / by
            return f"{scaled:.0f}{letter}" if abs(scaled) >= 9.95 else f"{scaled:.1f}{letter}"
    return str(value)
