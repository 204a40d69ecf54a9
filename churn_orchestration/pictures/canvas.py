"""What all pictures share: colours, style, labels, and the way into Markdown; same data, same
bytes.
"""

import base64
import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Mid-tones: each holds a contrast of 4 on white and on the dark theme's near black.
INK, BLUE, RED, ORANGE, GREEN = "#74777d", "#2f7ad1", "#d8403c", "#b8650a", "#1f8556"
BAND_COLORS = {"low": GREEN, "medium": INK, "high": ORANGE, "critical": RED}
STYLE: Any = {
    "svg.hashsalt": "churn", "svg.fonttype": "none", "font.family": ["DejaVu Sans"], "font.size": 9,
    "text.color": INK, "text.parse_math": False, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlecolor": INK, "axes.titlepad": 10, "axes.linewidth": 0.8, "lines.linewidth": 1.8,
}  # fmt: skip
WIDTH = 7.8  # inches of 96 pixels: what the UI's dialog shows without scrolling
MOST_BARS = 120
ROOM = 1.07  # of a panel's width for its title: into the gap, and not to the next panel
DASHED = (0, (4, 3))
Panel: TypeAlias = "Callable[[Axes], None]"


def picture(alt: str, *panels: Panel, height: float = 2.7, left: float = 0.08) -> str:
    """Panels side by side as one SVG, written into Markdown; text stays text, so it is small and
    sharp.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = painted(panels, height, left)
        written = io.BytesIO()
        figure.savefig(
            written, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    plain = alt.translate(str.maketrans("[]\n", "() "))
    return f"![{plain}](data:image/svg+xml;base64,{base64.b64encode(written.getvalue()).decode()})"


def svg(markdown: str) -> str:
    """The picture that Markdown holds, as SVG; see ``picture``."""
    return base64.b64decode(markdown.partition("base64,")[2].rstrip(")")).decode()


def painted(panels: Sequence[Panel], height: float, left: float) -> "Figure":
    """Panels side by side; a title that is wider than its panel goes on in a second line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=left, right=0.97, bottom=0.5 / height, top=1 - 0.42 / height, wspace=0.25
    )
    lines = 1
    for axes, paint in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        paint(axes)
        text = axes.get_title(loc="left")
        title = axes.set_title(text, loc="left")
        width = title.get_window_extent(canvas.get_renderer()).width
        if (share := ROOM * axes.bbox.width / width if width else 1) < 1:
            title.set_text(fill(text, int(share * len(text)), break_long_words=False))
            lines = max(lines, title.get_text().count("\n") + 1)
    figure.subplots_adjust(top=1 - (0.42 + 0.17 * (lines - 1)) / height)
    return figure


def titled(titles: Mapping[str, str], feature: str, segment: str = "…", width: int = 44) -> str:
    """A feature in words, a segment of it in place of its value; in lines that fit next to an axis.

    ``titles``: the words of each feature, with "…" for a value; one that is no more in it keeps its
    name.
    """
    title = titles.get(feature, feature)
    if segment != "…":
        title = title.replace("…", segment) if "…" in title else f"{title}: {segment}"
    return fill(title, width)


def write(
    axes: "Axes",
    text: str,
    at: tuple[float, float],
    by: tuple[float, float],
    color: str,
    side: str = "left",
) -> None:
    """A label next to a point of the data, ``by`` points away from it."""
    away = (-by[0] if side == "right" else by[0], by[1])
    axes.annotate(text, at, away, textcoords="offset points", color=color, ha=side, fontsize=8)


def dots(
    axes: "Axes",
    x: Sequence[float],
    rate: Sequence[float],
    low: Iterable[float],
    high: Iterable[float],
) -> None:
    """Rates in percent, each on the bar of its interval."""
    axes.vlines(
        x,
        [100 * end for end in low],
        [100 * end for end in high],
        color=BLUE,
        alpha=0.55,
        linewidth=5,
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
