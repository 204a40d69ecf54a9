"""Pictures of the business measures: churn rates, value at risk, retention of cohorts, movers."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import (
    BAND_COLORS,
    BLUE,
    DASHED,
    INK,
    RED,
    days_below,
    number_of,
    picture,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SEGMENTS, MOST_COHORTS, MOST_WORDS = 8, 12, 40


def churn_rate(question: str, course: Sequence[Mapping[str, Any]]) -> str | None:
    """Churn rates by as_of, as they came and as they are expected. None where there is none.

    ``course``: oldest first, as_of, is_expected, churn_rate, low and high (None: there is no interval)
    """
    if not course:
        return None
    last = {point["is_expected"]: point for point in course}
    words = [
        f"{100 * last[told]['churn_rate']:.1f} % {'expected of' if told else 'churned of'} "
        f"{last[told]['as_of']:%Y-%m-%d}"
        for told in (False, True)
        if told in last
    ]
    told = f"{question}: {', '.join(words)}"

    def paint(axes: "Axes") -> None:
        for is_expected, color, name in ((False, BLUE, "as it came"), (True, INK, "expected")):
            points = [p for p in course if p["is_expected"] == is_expected]
            if not points:
                continue
            days = [number_of(point["as_of"]) for point in points]
            rates = [100 * point["churn_rate"] for point in points]
            axes.plot(days, rates, "o", color=color, markersize=3)
            for day, point in zip(days, points, strict=True):
                if point["low"] is not None:
                    ends = (100 * point["low"], 100 * point["high"])
                    axes.plot((day, day), ends, color=color, alpha=0.3, linewidth=2.5)
            write(axes, name, (days[-1], rates[-1]), (0, 9), color, "right")
        axes.set(title=told, xlabel="as_of", ylabel="churn rate, %, bars: 95 % interval", ylim=(0, None))
        axes.margins(y=0.15)
        days_below(axes)

    return picture(told, paint, height=3)


def at_risk(question: str, day: dt.date, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Value at risk of a day by band, and of the segments in which most is at risk. None without customers.

    ``rows``: as of the table: feature, segment, band, customers, value_at_risk
    """
    [whole] = (row for row in rows if row["feature"] is None and row["band"] is None)
    if not whole["customers"]:
        return None
    by_band = {row["band"]: row for row in rows if row["band"] is not None}
    bands = [band for band in BAND_COLORS if band in by_band]
    segments = [row for row in rows if row["feature"] is not None]
    most = sorted(segments, key=lambda row: row["value_at_risk"])[-MOST_SEGMENTS:]
    told = (
        f"{question} {day}: {whole['value_at_risk']:,.0f} of {whole['value']:,.0f} at risk, "
        f"{whole['expected_churners']:,.0f} of {whole['customers']:,} expected to churn"
    )

    def bars(axes: "Axes", shown: Sequence[tuple[str, Mapping[str, Any], str]], title: str) -> None:
        sizes = [row["value_at_risk"] for _, row, _ in shown]
        axes.barh(range(len(shown)), sizes, color=[color for *_, color in shown], height=0.62)
        for place, (words, row, _) in enumerate(shown):
            label = f"{words}: {row['value_at_risk']:,.0f}, of {row['customers']:,}"
            write(axes, label, (row["value_at_risk"], place), (5, -3), INK)
        axes.set(title=title, yticks=[], xlim=(0, 2.6 * max(sizes) or 1))
        axes.set_xlabel("value at risk: sum of probability x recent value; of how many")

    def left(axes: "Axes") -> None:
        bars(axes, [(band, by_band[band], BAND_COLORS[band]) for band in bands], "Value at risk by band")

    def right(axes: "Axes") -> None:
        shown = [(f"{row['feature']} {row['segment']}", row, BLUE) for row in most]
        bars(axes, shown, "Segments with most at risk")

    return picture(told, left, *([right] if most else []), height=3.2)


def retention(question: str, noun: str, cells: Sequence[Mapping[str, Any]]) -> str | None:
    """Active customers by cohort and month: the newest cohorts, and all together. None where there is none.

    ``cells``: cohort (the first day of a month), age in months, customers and active
    """
    if not any(cell["age"] for cell in cells):
        return None
    shown = sorted({cell["cohort"] for cell in cells if cell["age"]})[-MOST_COHORTS:]
    of_age: dict[int, tuple[int, int]] = {}
    for cell in cells:
        active, customers = of_age.get(cell["age"], (0, 0))
        of_age[cell["age"]] = (active + cell["active"], customers + cell["customers"])
    ages = [age for age in sorted(of_age) if age]
    means = [100 * of_age[age][0] / of_age[age][1] for age in ages]
    top = max(100 * cell["active"] / cell["customers"] for cell in cells if cell["age"])
    told = f"{means[0]:.0f} % are active a month after their first {noun}"
    if len(ages) > 1:
        told += f", {means[-1]:.0f} % after {ages[-1]}"

    def heat(axes: "Axes") -> None:
        for cell in cells:
            if cell["cohort"] in shown and 0 < cell["age"] <= MOST_COHORTS:
                place, share = shown.index(cell["cohort"]), 100 * cell["active"] / cell["customers"]
                axes.barh(
                    place, 1, left=cell["age"] - 0.5, height=1, color=BLUE, alpha=0.85 * share / top or None
                )
        axes.set_yticks(range(len(shown)), [f"{cohort:%Y-%m}" for cohort in shown])
        axes.set(title=f"Active by cohort, darkest: {top:.0f} %", xlim=(0.5, MOST_COHORTS + 0.5))
        axes.set(xlabel=f"months since the first {noun}", ylabel=f"month of the first {noun}")
        axes.invert_yaxis()

    def mean(axes: "Axes") -> None:
        axes.plot(ages, means, "o-", color=BLUE, markersize=3)
        write(axes, f"{means[0]:.0f}", (ages[0], means[0]), (0, 6), BLUE)
        write(axes, f"{means[-1]:.0f}", (ages[-1], means[-1]), (0, 6), BLUE, "right")
        axes.set(title=told, xlabel=f"months since the first {noun}", ylabel="active, %, of all cohorts")
        axes.set_ylim(0, 1.2 * max(means) or 1)

    return picture(f"{question}: {told}", heat, mean, height=3.4, left=0.1)


def movers(question: str, day: dt.date, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Churn probabilities of those in whom they rose most, a week before and now. None where in nobody.

    ``rows``: who, before, now, reason (None: there is none) and forecaster_changed, the largest rise first
    """
    if not rows:
        return None
    first = rows[0]
    span = f"{100 * first['before']:.0f} to {100 * first['now']:.0f} %"
    told = f"{question} {day}: {first['who']} rose most, {span}"
    if first["forecaster_changed"]:
        told += "; the forecaster changed in between"

    def paint(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            before, now = 100 * row["before"], 100 * row["now"]
            axes.plot([before, now], [place, place], color=RED, alpha=0.45, linewidth=3)
            axes.plot([before], [place], "o", color=INK, markersize=5)
            axes.plot([now], [place], "o", color=RED, markersize=5)
            write(axes, (row["reason"] or "")[:MOST_WORDS], (now, place), (7, -3), INK)
        axes.axvline(100, color=INK, linewidth=0.5, linestyle=DASHED)
        axes.set_yticks(range(len(rows)), [str(row["who"]) for row in rows])
        axes.set(title=told, xlim=(0, 170), xticks=range(0, 101, 20))
        axes.set_xlabel("churn probability, %: grey a week before, red now; beside it what moved it most")
        axes.invert_yaxis()

    return picture(told, paint, height=1.1 + 0.25 * len(rows), left=0.14)
