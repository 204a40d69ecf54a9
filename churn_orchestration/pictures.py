"""Pictures for the UI: data in, one Markdown image out. No Dagster, no files; same data, same bytes."""

import base64
import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Mid-tones: each holds a contrast of 4 on white and on the dark theme's near black.
INK, BLUE, RED, ORANGE, GREEN = "#74777d", "#2f7ad1", "#d8403c", "#b8650a", "#1f8556"
BAND_COLORS = {"low": GREEN, "medium": INK, "high": ORANGE, "critical": RED}
STYLE: Any = {
    "svg.hashsalt": "churn", "svg.fonttype": "none", "font.family": ["DejaVu Sans"], "font.size": 9,
    "text.color": INK, "text.parse_math": False, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlecolor": INK,
    "axes.titlepad": 10, "axes.linewidth": 0.8, "lines.linewidth": 1.8,
}  # fmt: skip
WIDTH = 7.8  # inches of 96 pixels: what the UI's dialog shows without scrolling
MOST_BARS, MOST_RULES, MOST_FAMILIES, MOST_SEGMENTS, OTHER = 120, 5, 6, 10, "other rules"
SHARES = range(0, 101, 5)  # of the gain curve, see churn.curves
DASHED = (0, (4, 3))

SCORE_BINS = 40
BandSpan: TypeAlias = tuple[int, float, float]
Panel: TypeAlias = "Callable[[Axes], None]"


def rows_by_day(table: str, rows: Mapping[dt.date, int], refused: Sequence[dt.date] = ()) -> str | None:
    """Rows of a table by the day on which they landed; refused days are marked. None where nothing landed."""
    if not rows:
        return None
    edges, totals, width = _binned(rows, min(rows), max([*rows, *refused]))
    heights = [total / (b - a) for total, a, b in zip(totals, edges, edges[1:], strict=False)]
    newest, top = max(rows), 1.12 * max(heights) or 1
    told = f"{table}: {sum(rows.values()):,} rows, {rows[newest]:,} of them on {newest}"
    if refused:
        told += f"; {len(refused)} {'day' if len(refused) == 1 else 'days'} refused"

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, edges, fill=True, color=BLUE, alpha=0.85)
        per = "rows a day" if width == 1 else f"rows a day, mean of {width} days"
        axes.set(title=told, ylabel=per, ylim=(0, top), xlim=(edges[0], edges[-1]))
        _days_below(axes)
        for day in refused:
            axes.axvline(_number(day) + 0.5, color=RED, linewidth=1.2)
        if refused:
            last = _number(max(refused)) + 0.5
            side = "right" if last > (edges[0] + edges[-1]) / 2 else "left"
            _write(axes, f"refused {max(refused)}", (last, top), (5, -9), RED, side)

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
    most = max(max(heights) for _, heights, _ in binned.values())
    total, leading = sum(totals.values()), ranked[0]
    told = f"{source}: {total:,} rows quarantined, most by {leading} ({100 * totals[leading] / total:.0f} %)"

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
        axes.set(title=told, ylim=(0, len(names)), xlim=(_number(first), _number(last) + 1))
        _days_below(axes)

    return _picture(told, paint, height=1.1 + 0.5 * len(strips), left=0.28)


def churn_by_as_of(question: str, as_ofs: Sequence[Mapping[str, Any]]) -> str | None:
    """The churn rate of each as_of of a snapshot with its 95 % interval, and how many it was measured on.

    ``as_ofs``: of each ``as_of``, ``rows`` and ``churn_rate``. None where there is none.
    """
    if not as_ofs:
        return None
    from churn_orchestration.churn.curves import rate_interval

    names, rows = [str(entry["as_of"]) for entry in as_ofs], [entry["rows"] for entry in as_ofs]
    rates, places = [entry["churn_rate"] for entry in as_ofs], range(len(as_ofs))
    low, high = rate_interval([n * rate for n, rate in zip(rows, rates, strict=True)], rows)
    found = f"{100 * rates[-1]:.1f} % churned, as_of {names[-1]}"

    def churned(axes: "Axes") -> None:
        _dots(axes, places, rates, low, high)
        for place in places:
            _write(axes, f"{100 * rates[place]:.1f}", (place, 100 * rates[place]), (7, -3), BLUE)
        axes.set(title=found, ylabel="churn rate, %, 95 % interval", ylim=(0, 115 * max(high)))
        _as_ofs_below(axes, names)

    def population(axes: "Axes") -> None:
        axes.bar(places, rows, color=GREEN, width=0.6)
        for place in places:
            _write(axes, f"{rows[place]:,}", (place, rows[place]), (0, 2), GREEN, "center")
        axes.set(title="Population by as_of", ylabel="rows", ylim=(0, 1.15 * max(rows)))
        _as_ofs_below(axes, names)

    return _picture(f"{question}: {found}, of {rows[-1]:,}", churned, population, height=2.8)


