"""Draws architecture.svg: how data flow, and how the folders depend. Run by `make reference`."""

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1160, 780
INK, PALE = "#1f2430", "#8a93a6"
DATA, MODEL, OUT, CODE = "#e3efff", "#efe6ff", "#e2f5e9", "#fff3dd"
FONT = "font-family='system-ui, sans-serif'"
ARROW_HEAD = (
    "<marker id='head' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' "
    f"orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='{PALE}'/></marker>"
)
# name: left, top, colour, title, what it holds, the folder whose code makes it
BOXES = {
    "landing": (20, 120, DATA, "landing", "files, queries", "landing/"),
    "raw": (180, 120, DATA, "raw", "rows as they came", "components/source/"),
    "bronze": (340, 70, DATA, "bronze", "valid, typed rows", "churn/rows/"),
    "quarantine": (340, 170, DATA, "quarantine", "refused rows", "churn/rows/"),
    "silver": (500, 70, DATA, "silver", "tables by SQL", "components/"),
    "parts": (660, 70, DATA, "silver *_days", "daily parts", "churn/features/"),
    "gold": (820, 70, DATA, "gold", "features of a day", "churn/features/"),
    "snapshots": (660, 290, MODEL, "snapshots", "features + label", "churn/question/"),
    "models": (820, 290, MODEL, "models", "graded candidates", "churn/learning/, grading/"),
    "ledger": (980, 290, MODEL, "ledger", "decisions, sealed", "storage/"),
    "predictions": (980, 70, OUT, "predictions", "probability, reasons", "components/question/"),
    "monitoring": (820, 170, OUT, "monitoring", "grades, drift", "churn/watching/"),
    "measures": (980, 170, OUT, "measures", "customers, money", "churn/watching/"),
}
BOX_WIDTH, BOX_HEIGHT = 140, 64
ARROWS = [
    ("landing", "raw"), ("raw", "bronze"), ("raw", "quarantine"), ("bronze", "silver"),
    ("silver", "parts"), ("parts", "gold"), ("gold", "predictions"), ("snapshots", "models"),
    ("models", "ledger"), ("predictions", "monitoring"), ("predictions", "measures"),
]  # fmt: skip
LAYERS = [  # name, what it holds, what for; as the contracts of pyproject.toml order them
    ("cli, demo, ui, runs, definitions", "", "what a person or a server starts"),
    (
        "report/, service/, simulator/",
        "the terminal; guard and pages of the UI; companies",
        "what people see",
    ),
    ("automation/", "jobs, schedule, sensors, roll back, alerts", "what acts by itself"),
    ("components/", "source/  features/  question/", "HOW: YAML becomes assets and checks"),
    ("landing/", "files and queries become raw rows", "bytes in"),
    ("storage/, pictures/", "warehouse, days, door, ledger, model store", "bytes kept, and drawn"),
    (
        "business, terminal",
        "the settings of a business; lines for people",
        "settings that all read",
    ),
    (
        "churn/",
        "rows  features  question  learning  grading  watching",
        "WHAT: pure functions on tables",
    ),
]


def text(x: float, y: float, words: str, size: int = 13, colour: str = INK, extra: str = "") -> str:
    """A line of text whose baseline begins at x, y."""
    return (
        f"<text x='{x}' y='{y}' {FONT} font-size='{size}' fill='{colour}' "
        f"{extra}>{escape(words)}</text>"
    )


def box(left: int, top: int, colour: str, title: str, holds: str, folder: str) -> str:
    """A stored thing: its name, what it holds, and the folder whose code makes it."""
    return "".join(
        [
            f"<rect x='{left}' y='{top}' width='{BOX_WIDTH}' height='{BOX_HEIGHT}' rx='8' "
            f"fill='{colour}' stroke='{PALE}'/>",
            text(left + 10, top + 21, title, 14, INK, "font-weight='600'"),
            text(left + 10, top + 38, holds, 12),
            text(left + 10, top + 55, folder, 10, "#5b6478", "font-style='italic'"),
        ]
    )


def arrow(path: str) -> str:
    """A line with a head at its end."""
    return (
        f"<path d='{path}' fill='none' stroke='{PALE}' stroke-width='1.6' marker-end='url(#head)'/>"
    )


def between(first: str, second: str) -> str:
    """An arrow from a box to another, to the right or down."""
    (x1, y1, *_), (x2, y2, *_) = BOXES[first], BOXES[second]
    if x2 > x1:
        return arrow(f"M{x1 + BOX_WIDTH} {y1 + BOX_HEIGHT / 2} L{x2 - 2} {y2 + BOX_HEIGHT / 2}")
    if x1 == x2:
        return arrow(f"M{x1 + BOX_WIDTH / 2} {y1 + BOX_HEIGHT} L{x2 + BOX_WIDTH / 2} {y2 - 2}")
    return arrow(f"M{x1 + 30} {y1 + BOX_HEIGHT} L{x2 + BOX_WIDTH - 20} {y2 - 2}")


def picture() -> str:
    """The whole picture, as SVG."""
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        "aria-label='Data flow from landing to predictions, and the layers of the code'>",
        f"<defs>{ARROW_HEAD}</defs><rect width='{WIDTH}' height='{HEIGHT}' fill='white' rx='10'/>",
        text(20, 36, "Data: what is stored, and (in italics) the folder whose code decides it", 16,
         INK,
             "font-weight='600'"),
        *(between(*pair) for pair in ARROWS),
        # Parts also feed the snapshot, of every as_of at once; the ledger says who scores.
        arrow("M730 134 L730 288"),
        arrow("M1120 322 C1156 310 1152 250 1152 200 C1152 120 1145 104 1122 102"),
        text(1142, 280, "names the champion", 11, "#5b6478", "text-anchor='end'"),
        text(722, 250, "all as_ofs of a cut-off at once", 11, "#5b6478", "text-anchor='end'"),
        *(box(*given) for given in BOXES.values()),
        text(20, 402, "Code: imports go downwards only", 16, INK, "font-weight='600'"),
    ]  # fmt: skip
    for place, (name, holds, role) in enumerate(LAYERS):
        top = 418 + 44 * place
        parts += [
            (
                f"<rect x='20' y='{top}' width='1120' height='38' rx='8' "
                f"fill='{CODE}' stroke='{PALE}'/>"
            ),
            text(34, top + 25, name, 14, INK, "font-weight='600'"),
            text(330, top + 25, holds, 12),
            text(800, top + 25, role, 12, "#5b6478", "font-style='italic'"),
        ]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
