"""The landing of one source on some days: what is taken in, and what became of it."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from churn_orchestration.business import Business
from churn_orchestration.churn.rows.contract import Contract
from churn_orchestration.landing.files import Files
from churn_orchestration.storage.warehouse import Tables


@dataclass(frozen=True, kw_only=True)
class SourceLanding:
    """What is taken in, and where to: the rows of a source for ``days``, ascending.

    Parameters
    ----------
    name : the source's, so that its rows go to ``raw.<name>``
    contract : what is declared of its columns
    """

    tables: Tables
    business: Business
    name: str
    contract: Contract
    days: list[dt.date]

    @property
    def raw(self) -> str:
        """The table that takes the rows."""
        return f"raw.{self.name}"

    @property
    def start(self) -> dt.date:
        """The day of the initial load, which takes in all that is earlier."""
        return self.business.start


@dataclass(frozen=True, kw_only=True)
class FileLanding(SourceLanding):
    """The landing of a source whose rows come in ``files``."""

    files: Files

    @property
    def folder(self) -> Path:
        """The landing folder."""
        return self.business.landing

    def relative(self, path: Path) -> str:
        """A file's name as messages, raw rows and the manifest have it."""
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True, kw_only=True)
class TakenFile:
    """A file whose rows are stored: of the day ``partition``, known from ``known_on`` on."""

    path: Path
    file: str
    partition: dt.date
    known_on: dt.date | None
    content: str  # its SHA-256


@dataclass(kw_only=True)
class Landed:
    """What a landing did: rows by day, days refused with the reason, expected days without a file.

    ``strays`` are files whose day cannot be read; ``beyond`` says how a history does not fit the
    last day; ``repeated`` names rows that had come before, in a file of another name, and are taken
    in once.
    """

    rows: dict[dt.date, int]
    refused: dict[dt.date, str] = field(default_factory=dict)
    missing: list[dt.date] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    beyond: str | None = None
    repeated: list[str] = field(default_factory=list)