def quality(record: Mapping[str, Any]) -> str | None:
    """Calibration and gain of a model on held-out rows, from its record. None where nothing graded it."""
    if not record["curves"]:
        return None
    bins, gains = record["curves"]["calibration"], record["curves"]["gain"]
    held_out = f"{sum(found['rows'] for found in bins):,} held-out rows"
    caveat = record["evaluation"].get("caveat")
    asked = f"Churned as forecast? {held_out}" if not caveat else f"{held_out}, not out of time: as forecast?"
    found = f"The riskiest 20 % hold {100 * gains['model'][SHARES.index(20)]:.0f} % of churners"

    def calibration(axes: "Axes") -> None:
        forecast, rate, low, high = (
            [found[name] for found in bins] for name in ("mean_probability", "churn_rate", "low", "high")
        )
        top = 105 * max(*high, *forecast)
        axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle=DASHED)
        _write(axes, "dashed: exactly as forecast", (top, 0), (0, 6), INK, "right")
        _dots(axes, [100 * p for p in forecast], rate, low, high)
        axes.set(title=asked, xlim=(0, top), ylim=(0, top))
        axes.set(xlabel="mean forecast of each tenth, %", ylabel="churned, %, 95 % interval")

    def gain(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=DASHED)
        for name, color, height in (("rules", ORANGE, 24), ("model", BLUE, 14)):
            if name in gains:
                axes.plot(SHARES, [100 * share for share in gains[name]], color=color)
                _write(axes, name, (62, height), (0, 0), color)
        _write(axes, "dashed: by chance", (62, 34), (0, 0), INK)
        axes.plot([20], [100 * gains["model"][SHARES.index(20)]], "o", color=BLUE)
        axes.set(title=found, xlim=(0, 100), ylim=(0, 102))
        axes.set(xlabel="customers, riskiest first, %", ylabel="churners found, %")

    tests = ", ".join(fold["test"] for fold in record["evaluation"]["tests"])
    return _picture(
        f"Calibration and gain on {held_out} ({caveat or tests}): {found}", calibration, gain, height=3.6
    )


def worth(record: Mapping[str, Any]) -> str | None:
    """Lift and profit of contacting the riskiest, from a model's record. None where nothing graded it."""
    if not record["curves"]:
        return None
    gains, earned = record["curves"]["gain"], record["profit"]
    lifts = {
        name: [g / (s / 100) for g, s in zip(gain, SHARES, strict=True) if s] for name, gain in gains.items()
    }
    best = max(earned["model"]["curve"])
    share = SHARES[earned["model"]["curve"].index(best)]
    told = f"Contacting the riskiest {share} % earns most" if share else "Contacting nobody loses least"

    def lift(axes: "Axes") -> None:
        axes.axhline(1, color=INK, linewidth=1, linestyle=DASHED)
        for name, color in (("rules", ORANGE), ("model", BLUE)):
            if name in lifts:
                axes.plot(SHARES[1:], lifts[name], color=color)
        axes.set(title=f"The riskiest 10 % churn {lifts['model'][1]:.2f} times as often", xlim=(0, 100))
        axes.set(xlabel="customers, riskiest first, %", ylabel="churn rate over that of all", ylim=(0, None))

    def profit(axes: "Axes") -> None:
        axes.axhline(0, color=INK, linewidth=1, linestyle=DASHED)
        for name, color, height in (("rules", ORANGE, 0.34), ("model", BLUE, 0.24)):
            if name in earned:
                axes.plot(SHARES, earned[name]["curve"], color=color)
                _write(axes, name, (62, height * best), (0, 0), color)
        axes.plot([share], [best], "o", color=BLUE)
        axes.set(title=told, xlim=(0, 100))
        axes.set(xlabel="customers contacted, riskiest first, %", ylabel="profit, of a customer's value")

    return _picture(f"Lift and profit: {told}, {best:.3f} a customer", lift, profit, height=3.6)


