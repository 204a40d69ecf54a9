"""Pictures of the business measures: churn rates, value at risk, retention of cohorts, movers."""

import datetime as dt
from collections.abc import Mapping, Sequence
from math import nan
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import (
    BAND_COLORS,
    BLUE,
    INK,
    RED,
    days_below,
    number_of,
    picture,
    titled,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MONTHS, RECENT_DAYS, MOST_POINTS = 36, 90, 90
MOST_SEGMENTS, MOST_COHORTS, MOST_LETTERS = 8, 12, 46


def churn_rate(question: str, course: Sequence[Mapping[str, Any]]) -> str | None:
    """Churn rates as they came, by month, and of late next to what was expected. None where there
    is none.

    ``course``: oldest first, as_of, is_expected, churn_rate, low and high (None: there is no
    interval)
    """
    if not course:
        return None
    came = [point for point in course if not point["is_expected"]]
    by_month = list({point["as_of"].replace(day=1): point for point in came}.values())[
        -MOST_MONTHS:
    ]
    last = {point["is_expected"]: point for point in course}
    since = min(point["as_of"] for point in last.values()) - dt.timedelta(days=RECENT_DAYS)
    since = max(since, next((point["as_of"] for point in course if point["is_expected"]), since))
    titles = {
        is_expected: f"{100 * point['churn_rate']:.1f} % {word} of {point['as_of']}"
        for is_expected, word in ((False, "churned"), (True, "expected"))
        if (point := last.get(is_expected))
    }

    def months(axes: "Axes") -> None:
        days, rates, low, high = _columns(by_month)
        axes.vlines(days, low, high, color=BLUE, alpha=0.45, linewidth=4)
        axes.plot(days, rates, "o", color=BLUE, markersize=4)
        axes.set(title=titles.get(False, "No outcome is known yet"), ylim=(0, None))
        axes.set(xlabel="last as_of of each month", ylabel="churn rate, %, 95 % interval")
        days_below(axes)

    def of_late(axes: "Axes") -> None:
        for is_expected, color, name in ((True, INK, "expected"), (False, BLUE, "as it came")):
            points = [p for p in course if p["is_expected"] == is_expected and p["as_of"] >= since]
            if points:
                step = -(-len(points) // MOST_POINTS)
                days, rates, low, high = _columns(points[::-step])
                axes.fill_between(days, low, high, color=color, alpha=0.2, linewidth=0)
                axes.plot(days, rates, "-" if len(points) > 1 else "o", color=color)
                write(axes, name, (days[0], rates[0]), (0, 8), color, "right")
        axes.set(title=titles.get(True, "Nothing is expected yet"), ylabel="churn rate, %")
        axes.set_xlabel("as_of; shaded: 95 % interval")
        axes.margins(y=0.2)
        days_below(axes)

    return picture(f"{question}: {', '.join(titles.values())}", months, of_late, height=3.2)


def _columns(points: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Days, rates in percent and the ends of their intervals, nan where there is none."""
    ends = [
        [nan if point[end] is None else 100 * point[end] for point in points]
        for end in ("churn_rate", "low", "high")
    ]
    return [[number_of(point["as_of"]) for point in points], *ends]


def at_risk(
    question: str,
    day: dt.date,
    rows: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    unit: str,
) -> str | None:
    """Value at risk of a day by band, and of the segments in which most is at risk. None without
    customers.

    ``rows``: as of the table: feature, segment, band, customers, expected_churners, value,
    value_at_risk
    titles : the features in words, by name; unit : of the value, such as usd
    """
    [whole] = (row for row in rows if row["feature"] is None and row["band"] is None)
    if not whole["customers"]:
        return None
    by_band = {row["band"]: row for row in rows if row["band"]}
    segments = sorted((row for row in rows if row["feature"]), key=lambda row: row["value_at_risk"])
    shown = [
        (titled(titles, row["feature"], row["segment"]), row, BLUE)
        for row in segments[-MOST_SEGMENTS:]
    ]
    shown += [
        (name, by_band[name], color) for name, color in BAND_COLORS.items() if name in by_band
    ]
    of = f" {unit}" if unit else ""
    message = (
        f"{question} {day}: {whole['value_at_risk']:,.0f} of {whole['value']:,.0f}{of} at risk"
    )
    people = f"{whole['expected_churners']:,.0f} of {whole['customers']:,} expected to churn"

    def paint(axes: "Axes") -> None:
        places, colors = range(len(shown)), [color for *_, color in shown]
        for name, alpha in (("value", 0.25), ("value_at_risk", 1.0)):
            axes.barh(
                places, [row[name] for _, row, _ in shown], color=colors, height=0.62, alpha=alpha
            )
        for place, (_, row, _) in enumerate(shown):
            words = (
                f"{row['value_at_risk']:,.0f} of {row['value']:,.0f}{of}, "
                f"{row['customers']:,} customers"
            )
            write(axes, words, (row["value"], place), (5, -3), INK)
        axes.set_yticks(places, [words for words, *_ in shown])
        axes.set(title=message, xlim=(0, 1.9 * max(row["value"] for _, row, _ in shown) or 1))
        axes.set_xlabel(
            f"recent value{unit and ', '}{unit}; solid: at risk, the sum of probability x recent "
            "value"
        )
        axes.xaxis.set_major_formatter("{x:,.0f}")

    return picture(f"{message}, {people}", paint, height=1.1 + 0.33 * len(shown), left=0.38)


def retention(question: str, noun: str, cells: Sequence[Mapping[str, Any]]) -> str | None:
    """Active customers by cohort and month: the newest cohorts, and all together. None where there
    is none.

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
    message = f"{means[0]:.0f} % active a month later"
    if len(ages) > 1:
        message += f", {means[-1]:.0f} % after {ages[-1]}"

    def heat(axes: "Axes") -> None:
        from matplotlib.colors import to_rgba_array

        shades = [[(BLUE, 0.0)] * MOST_COHORTS for _ in shown]
        for cell in cells:
            if cell["cohort"] in shown and 0 < cell["age"] <= MOST_COHORTS:
                share = 100 * cell["active"] / cell["customers"]
                shades[shown.index(cell["cohort"])][cell["age"] - 1] = (BLUE, share / (top or 1))
        extent = (0.5, MOST_COHORTS + 0.5, len(shown) - 0.5, -0.5)
        axes.imshow(
            [to_rgba_array(row) for row in shades],
            aspect="auto",
            interpolation="none",
            extent=extent,
        )
        axes.set_yticks(range(len(shown)), [f"{cohort:%Y-%m}" for cohort in shown])
        axes.set(title=f"Active by cohort, strongest blue: {top:.0f} %")
        axes.set(xlabel=f"months since the first {noun}", ylabel=f"month of the first {noun}")

    def mean(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        axes.plot(ages, means, "o-", color=BLUE, markersize=3)
        write(axes, f"{means[0]:.0f}", (ages[0], means[0]), (0, 6), BLUE)
        write(axes, f"{means[-1]:.0f}", (ages[-1], means[-1]), (0, 6), BLUE, "right")
        axes.set(title=message, xlabel=f"months since the first {noun}")
        axes.set_ylabel("active, %, of all cohorts of that age")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylim(0, 1.2 * max(means) or 1)

    return picture(f"{question}: {message}", heat, mean, height=3.4, left=0.12)


def movers(question: str, day: dt.date, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Churn probabilities of those in whom they rose most, a week before and now. None where in
    nobody.

    ``rows``: who, before, now, reason (None: there is none) and forecaster_changed, the largest
    rise first
    """
    if not rows:
        return None
    first = rows[0]
    span = f"{100 * first['before']:.0f} to {100 * first['now']:.0f} %"
    message = f"{question} {day}: {first['who']} rose most, {span}"
    if first["forecaster_changed"]:
        message += "; the forecaster changed"

    def paint(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            before, now = 100 * row["before"], 100 * row["now"]
            axes.plot([before, now], [place, place], color=RED, alpha=0.45, linewidth=3)
            axes.plot([before], [place], "o", color=INK, markersize=5)
            axes.plot([now], [place], "o", color=RED, markersize=5)
            words = shorten(row["reason"] or "", MOST_LETTERS, placeholder=" ...")
            write(axes, words, (now, place), (7, -3), INK)
        axes.set_yticks(range(len(rows)), [str(row["who"]) for row in rows])
        axes.set(title=message, xlim=(0, 170), xticks=range(0, 101, 20))
        axes.set_xlabel(
            "churn probability, %: grey a week before, red now; next to it what moved it most"
        )
        axes.invert_yaxis()

    return picture(message, paint, height=1.1 + 0.25 * len(rows), left=0.14)
