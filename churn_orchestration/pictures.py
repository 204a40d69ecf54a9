"""Pictures for the UI: data in, one Markdown image out. No Dagster, no files; same data, same bytes."""

import base64
import datetime as dt
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Mid-tones: each holds a contrast of 4 on white and on the dark theme's near black.
INK, BLUE, RED, ORANGE, GREEN = "#74777d", "#2f7ad1", "#d8403c", "#b8650a", "#1f8556"
STYLE: Any = {
    "svg.hashsalt": "churn", "svg.fonttype": "none", "font.family": ["DejaVu Sans"], "font.size": 9,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlecolor": INK, "axes.titlepad": 10,
    "axes.linewidth": 0.8, "lines.linewidth": 1.8, "path.simplify_threshold": 0.5,
}  # fmt: skip
WIDTH = 7.8  # inches of 96 pixels: what the UI's dialog shows without scrolling
MOST_BARS, MOST_RULES, MOST_FAMILIES, OTHER = 120, 5, 6, "other rules"
SHARES_OF_GAIN = [5 * n for n in range(21)]  # as in churn.curves
BAND_COLORS = {"low": GREEN, "medium": INK, "high": ORANGE, "critical": RED}

Panel: TypeAlias = "Callable[[Axes], None]"


def _picture(alt: str, *panels: Panel, height: float = 2.7, left: float = 0.08) -> str:
    """Panels side by side as one SVG, written into Markdown; text stays text, so it is small and sharp."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        figure.subplots_adjust(left=left, right=0.97, bottom=0.5 / height, top=1 - 0.42 / height, wspace=0.25)
        for axes, paint in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            paint(axes)
        written = io.BytesIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(written.getvalue()).decode()})"


def rows_by_day(table: str, rows: Mapping[dt.date, int], refused: Sequence[dt.date] = ()) -> str | None:
    """Rows of a table by the day on which they landed; refused days are marked. None where nothing landed."""
    if not rows:
        return None
    days, totals, width = _binned(rows, min(rows), max([*rows, *refused]))
    heights = [total / (b - a) for total, a, b in zip(totals, days, days[1:], strict=False)]
    top = 1.12 * max(heights) or 1
    each = "a day" if width == 1 else f"a day (mean of {width} days)"
    newest = max(rows)
    told = f"{table}: {sum(rows.values()):,} rows, {rows[newest]:,} of them on {newest}"
    if refused:
        told += f"; {len(refused)} {'day' if len(refused) == 1 else 'days'} refused"

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, days, fill=True, color=BLUE, alpha=0.85)
        axes.set(title=told, ylabel=f"rows {each}", ylim=(0, top), xlim=(days[0], days[-1]))
        _day_axis(axes)
        for day in refused:
            axes.axvline(_number(day) + 0.5, color=RED, linewidth=1.2)
        if refused:
            last = max(refused)
            side = "right" if _number(last) > (days[0] + days[-1]) / 2 else "left"
            axes.text(_number(last) + 0.5, top, f" refused {last} ", color=RED, ha=side, va="top")

    return _picture(told, paint)


def quarantined_by_rule(source: str, counts: Sequence[tuple[dt.date, str, int]]) -> str | None:
    """Quarantined rows by day, a strip a rule, on one scale. None where nothing was ever quarantined."""
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
    binned = {strip: _binned(by_day, first, last, MOST_BARS // 2) for strip, by_day in by_rule.items()}
    tallest = max(max(heights) for _, heights, _ in binned.values())
    total = sum(totals.values())
    told = (
        f"{source}: {total:,} rows quarantined, most by {ranked[0]} ({100 * totals[ranked[0]] / total:.0f} %)"
    )

    def paint(axes: "Axes") -> None:
        for row, (days, heights, width) in enumerate(binned.values()):
            floor = len(strips) - 1 - row
            scaled = [floor + 0.85 * height / tallest for height in heights]
            axes.stairs(scaled, days, baseline=floor, fill=True, color=ORANGE)
            axes.axhline(floor, color=INK, linewidth=0.5)
            if max(heights) == tallest:
                peak = heights.index(tallest)
                each = "on one day" if width == 1 else f"in {width} days"
                side, at = ("right", days[peak]) if peak > len(heights) / 2 else ("left", days[peak + 1])
                axes.text(at, floor + 0.62, f" {tallest:,} rows {each} ", color=ORANGE, ha=side, fontsize=8)
        named = [f"{strip}\n{sum(by_rule[strip].values()):,} rows" for strip in reversed(strips)]
        axes.set_yticks([floor + 0.4 for floor in range(len(strips))], named)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(title=told, ylim=(0, len(strips)), xlim=(_number(first), _number(last) + 1))
        _day_axis(axes)

    return _picture(told, paint, height=1.1 + 0.5 * len(strips), left=0.24)


def churn_by_as_of(question: str, as_ofs: Sequence[Mapping[str, Any]]) -> str | None:
    """The churn rate of each as_of of a snapshot with its 95 % interval, and how many it was measured on.

    ``as_ofs``: of each ``as_of``, ``rows`` and ``churn_rate``. None where there is none.
    """
    if not as_ofs:
        return None
    from churn_orchestration.churn.curves import rate_interval

    names, rows = [str(entry["as_of"]) for entry in as_ofs], [entry["rows"] for entry in as_ofs]
    rates = [100 * entry["churn_rate"] for entry in as_ofs]
    low, high = rate_interval([r * entry["churn_rate"] for r, entry in zip(rows, as_ofs, strict=True)], rows)
    told = f"{question}: {rates[-1]:.1f} % of {rows[-1]:,} churned after {names[-1]}"
    places = range(len(as_ofs))

    def rate(axes: "Axes") -> None:
        axes.vlines(places, 100 * low, 100 * high, color=BLUE, alpha=0.55, linewidth=5)
        axes.plot(places, rates, "o", color=BLUE, markersize=5)
        for place in places:
            axes.annotate(
                f"{rates[place]:.1f}", (place, rates[place]), (7, -3), textcoords="offset points", color=BLUE
            )
        axes.set(title=told, ylabel="churn rate, %, with 95 % interval", ylim=(0, max(100 * high) * 1.15))

    def population(axes: "Axes") -> None:
        axes.bar(places, rows, color=GREEN, width=0.6)
        for place in places:
            axes.annotate(
                f"{rows[place]:,}",
                (place, rows[place]),
                (0, 2),
                textcoords="offset points",
                color=GREEN,
                ha="center",
            )
        axes.set(title="by as_of", ylabel="population, customers", ylim=(0, max(rows) * 1.15))

    def on(paint: Panel) -> Panel:
        def panel(axes: "Axes") -> None:
            paint(axes)
            axes.set_xlim(-0.6, len(names) - 0.3)
            axes.set_xticks(places, [name.replace("-", "-\n", 1) for name in names])

        return panel

    return _picture(told, on(rate), on(population), height=2.8)


def quality(record: Mapping[str, Any]) -> str | None:
    """Calibration and gain of a model on later days, from its record. None where no later day graded it."""
    curves = record["curves"]
    if not curves:
        return None
    bins, gain = curves["calibration"], curves["gain"]
    tests = ", ".join(fold["test"] for fold in record["evaluation"]["tests"])
    graded = sum(found["rows"] for found in bins)
    fifth = SHARES_OF_GAIN.index(20)
    found = f"The riskiest 20 % hold {100 * gain['model'][fifth]:.0f} % of churners"

    def calibration(axes: "Axes") -> None:
        forecast = [100 * b["mean_probability"] for b in bins]
        top = max(100 * max(b["high"] for b in bins), *forecast) * 1.05
        axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(top * 0.98, top * 0.88, "exactly as forecast ", color=INK, ha="right", va="top", fontsize=8)
        axes.vlines(
            forecast,
            [100 * b["low"] for b in bins],
            [100 * b["high"] for b in bins],
            color=BLUE,
            alpha=0.55,
            linewidth=5,
        )
        axes.plot(forecast, [100 * b["churn_rate"] for b in bins], "o", color=BLUE, markersize=5)
        axes.set(
            xlim=(0, top),
            ylim=(0, top),
            title=f"{graded:,} rows of later days, in tenths",
            xlabel="mean forecast, %",
            ylabel="churned, %, with 95 % interval",
        )

    def gains(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(SHARES_OF_GAIN, [100 * share for share in gain["rules"]], color=ORANGE)
        axes.plot(SHARES_OF_GAIN, [100 * share for share in gain["model"]], color=BLUE)
        axes.plot([20], [100 * gain["model"][fifth]], "o", color=BLUE)
        axes.text(62, 34, "by chance", color=INK, fontsize=8)
        axes.text(62, 24, "rules", color=ORANGE, fontsize=8)
        axes.text(62, 14, "model", color=BLUE, weight="bold", fontsize=8)
        axes.set(
            xlim=(0, 100),
            ylim=(0, 102),
            title=found,
            xlabel="customers called, riskiest first, %",
            ylabel="churners found, %",
        )

    return _picture(
        f"Calibration and gain on {graded} rows of later days ({tests}): {found}",
        calibration,
        gains,
        height=3.6,
    )


def influences(contributions: Sequence[Mapping[str, Any]]) -> str | None:
    """How far each family of features moves a forecast, strongest first, in log odds."""
    if not contributions:
        return None
    shown = contributions[:MOST_FAMILIES][::-1]
    sizes = [entry["mean_abs_log_odds"] for entry in shown]
    told = f"{shown[-1]['family']} moves a forecast most: by {sizes[-1]:.2f} in log odds on average"

    def paint(axes: "Axes") -> None:
        axes.barh(range(len(shown)), sizes, color=BLUE, height=0.62)
        for place, entry in enumerate(shown):
            axes.text(
                sizes[place],
                place,
                f"  {sizes[place]:.2f}  {entry['feature']}",
                va="center",
                color=INK,
                fontsize=8,
            )
        axes.set_yticks(range(len(shown)), [entry["family"] for entry in shown])
        axes.set(
            title=told,
            xlabel="mean absolute contribution, log odds of churn; beside it the family's strongest feature",
            xlim=(0, sizes[-1] * 1.6),
        )

    return _picture(told, paint, height=1.1 + 0.3 * len(shown), left=0.12)


def scores_by_band(
    question: str, day: dt.date, probabilities: Sequence[float], bands: Sequence[str]
) -> str | None:
    """How the forecasts of a day are spread, and how many lie in each band. None where nobody was scored."""
    if not len(probabilities):
        return None
    import numpy as np

    counts, edges = np.histogram(np.asarray(probabilities) * 100, bins=np.linspace(0, 100, 41))
    mean = 100 * float(np.mean(probabilities))
    told = f"{question} {day}: {mean:.1f} % of {len(probabilities):,} expected to churn"

    def paint(axes: "Axes") -> None:
        top = max(counts) * 1.3
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.85)
        for name, color in BAND_COLORS.items():
            inside = [100 * p for p, band in zip(probabilities, bands, strict=True) if band == name]
            if inside:
                axes.plot([min(inside), max(inside)], [top * 0.86] * 2, color=color, linewidth=3)
                axes.text(
                    (min(inside) + max(inside)) / 2,
                    top * 0.9,
                    f"{name} {len(inside):,}",
                    color=color,
                    ha="center",
                    weight="bold",
                )
        axes.set(
            title=told,
            xlabel="churn probability, %",
            ylabel="customers per 2.5 %",
            xlim=(0, 100),
            ylim=(0, top),
        )

    return _picture(told, paint)


def _binned(
    rows: Mapping[dt.date, int], first: dt.date, last: dt.date, most: int = MOST_BARS
) -> tuple[list[float], list[int], int]:
    """Edges, rows, and days a bin: so few bins that each can be seen; the newest bin is whole."""
    span = (last - first).days + 1
    width = next(days for days in (1, 7, 28, 91, span) if span <= days * most)
    bins = -(-span // width)
    totals = [0] * bins
    for day, count in rows.items():
        totals[bins - 1 - (last - day).days // width] += count
    edges = [max(_number(first), _number(last) + 1 - width * (bins - n)) for n in range(bins + 1)]
    return edges, totals, width


def _number(day: dt.date) -> float:
    """A day as matplotlib counts them."""
    return float((day - dt.date(1970, 1, 1)).days)


def _day_axis(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator

    first, last = axes.get_xlim()
    locator = DayLocator() if last - first < 8 else AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