def learning(record: Mapping[str, Any]) -> str | None:
    """Log loss by number of customers learned from, and what is known of segments; None without."""
    curve = record["evaluation"].get("learning", [])
    segments = [found for found in record.get("segments", []) if "skill" in found][:MOST_SEGMENTS][::-1]
    if len(curve) < 2 or not segments:
        return None
    few, all_ = ((point["entities"], point["log_loss"]["value"]) for point in (curve[0], curve[-1]))
    told = f"{all_[0]:,} customers: log loss {all_[1]:.3f}; {few[0]:,} of them: {few[1]:.3f}"
    worst = segments[-1]

    def losses(axes: "Axes") -> None:
        known = [point["entities"] for point in curve]
        low, value, high = ([point["log_loss"][end] for point in curve] for end in ("low", "value", "high"))
        axes.vlines(known, low, high, color=BLUE, alpha=0.55, linewidth=5)
        axes.plot(known, value, "o-", color=BLUE, markersize=5)
        axes.set(title="Would more customers help?", xlim=(0, 1.05 * known[-1]))
        axes.set(xlabel="customers learned from", ylabel="log loss, 95 % interval")

    def skill(axes: "Axes") -> None:
        sizes = [100 * found["skill"] for found in segments]
        axes.barh(range(len(sizes)), sizes, color=[RED if size < 0 else BLUE for size in sizes], height=0.62)
        for place, found in enumerate(segments):
            words = f"{found['feature']} {found['segment']}"
            _write(axes, words, (max(sizes[place], 0), place), (5, -3), INK)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(title="Least is known of these", yticks=[], xlim=(min(0, *sizes), 4.2 * max(1, *sizes)))
        axes.set_xlabel("log loss taken off the segment's own rate, %")

    alt = f"Learning curve and segments: {told}; least is known of {worst['feature']} {worst['segment']}"
    return _picture(alt, losses, skill, height=3.6)


def influences(families: Sequence[Mapping[str, Any]]) -> str | None:
    """How far each family of features moves a forecast, in log odds; ``families`` has the strongest first."""
    if not families:
        return None
    shown = families[:MOST_FAMILIES][::-1]
    sizes = [entry["mean_abs_log_odds"] for entry in shown]
    told = f"{shown[-1]['family']} moves a forecast most: by {sizes[-1]:.2f} in log odds on average"

    def paint(axes: "Axes") -> None:
        axes.barh(range(len(shown)), sizes, color=BLUE, height=0.62)
        for place, entry in enumerate(shown):
            _write(axes, f"{sizes[place]:.2f}   {entry['feature']}", (sizes[place], place), (5, -3), INK)
        axes.set_yticks(range(len(shown)), [entry["family"] for entry in shown])
        axes.set(title=told, xlim=(0, 1.6 * sizes[-1] or 1))
        axes.set_xlabel("mean absolute contribution of the family, log odds; beside it its strongest feature")

    return _picture(told, paint, height=1.1 + 0.3 * len(shown), left=0.12)


