"""Rows that come again in a file of another name are taken in once."""

from collections import Counter
from collections.abc import Sequence

from churn_orchestration.churn.sql import quoted
from churn_orchestration.landing.arrivals import Arrivals
from churn_orchestration.landing.source_landing import FileLanding, SourceLanding


def drop_repeated(landing: FileLanding, arrivals: Arrivals, groups: Sequence[str]) -> list[str]:
    """Take out of ``groups`` the rows of a file whose content another file brought before; say so.

    Of a history only files that are there now count; ``drop_what_came_again`` sees to the rest.
    Rows that were of a day to come when the first file landed may be valid now, so they stay.
    """
    tables = landing.tables
    repeated = _repeated(landing, arrivals)
    if not repeated:
        return []
    tables.db.execute("create or replace temp table _repeated (_file varchar, _first varchar)")
    tables.insert("_repeated", [list(pair) for pair in repeated])
    awaited = "false"
    if tables.columns(f"quarantine.{landing.name}"):
        early = f"select _file, _line from quarantine.{landing.name} where rule = 'future_day'"
        awaited = f"(r._first, g._line) in ({early})"
    dropped = set()
    for group in groups:
        again = f"{group} as g using _repeated as r where g._file = r._file and not {awaited}"
        dropped |= {file for (file,) in tables.rows(f"delete from {again} returning g._file")}
    return [
        f"{file} has the content of {first}, which was taken in: not taken in twice"
        for file, first in repeated
        if file in dropped
    ]


def _repeated(landing: FileLanding, arrivals: Arrivals) -> list[tuple[str, str]]:
    """The files whose content another one brought, each with the first that did."""
    recorded = landing.tables.manifest.newest(landing.name)
    contents = {file: entry.sha256 for file, entry in recorded.items()}
    contents |= {entry.file: entry.sha256 for entry in arrivals.entries}
    there = {item.file for item in arrivals.taken}
    holders: dict[str, str] = {}
    for file, content in contents.items():
        if landing.files.is_daily or file in there:
            holders.setdefault(content, file)
    pairs = [(item.file, holders[item.content]) for item in arrivals.taken]
    return [(file, first) for file, first in pairs if file != first]


def drop_what_came_again(landing: SourceLanding, arrived: str) -> list[str]:
    """Take out of ``_kept`` each row that one of ``arrived`` is equal to, one for one; say so."""
    tables = landing.tables
    if not tables.rows("from _kept limit 1"):
        return []
    kept, came = (
        {name for name, *_ in tables.rows(f"describe from {t}")} for t in ("_kept", arrived)
    )
    declared = landing.contract.sources
    there = [column for column in (*declared, "_error", "_partition") if column in kept & came]
    compared = ", ".join(map(quoted, there))
    again = tables.rows(
        f"""
delete from _kept where rowid in (
  select unnest(
    (list(_row order by _row) filter (_row is not null))[:count(*) filter (_row is null)])
  from (
    select rowid as _row, {compared} from _kept union all select null, {compared} from {arrived})
  group by {compared})
returning _file"""
    )
    return [
        f"{count:,} rows of {file}, which is gone, came again under another name: taken in once"
        for file, count in sorted(Counter(file for (file,) in again).items())
    ]
