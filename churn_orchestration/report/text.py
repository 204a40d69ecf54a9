"""Plain text for people: tables and wrapped lines that fit the terminal, without colours or
markup.
"""

import io
import os
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table

from churn_orchestration.business import DEMO, Business

WIDEST, NARROWEST = 118, 60


def width() -> int:
    """Columns to write in: those of the terminal, at most 118; 118 where the output is no
    terminal.
    """
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def plain(*parts: str | Table) -> str:
    """Tables and lines one below the other. A long line goes on indented; a command stays on one
    line.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=width(), highlight=False, markup=False, emoji=False, color_system=None,
    )  # fmt: skip
    for part in parts:
        for piece in _wrapped(part) if isinstance(part, str) else [part]:
            console.print(piece, soft_wrap=isinstance(piece, str))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _wrapped(part: str) -> list[str]:
    result: list[str] = []
    for line in part.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        is_command = line.lstrip().startswith("churn ")
        result += [line] if is_command else textwrap.wrap(
            line, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]  # fmt: skip
    return result


def grid(title: str, *columns: str) -> Table:
    """A table without lines; the first column to the left, the others to the right."""
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False,
        padding=(0, 2, 0, 0),
    )  # fmt: skip
    for n, column in enumerate(columns):
        made.add_column(column, justify="left" if n == 0 else "right", overflow="fold")
    return made


def command(business: Business, arguments: str) -> str:
    """The command line to type for a business, such as ``churn --business examples/cdnow run --to
    DAY``.
    """
    if business.folder == DEMO.resolve():
        return f"{program()} {arguments}"
    here = Path.cwd()
    inside = business.folder.is_relative_to(here)
    folder = business.folder.relative_to(here) if inside else business.folder
    return f"{program()} --business {shlex.quote(str(folder))} {arguments}"


def program() -> str:
    """How `churn` is called from here: by its path, where it was called so and is not on the
    PATH.
    """
    called = Path(sys.argv[0])
    if called.name != "churn" or shutil.which("churn"):
        return "churn"
    return shlex.quote(os.path.relpath(called))


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "day"), counted(1200, "row")
    ('1 day', '1,200 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