def scores_by_band(
    question: str, day: dt.date, mean: float | None, counts: Mapping[int, int], bands: Mapping[str, BandSpan]
) -> str | None:
    """How the forecasts of a day spread, and how many lie in each band. None where nobody was scored.

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
    told = f"{question} {day}: {100 * mean:.1f} % of {sum(heights):,} expected to churn"
    top = 1.3 * max(heights)

    def paint(axes: "Axes") -> None:
        axes.stairs(heights, edges, fill=True, color=BLUE, alpha=0.85)
        for name, (inside, low, high) in bands.items():
            color = BAND_COLORS[name]
            axes.plot((100 * low, 100 * high), (0.86 * top, 0.86 * top), color=color, linewidth=3)
            middle = 50 * (low + high)
            _write(axes, f"{name} {inside:,}", (middle, 0.86 * top), (0, 4), color, "center")
        axes.set(title=told, xlabel="churn probability, %", ylabel="customers, bins of 2.5 %")
        axes.set(xlim=(0, 100), ylim=(0, top))

    return _picture(told, paint)


def performance(question: str, course: Sequence[Mapping[str, Any]]) -> str | None:
    """AUC and churn rate by as_of: as expected from the forecasts, and as it came. None where there is none.

    ``course``: of each ``as_of`` and ``metric``, ``is_expected``, ``value``, ``low`` and ``high``.
    """
    if not course:
        return None
    by_day = {(p["as_of"], p["metric"], p["is_expected"]): p["value"] for p in course}
    told = "no outcome is known yet: expected from the forecasts alone"
    if known := [day for day, metric, is_expected in by_day if metric == "auc" and not is_expected]:
        day = max(known)
        told = f"AUC of {day:%Y-%m-%d}: {by_day[day, 'auc', False]:.3f}"
        told += f", expected {by_day[day, 'auc', True]:.3f}" if (day, "auc", True) in by_day else ""

    def line(metric: str, scale: float, title: str) -> Panel:
        def paint(axes: "Axes") -> None:
            for is_expected, color, name in ((True, INK, "expected"), (False, BLUE, "as it came")):
                points = [p for p in course if p["metric"] == metric and p["is_expected"] == is_expected]
                if points:
                    days = [_number(p["as_of"].date()) for p in points]
                    low, value, high = ([scale * p[end] for p in points] for end in ("low", "value", "high"))
                    axes.fill_between(days, low, high, color=color, alpha=0.2, linewidth=0)
                    axes.plot(days, value, color=color, linestyle=DASHED if is_expected else "-")
                    _write(axes, name, (days[-1], value[-1]), (0, 8), color, "right")
            axes.set(title=title, xlabel="as_of; shaded: 95 % interval")
            _days_below(axes)

        return paint

    rate = line("base_rate", 100, "Churn rate, %")
    return _picture(f"{question}: {told}", line("auc", 1, told), rate, height=3.2)


def drift(question: str, day: dt.date, features: Sequence[Mapping[str, Any]]) -> str | None:
    """How far features are from those trained on, in shares of what is usual; the furthest is first."""
    if not features:
        return None
    alarmed = [found for found in features if found["alarm"]]
    told = (
        f"{question} {day}: {len(alarmed)} alarms"
        if alarmed
        else f"{question} {day}: no drift beyond the usual"
    )
    shares = [found["value"] / found["usual_up_to"] for found in features][::-1]
    colors = {"harmful": RED, "harmless": ORANGE, "steady": BLUE}

    def paint(axes: "Axes") -> None:
        axes.barh(
            range(len(shares)), shares, height=0.62, color=[colors[f["verdict"]] for f in features[::-1]]
        )
        axes.axvline(1, color=INK, linewidth=1, linestyle=DASHED)
        for place, found in enumerate(features[::-1]):
            words = f"{found['measure'].upper()} {found['value']:.3f}"
            if found["alarm"]:
                words += f", {found['verdict']}: scores {found['effect']:+.2f} log odds"
            _write(axes, words, (shares[place], place), (5, -3), INK)
        axes.set_yticks(range(len(shares)), [found["feature"] for found in features[::-1]])
        axes.set(title=told, xlim=(0, 1.8 * max(1, *shares)))
        axes.set_xlabel("distance from the training snapshot, in shares of what is usual (dashed)")

    return _picture(told, paint, height=1.1 + 0.3 * len(features), left=0.3)


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
    plain = alt.translate(str.maketrans("[]\n", "() "))
    return f"![{plain}](data:image/svg+xml;base64,{base64.b64encode(written.getvalue()).decode()})"


def _write(
    axes: "Axes", text: str, at: tuple[float, float], by: tuple[float, float], color: str, side: str = "left"
) -> None:
    """A label beside a point of the data, ``by`` points away from it."""
    away = (-by[0] if side == "right" else by[0], by[1])
    axes.annotate(text, at, away, textcoords="offset points", color=color, ha=side, fontsize=8)


def _dots(
    axes: "Axes", x: Sequence[float], rate: Sequence[float], low: Iterable[float], high: Iterable[float]
) -> None:
    """Rates in percent, each on the bar of its interval."""
    axes.vlines(
        x, [100 * end for end in low], [100 * end for end in high], color=BLUE, alpha=0.55, linewidth=5
    )
    axes.plot(x, [100 * value for value in rate], "o", color=BLUE, markersize=5)


def _as_ofs_below(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), [name.replace("-", "-\n", 1) for name in names])
    axes.set_xlim(-0.6, len(names) - 0.3)


def _days_below(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator

    first, last = axes.get_xlim()
    locator = DayLocator() if last - first < 8 else AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


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
    return (
        [max(_number(first), _number(last) + 1 - width * (bins - n)) for n in range(bins + 1)],
        totals,
        width,
    )


def _number(day: dt.date) -> float:
    """A day as matplotlib counts them."""
    return float((day - dt.date(1970, 1, 1)).days)
