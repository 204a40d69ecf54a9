"""What all pictures share: colours, style, labels, and the way into Markdown; same data, same bytes."""

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
MOST_BARS = 120
DASHED = (0, (4, 3))
Panel: TypeAlias = "Callable[[Axes], None]"


def picture(alt: str, *panels: Panel, height: float = 2.7, left: float = 0.08) -> str:
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


def write(
    axes: "Axes", text: str, at: tuple[float, float], by: tuple[float, float], color: str, side: str = "left"
) -> None:
    """A label beside a point of the data, ``by`` points away from it."""
    away = (-by[0] if side == "right" else by[0], by[1])
    axes.annotate(text, at, away, textcoords="offset points", color=color, ha=side, fontsize=8)


def dots(
    axes: "Axes", x: Sequence[float], rate: Sequence[float], low: Iterable[float], high: Iterable[float]
) -> None:
    """Rates in percent, each on the bar of its interval."""
    axes.vlines(
        x, [100 * end for end in low], [100 * end for end in high], color=BLUE, alpha=0.55, linewidth=5
    )
    axes.plot(x, [100 * value for value in rate], "o", color=BLUE, markersize=5)


def as_ofs_below(axes: "Axes", names: Sequence[str]) -> None:
    """As_ofs below the axis, evenly spread."""
    axes.set_xticks(range(len(names)), [name.replace("-", "-\n", 1) for name in names])
    axes.set_xlim(-0.6, len(names) - 0.3)


def days_below(axes: "Axes") -> None:
    """Days below the axis, as many as there is room for."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator

    first, last = axes.get_xlim()
    locator = DayLocator() if last - first < 8 else AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def in_bins(
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
        [max(number_of(first), number_of(last) + 1 - width * (bins - n)) for n in range(bins + 1)],
        totals,
        width,
    )


def number_of(day: dt.date) -> float:
    """A day as matplotlib counts them."""
    return float((day - dt.date(1970, 1, 1)).days)
