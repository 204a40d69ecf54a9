"""Landing files that no day has taken in yet, and the command that takes them in."""

import datetime as dt
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.landing.arrivals import pending
from churn_orchestration.landing.files import Files
from churn_orchestration.report.text import command
from churn_orchestration.storage.warehouse import Tables


def waiting_files(
    tables: Tables, business: Business, result: dict[str, dict[str, Any]], sources: dict[str, str]
) -> dict[str, Any]:
    """Files that no day has taken in yet, by source, and the command that does; ``sources``: their
    files.

    ``again``: by making a day again that is there, which no run does by itself.
    """
    end, after_end, new = business.settings.end_date, 0, {}
    takes_in, histories = [], False
    missing: dict[str, list[dt.date]] = {}
    for source, pattern in sources.items():
        try:
            there = pending(tables, business, source, Files(pattern))
        except (
            BusinessError
        ) as error:  # no landing folder: reported, with all the rest of the status
            return {"new_files": {}, "fault": str(error)}
        if days := missing_days(tables, business, source, Files(pattern)):
            missing[source] = days
        can_come = [(file, day) for file, day in there if not (end and day and day > end)]
        after_end += len(there) - len(can_come)
        if can_come:
            new[source] = [file for file, _ in can_come]
            newest = result.get(f"raw.{source}", {}).get("newest") or business.start
            awaited = tables.days.refused(f"raw.{source}", dt.date.max) | tables.days.refused(
                f"bronze.{source}", dt.date.max
            )
            if Files(pattern).is_daily or newest == end:
                days = [day for _, day in can_come if day]
                takes_in.append(range_that_takes_in(days, newest, end, mends=bool(awaited)))
            else:
                histories = True
    run, again = None, False
    if histories and (end or not takes_in):  # which days its rows are of, only the run sees
        run = command(business, "run" if end else "run --to DAY")
    elif takes_in:
        last = max(day for _, day in takes_in)
        again = all(again for again, _ in takes_in)
        run = command(business, f"run --from {last} --to {last}" if again else f"run --to {last}")
    return {
        "new_files": new,
        "after_end_date": after_end,
        "run": run,
        "again": again,
        "missing": missing,
    }


def missing_days(tables: Tables, business: Business, source: str, files: Files) -> list[dt.date]:
    """Days after the initial load that are there without a file of theirs, and are not closed."""
    if not files.is_daily:
        return []
    landed = {files.day_of(file) for file in tables.manifest.newest(source)}
    days = tables.days.stored(f"raw.{source}") - {business.start}
    return sorted(day for day in days if day not in landed and day not in business.closed)


def range_that_takes_in(
    days: list[dt.date], newest: dt.date, end: dt.date | None, *, mends: bool
) -> tuple[bool, dt.date]:
    """Whether the newest day must be refreshed again, and up to which day to run, to take files in.

    >>> range_that_takes_in([dt.date(2024, 1, 9)], dt.date(2024, 1, 7), None, mends=False)
    (False, datetime.date(2024, 1, 9))
    >>> late, ended = [dt.date(2024, 1, 3)], dt.date(2024, 1, 7)
    >>> range_that_takes_in(late, ended, None, mends=False)
    (False, datetime.date(2024, 1, 8))
    >>> range_that_takes_in(late, ended, ended, mends=False)
    (True, datetime.date(2024, 1, 7))
    """
    last = max([newest, *days])
    if last > newest or mends:
        return False, last
    if newest == end:
        return True, newest
    return False, newest + dt.timedelta(days=1)
