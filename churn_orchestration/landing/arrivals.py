"""Which landing files belong to which day, from what the manifest has of them and what is there."""

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.calendar import days_between
from churn_orchestration.landing.files import Files, unusable
from churn_orchestration.landing.source_landing import FileLanding, TakenFile
from churn_orchestration.storage.day_files import content_hash
from churn_orchestration.storage.manifest import Entry
from churn_orchestration.storage.warehouse import Tables


@dataclass(kw_only=True)
class Arrivals:
    """The files of the days of a landing, what is new to the manifest of them, and refused days."""

    taken: list[TakenFile] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    refused: dict[dt.date, str] = field(default_factory=dict)


def arrivals_of(landing: FileLanding) -> Arrivals:
    """The files that belong to the days of a landing.

    Raises
    ------
    BusinessError : the landing folder does not exist, or a history has no file
    """
    return _DailyFiles(landing).arrivals() if landing.files.is_daily else _history(landing)


class _DailyFiles:
    """Files of days: those taken in before; new ones, on the first day that sees them.

    A day that stands has seen all it could see, unless it is the newest: what is new now belongs to
    a later one. New content of a file replaces the old only where its day was refused, or where
    that day alone is refreshed; else it is a correction, first known on the day that sees it.
    """

    def __init__(self, landing: FileLanding) -> None:
        self.landing = landing
        days = landing.tables.days
        self.awaiting = {
            day
            for layer in ("raw", "bronze")
            for day in days.refused(f"{layer}.{landing.name}", dt.date.max)
        }
        self.valid = days.stored(landing.raw) - self.awaiting
        newest = max(self.valid, default=landing.start)
        self.seeing = [day for day in landing.days if day not in self.valid or day == newest]
        self.result = Arrivals()

    def arrivals(self) -> Arrivals:
        landing, result = self.landing, self.result
        recorded = landing.tables.manifest.newest(landing.name)
        for path, named_day in landing.files.named(landing.folder):
            file = landing.relative(path)
            if fault := unusable(path, landing.folder):
                if (day := max(named_day or landing.start, landing.start)) in landing.days:
                    result.refused[day] = f"{file}: {fault}"
                continue
            stat, entry = path.stat(), recorded.get(file)
            if entry is None or entry.stamp != (stat.st_size, stat.st_mtime_ns):
                content = content_hash(path)
                place = self._place(file, named_day, content, entry)
                if place is None:
                    continue
                entry = _entry(file, content, stat, *place)
                result.entries.append(entry)
            if entry.partition in landing.days:
                result.taken.append(_taken(path, entry))
        return result

    def _place(
        self, file: str, named_day: dt.date | None, content: str, before: Entry | None
    ) -> tuple[dt.date, dt.date | None] | None:
        """The day that takes in new content, and the day from which its rows are known; None: no
        day of this landing does.
        """
        if before and (content == before.sha256 or self._replaces(before.partition)):
            return before.partition, before.known_on
        if before and before.partition in self.awaiting:
            return None  # the refused day is mended by refreshing that day, not by a later one
        start, refused = self.landing.start, self.result.refused
        first = next((day for day in self.seeing if day >= max(named_day or day, start)), None)
        if before and first and not self.landing.contract.key:
            refused[first] = (
                f"{file} changed after {before.partition} took it in, and without a key its rows "
                "cannot be distinguished from the earlier ones: refresh that day alone "
                "(--from "
                f"{before.partition} --to {before.partition}) or declare a key"
            )
        if first is None or first in refused:
            return None
        initial = first == start and first not in self.valid
        return first, named_day if initial else first

    def _replaces(self, day: dt.date) -> bool:
        """Whether new content of a file takes the place of what that day took in."""
        open_again = day in self.awaiting or day not in self.valid or len(self.landing.days) == 1
        return day in self.landing.days and open_again


def _entry(
    file: str, content: str, stat: os.stat_result, partition: dt.date, known_on: dt.date | None
) -> Entry:
    return Entry(
        file=file,
        sha256=content,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        partition=partition,
        known_on=known_on,
    )


def _taken(path: Path, entry: Entry) -> TakenFile:
    return TakenFile(
        path=path,
        file=entry.file,
        partition=entry.partition,
        known_on=entry.known_on,
        content=entry.sha256,
    )


def _history(landing: FileLanding) -> Arrivals:
    """Every file of a history, for each of the days; the event of a record says of which it is."""
    days, result = landing.days, Arrivals()
    there = landing.files.find(landing.folder)
    for path, _ in landing.files.named(landing.folder):
        if fault := unusable(path, landing.folder):
            result.refused = dict.fromkeys(days, f"{landing.relative(path)}: {fault}")
    if not there and not result.refused:
        raise BusinessError(
            f"{landing.name}: no file {landing.files.pattern} in the landing folder "
            f"{landing.folder}"
        )
    recorded = landing.tables.manifest.newest_by_day(landing.name)
    for path, _ in there:
        file, stat, content = landing.relative(path), path.stat(), content_hash(path)
        for day in days:
            now = _entry(file, content, stat, day, None)
            before = recorded.get((file, day))
            if before is None or (before.sha256, before.stamp) != (now.sha256, now.stamp):
                result.entries.append(now)
        result.taken.append(
            TakenFile(path=path, file=file, partition=days[0], known_on=days[0], content=content)
        )
    return result


def missing(landing: FileLanding) -> list[dt.date]:
    """The days of a landing on which a file was expected and none of that name ever came."""
    files, business = landing.files, landing.business
    came = {day for _, day in files.find(landing.folder)}
    came |= {files.day_of(file) for file in landing.tables.manifest.newest(landing.name)}
    expected = set()
    for day in landing.days:
        first = min((d for d in came if d), default=day) if day == business.start else day
        expected |= {d for d in days_between(first, day) if d not in business.closed}
    return sorted(expected - came)


def pending(
    tables: Tables, business: Business, name: str, files: Files
) -> list[tuple[str, dt.date | None]]:
    """The files that no day has taken in as they are now, with the day in their name."""
    recorded = tables.manifest.newest(name)
    result = []
    for path, day in files.find(business.landing):
        file = path.relative_to(business.landing).as_posix()
        entry = recorded.get(file)
        try:
            stat = path.stat()
            same = entry is not None and entry.stamp == (stat.st_size, stat.st_mtime_ns)
            if not same and (
                entry is None or entry.size != stat.st_size or content_hash(path) != entry.sha256
            ):
                result.append((file, day))
        except FileNotFoundError:  # taken away since it was found: no file waits there
            continue
    return result


def as_taken_in(
    tables: Tables, business: Business, name: str, days: Iterable[dt.date]
) -> set[dt.date]:
    """Those of ``days`` whose files are still there, with the content that was taken in."""
    changed = set()
    for (file, day), entry in tables.manifest.newest_by_day(name).items():
        path = business.landing / file
        stat = path.stat() if path.is_file() else None
        same = stat and (stat.st_size, stat.st_mtime_ns) == entry.stamp
        if not same and not (stat and content_hash(path) == entry.sha256):
            changed.add(day)
    return set(days) - changed
