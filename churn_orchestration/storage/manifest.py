"""The manifest: which day took in which landing file, with which content."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from churn_orchestration.churn.sql import within
from churn_orchestration.storage.session import Session


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One content of a file, as a day took it in.

    ``file``: relative to the landing folder; ``size`` in bytes; ``known_on``: the day from which
    its rows count, None where each row says its own; ``header``: its columns, None where it was not
    read.
    """

    file: str
    sha256: str
    size: int
    mtime_ns: int
    partition: dt.date
    known_on: dt.date | None
    header: list[str] | None = None

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of change: a file that has both still was not written since."""
        return self.size, self.mtime_ns


class Manifest:
    """The entries of all sources, as the schema ``meta`` of the warehouse has them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def record(self, source: str, entries: Iterable[Entry]) -> None:
        """Add entries; of those of one file, or of one file and day, the newest counts."""
        if rows := [[source, *astuple(entry)] for entry in entries]:
            self.session.insert("meta.manifest", rows)

    def newest(self, source: str) -> dict[str, Entry]:
        """The newest entry of each file, in the order in which the files came first."""
        rows = self.session.rows(_NEWEST, [source])
        return {row[0]: _entry(*row) for row in rows}

    def newest_by_day(self, source: str) -> dict[tuple[str, dt.date], Entry]:
        """The newest entry of each file and day that took it in."""
        rows = self.session.rows(_NEWEST_BY_DAY, [source])
        entries = (_entry(*row) for row in rows)
        return {(entry.file, entry.partition): entry for entry in entries}

    def headers(
        self, source: str, days: Iterable[dt.date]
    ) -> list[tuple[dt.date, str, list[str] | None]]:
        """Day, file and columns of what ``days`` took in, ordered."""
        return self.session.rows(_HEADERS.format(days=within("partition", days)), [source])

    def files_of(self, source: str, days: Iterable[dt.date]) -> int:
        """How many files ``days`` took in."""
        query = "select count(distinct file) from meta.manifest where source = ? and "
        [(files,)] = self.session.rows(query + within("partition", days), [source])
        return int(files)


def _entry(
    file: str, sha256: str, size: int, mtime_ns: int, partition: dt.date, known_on: dt.date | None
) -> Entry:
    return Entry(
        file=file,
        sha256=sha256,
        size=size,
        mtime_ns=mtime_ns,
        partition=partition,
        known_on=known_on,
    )


_NEWEST = """
select file, last(sha256 order by rowid), last(size order by rowid), last(mtime_ns order by rowid),
  last(partition order by rowid), last(known_on order by rowid)
from meta.manifest where source = ? group by file order by min(rowid)"""

_NEWEST_BY_DAY = """
select file, last(sha256 order by rowid), last(size order by rowid), last(mtime_ns order by rowid),
  partition, last(known_on order by rowid)
from meta.manifest where source = ? group by file, partition"""

_HEADERS = """
select partition, file, last(header order by rowid) from meta.manifest
where source = ? and {days} group by all order by partition, file"""
