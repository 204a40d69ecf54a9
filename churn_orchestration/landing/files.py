"""A source's landing files: where they lie, how they are written, and which day they are of."""

import datetime as dt
import fnmatch
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from churn_orchestration.business import BusinessError

_DAY = re.compile(r"\{day(?::([^}]+))?\}")


@dataclass(frozen=True)
class Files:
    """Where a source's files lie and how they are written.

    Parameters
    ----------
    pattern : glob below the landing folder; ``{day}`` or ``{day:%Y%m%d}`` stands for the landing
        day. Without it the files are a history, split by the day of their events; all of it is the
        initial load where its records have no event time
    """

    pattern: str
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str | None = None

    @property
    def is_daily(self) -> bool:
        return _DAY.search(self.pattern) is not None

    def find(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        """Every file that fits, with the day in its name, ordered by day and name."""
        return [(path, day) for path, day in self.named(folder) if not unusable(path, folder)]

    def named(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        """The same, and what only has the name of such a file; see ``unusable``."""
        fitting = [(path, day) for path, day in self._fitting(folder) if day or not self.is_daily]
        return sorted(fitting, key=lambda result: (result[1] or dt.date.min, result[0]))

    def strays(self, folder: Path) -> list[str]:
        """Files that fit the pattern but for their day, which cannot be read."""
        return sorted(
            path.relative_to(folder).as_posix()
            for path, day in self._fitting(folder)
            if day is None and path.is_file()
        )

    def _fitting(self, folder: Path) -> list[tuple[Path, dt.date | None]]:
        if not folder.is_dir():
            raise BusinessError(
                f"the landing folder {folder} does not exist: check `landing` in business.yaml, "
                "and the environment variables that it names"
            )
        one = folder / self.pattern  # orders[1].csv, as browsers name a second download
        paths = [one] if one.exists() else folder.glob(_DAY.sub("*", self.pattern))
        return [(path, self.day_of(path.relative_to(folder).as_posix())) for path in paths]

    def day_of(self, file: str) -> dt.date | None:
        """The day in a file's name, a path relative to the landing folder.

        >>> Files("orders/{day:%Y%m%d}.csv").day_of("orders/20240131.csv")
        datetime.date(2024, 1, 31)
        """
        if (name := _name(self.pattern)) is None or not (fits := name[0].fullmatch(file)):
            return None
        try:
            return dt.datetime.strptime(fits[1], name[1]).date()  # noqa: DTZ007
        except ValueError:
            return None


@cache
def _name(pattern: str) -> tuple[re.Pattern[str], str] | None:
    """What the name of a file of a day is like, and how the day in it is written."""
    placeholder = _DAY.search(pattern)
    if not placeholder:
        return None
    sides = pattern[: placeholder.start()], pattern[placeholder.end() :]
    # A side as a pattern of its own is (?s:...)\Z.
    before, after = (fnmatch.translate(side)[4:-3].replace(".*", "[^/]*") for side in sides)
    return re.compile(f"{before}(.+?){after}"), placeholder[1] or "%Y-%m-%d"


def unusable(path: Path, folder: Path) -> str | None:
    """Why what has the name of a landing file is none; None where it is one."""
    if not path.is_file():
        return "it is no file, and one is wanted: take it away or put the file there"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "it is a link that leads out of the landing folder: put the file itself there"
    return None
