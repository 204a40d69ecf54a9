"""Pictures of forecasts: their spread on a day, how they did, and what has drifted."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from churn_orchestration.pictures.canvas import (
    BAND_COLORS,
    BLUE,
    DASHED,
    INK,
    ORANGE,
    RED,
    Panel,
    days_below,
    number_of,
    picture,
    titled,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE_BINS = 40
BandSpan: TypeAlias = tuple[int, float, float]


def scores_by_band(
    question: str,
    day: dt.date,
    mean: float | None,
    counts: Mapping[int, int],
    bands: Mapping[str, BandSpan],
) -> str | None:
    """How the forecasts of a day spread, and how many lie in each band. None where nobody was
    scored.

    Parameters
    ----------
    mean : of the probabilities
    counts : customers by bin; bin n begins at n / SCORE_BINS
    bands : of each band, customers, lowest and highest probability
    """
    if mean is None:
        return None
    heights = [counts.get(n, 0) for n in range(SCORE_BINS)]
    edges = [100 * n / SCORE_BINS for n in range(SCORE_BINS + 1)]
    message = f"{question} {day}: {100 * mean:.1f} % of {sum(heights):,} expected to churn"
    top = 1.3 * max(heights)

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, edges, fill=True, color=BLUE, alpha=0.85)
        for name, (inside, low, high) in bands.items():
            color = BAND_COLORS[name]
            axes.plot((100 * low, 100 * high), (0.86 * top, 0.86 * top), color=color, linewidth=3)
            middle = 50 * (low + high)
            write(axes, f"{name} {inside:,}", (middle, 0.86 * top), (0, 4), color, "center")
        axes.set(title=message, xlabel="churn probability, %", ylabel="customers, bins of 2.5 %")
        axes.set(xlim=(0, 100), ylim=(0, top))

    return picture(message, paint)


def performance(question: str, course: Sequence[Mapping[str, Any]]) -> str | None:
    """AUC and churn rate by as_of: as expected from the forecasts, and as it came. None where there
    is none.

    ``course``: of each ``as_of`` and ``metric``, ``is_expected``, ``value``, ``low`` and ``high``.
    """
    if not course:
        return None
    by_day = {(p["as_of"], p["metric"], p["is_expected"]): p["value"] for p in course}
    message = "AUC; no outcome yet, so expected from the forecasts alone"
    if known := [day for day, metric, is_expected in by_day if metric == "auc" and not is_expected]:
        day = max(known)
        message = f"AUC of {day:%Y-%m-%d}: {by_day[day, 'auc', False]:.3f}"
        message += (
            f", expected {by_day[day, 'auc', True]:.3f}" if (day, "auc", True) in by_day else ""
        )

    def line(metric: str, scale: float, title: str) -> Panel:
        def paint(axes: "Axes") -> None:
            for is_expected, color, name in ((True, INK, "expected"), (False, BLUE, "as it came")):
                points = [
                    p for p in course if p["metric"] == metric and p["is_expected"] == is_expected
                ]
                if points:
                    days = [number_of(p["as_of"].date()) for p in points]
                    low, value, high = (
                        [scale * p[end] for p in points] for end in ("low", "value", "high")
                    )
                    axes.fill_between(days, low, high, color=color, alpha=0.2, linewidth=0)
                    axes.plot(days, value, color=color, linestyle=DASHED if is_expected else "-")
                    write(axes, name, (days[-1], value[-1]), (0, 8), color, "right")
            axes.set(title=title, xlabel="as_of; shaded: 95 % interval")
            days_below(axes)

        return paint

    rate = line("base_rate", 100, "Churn rate, %")
    return picture(f"{question}: {message}", line("auc", 1, message), rate, height=3.2)


def drift(
    question: str, day: dt.date, features: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> str | None:
    """How far features are from those trained on, in shares of what is usual; the furthest is
    first.

    ``titles``: the features in words, by name.
    """
    if not features:
        return None
    alarmed = [result for result in features if result["alarm"]]
    message = (
        f"{question} {day}: {len(alarmed)} alarms"
        if alarmed
        else f"{question} {day}: no drift beyond the usual"
    )
    shares = [result["value"] / result["usual_up_to"] for result in features][::-1]
    colors = {"harmful": RED, "open": RED, "harmless": ORANGE, "steady": BLUE}

    def paint(axes: "Axes") -> None:
        axes.barh(
            range(len(shares)),
            shares,
            height=0.62,
            color=[colors[f["verdict"]] for f in features[::-1]],
        )
        axes.axvline(1, color=INK, linewidth=1, linestyle=DASHED)
        for place, result in enumerate(features[::-1]):
            words = f"{result['measure'].upper()} {result['value']:.3f}"
            if result["alarm"]:
                words += f", {result['verdict']}: scores {result['effect']:+.2f} log odds"
            write(axes, words, (shares[place], place), (5, -3), INK)
        axes.set_yticks(
            range(len(shares)), [titled(titles, result["feature"]) for result in features[::-1]]
        )
        axes.set(title=message, xlim=(0, 1.8 * max(1, *shares)))
        axes.set_xlabel("distance from the training snapshot, in shares of what is usual (dashed)")

    return picture(message, paint, height=1.1 + 0.33 * len(features), left=0.38)
