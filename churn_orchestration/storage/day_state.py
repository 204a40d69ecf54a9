"""The state of the days of each table: which are there, refused, waived or stale, and why."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from churn_orchestration.churn.sql import within
from churn_orchestration.stages import Version, installed
from churn_orchestration.storage.day_files import damage
from churn_orchestration.storage.layers import (
    MEASURED_LAYERS,
    PARQUET_LAYERS,
)
from churn_orchestration.storage.session import Session, WarehouseError


@dataclass(frozen=True)
class Fault:
    """A day of a table that is not valid, for which others wait; as text, a clause.

    ``reason``: what is wrong with it, a predicate; ``kind``: the same for programs, missing being a
    day that is not there yet, and stale one that is older than what it is made of; ``before``: what
    a table that waits for it says first.
    """

    table: str
    day: dt.date
    reason: str
    kind: Literal["refused", "dropped", "missing", "stale"]
    before: str = ""

    def __str__(self) -> str:
        return f"{self.before}{self.table} {self.day} {self.reason}"


Refusal = str | Fault
"""Why a day is refused: in words, or the fault of a table above for which it waits."""


class DayState:
    """The state of all days of all tables, as the schema ``meta`` of the warehouse has it."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def damaged(self) -> list[tuple[str, dt.date, str]]:
        """The days whose Parquet file is gone or damaged, by table: what is wrong with each."""
        if not self.session.columns("meta.files"):  # a door of before there were files by day
            return []
        result = self.session.rows("select table_name, day, file from meta.files order by all")
        looked = ((table, day, damage(self.session.state / file)) for table, day, file in result)
        return [(table, day, wrong) for table, day, wrong in looked if wrong]

    def record(
        self,
        table: str,
        status: str,
        days: Mapping[dt.date, int],
        declaration: str,
        reason: Refusal | None = None,
    ) -> None:
        """Note what became of the days of a table: ``stored`` or ``refused``, with rows and the
        reason. Where that is a fault of a table above, its table and day are kept as the cause.

        ``declaration``: what the days depend on, a ``stages.Version`` as text.
        A day that holds what it held before keeps its ``version``: nothing below it needs to be
        recomputed.
        """
        if not days:
            return
        by = Version.parse(declaration)
        [(made,)] = self.session.rows("select nextval('meta.versions')")
        contents = self._contents(table, days) if status == "stored" else {}
        before = {
            day: (content, version)
            for day, content, version in self.session.rows(
                "select day, content, version from meta.days where table_name = ? and content is "
                f"not null and {within('day', days)}",
                [table],
            )
        }
        with self.session.transaction():
            self.session.db.execute(
                f"delete from meta.days where table_name = ? and {within('day', days)}", [table]
            )
            if status == "stored":  # what was waived is mended
                self.session.db.execute(
                    f"delete from meta.waivers where table_name = ? and {within('day', days)}",
                    [table],
                )
            message = None if reason is None else str(reason)
            cause = [reason.table, reason.day] if isinstance(reason, Fault) else [None, None]
            noted = []
            for day, rows in days.items():
                content, version = before.get(day, (None, made))
                same = content is not None and content == contents.get(day)
                noted.append([table, day, status, rows, by.declaration, message, contents.get(day)])
                noted[-1] += [version if same else made, made, by.stage, by.code, *cause]
            self.session.db.executemany(
                f"insert into meta.days values ({', '.join('?' * len(noted[0]))})", noted
            )

    def _contents(self, table: str, days: Iterable[dt.date]) -> dict[dt.date, str]:
        """What the days of a table hold, in short; nothing of a table that is not there."""
        if table.split(".")[0] in PARQUET_LAYERS:
            return dict(
                self.session.rows("select day, file from meta.files where table_name = ?", [table])
            )
        if "_partition" not in self.session.columns(table):
            return {}
        hashed = f"select _partition, count(*) || ':' || sum(hash(t)) from {table} as t"
        return dict.fromkeys(days, "0") | dict(
            self.session.rows(f"{hashed} where {within('_partition', days)} group by 1")
        )

    def look_back_as(self, table: str, other: str) -> None:
        """Let days of a table stay as they are where those of another one do; see ``keep_to``."""
        self.session.db.execute(
            "insert or replace into meta.policies "
            "select ?, look_back_days, null from meta.policies where table_name = ?",
            [table, other],
        )

    def descends(self, table: str, upstream: Iterable[str]) -> None:
        """Note the tables that a table is made from."""
        self.session.db.execute("delete from meta.lineage where table_name = ?", [table])
        for parent in upstream:
            self.session.db.execute("insert into meta.lineage values (?, ?)", [table, parent])

    def stored(self, table: str, declaration: str | None = None) -> set[dt.date]:
        """The days of a table that are there; with ``declaration``, only those made by that
        declaration.
        """
        result = self.session.rows(
            "select day, declaration from meta.days where table_name = ? and status = 'stored'",
            [table],
        )
        return {day for day, made_by in result if declaration in (None, made_by)}

    def declaration(self, table: str, day: dt.date) -> str | None:
        """What made a day of a table; None: it is not there."""
        result = self.session.rows(
            "select declaration from meta.days where table_name = ? and day = ? "
            "and status = 'stored'",
            [table, day],
        )
        return result[0][0] if result else None

    def rows_of(self, table: str, days: Iterable[dt.date]) -> dict[dt.date, int]:
        """The number of rows of those days of a table that are there."""
        query = "select day, rows from meta.days where table_name = ? and status = 'stored' and "
        return dict(self.session.rows(query + within("day", days), [table]))

    def stale(
        self,
        table: str,
        declaration: str,
        upstream: Sequence[str],
        days: Iterable[dt.date],
        whatever_its_age: bool = False,
    ) -> list[dt.date]:
        """Those of ``days`` that are not there, or were made by another declaration or code, or too
        early.

        A gold day reads all days up to its own, so an upstream day before it counts as well. A day
        whose Parquet file is gone or damaged is not there. A day that was
        dropped, or waived, is not missed; one before ``look_back_days`` is, only
        ``whatever_its_age``, stale.
        """
        return list(self.why_stale(table, declaration, upstream, days, whatever_its_age))

    def why_stale(
        self,
        table: str,
        declaration: str,
        upstream: Sequence[str],
        days: Iterable[dt.date],
        whatever_its_age: bool = False,
    ) -> dict[dt.date, str]:
        """The days of ``stale``, oldest first, each with the reason."""
        by = Version.parse(declaration)
        codes = installed().equivalents(by.stage) if by.stage else [""]
        first = installed().first(by.stage) if by.stage else ""
        parameters = [table, list(upstream), whatever_its_age, sorted(days)]
        parameters += [by.declaration, by.stage, first, codes]
        result = dict[dt.date, str | None]()
        for day, why, code in self.session.rows(_STALE, parameters):
            result[day] = (
                installed().why(by.stage, code) if why == _OTHER_CODE and by.stage else why
            )
        files = self.session.rows("select day, file from meta.files where table_name = ?", [table])
        broken = {day for day, file in files if day in result and damage(self.session.state / file)}
        reasons = {
            day: "its file is gone or damaged" if day in broken else why
            for day, why in result.items()
        }
        return {day: why for day, why in reasons.items() if why}

    def outdated(self, same: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """Stored days that other code has computed than that of now: of each table how many, and
        why.

        ``same``: of each stage what code is called that computes what it computes now.
        """
        if "code" not in self.session.columns(
            "meta.days"
        ):  # a door that was published before there was one
            return []
        return [
            {
                "table": table,
                "days": days,
                "first": first,
                "last": last,
                "reason": installed().why(stage, code),
            }
            for table, stage, code, days, first, last in self.session.rows(_CODES)
            if stage in same and (code or installed().first(stage)) not in same[stage]
        ]

    def computed_by_other_code(self, table: str, declaration: str) -> dict[dt.date, int]:
        """The stored days of a table that depend on what they would now, but for the code; rows by
        day.
        """
        by = Version.parse(declaration)
        if by.stage is None:
            return {}
        same, first = installed().equivalents(by.stage), installed().first(by.stage)
        return dict(self.session.rows(_BY_OTHER_CODE, [table, by.declaration, same, first]))

    def first_day(self, table: str) -> dt.date | None:
        """The first day of a table, stored or refused."""
        [(first,)] = self.session.rows(
            "select min(day) from meta.days where table_name = ?", [table]
        )
        return first

    def refused(self, table: str, until: dt.date) -> dict[dt.date, str]:
        """The refused days of a table up to ``until`` that nobody has waived, with the reason."""
        result = self.session.rows(
            "select day, reason from meta.days anti join meta.waivers using (table_name, day) "
            "where table_name = ? and status = 'refused' and day <= ? order by day",
            [table, until],
        )
        return dict(result)

    def refused_or_waived(self, table: str) -> set[dt.date]:
        """The days of a table that were refused, whether or not somebody has waived them."""
        result = self.session.rows(
            "select day from meta.days where table_name = ? and status = 'refused'", [table]
        )
        return {day for (day,) in result}

    def newest_version(self, tables: Sequence[str], until: dt.date) -> int:
        """A number that is larger once a day of some tables, up to ``until``, holds something
        else; history that was there before their first day is of that day.
        """
        [(version,)] = self.session.rows(
            "with of_them as (from meta.days where list_contains(?::varchar[], table_name)) "
            "select coalesce(max(version), 0) from of_them "
            "where day <= greatest(?::date, (select min(day) from of_them))",
            [list(tables), until],
        )
        return int(version)

    def newest(self) -> dt.date | None:
        """The newest day of all tables, stored or refused."""
        [(newest,)] = self.session.rows("select max(day) from meta.days")
        return newest

    def is_in_any(self, layers: Sequence[str]) -> bool:
        """Whether a table of one of ``layers`` has a day, whatever its state."""
        return bool(
            self.session.rows(
                "from meta.days where list_contains(?::varchar[], split_part(table_name, '.', 1)) "
                "limit 1",
                [list(layers)],
            )
        )

    def why_invalid(self, table: str, first: dt.date, last: dt.date) -> str | None:
        """Why a table may not be read over ``first`` to ``last``, in words; see ``fault``."""
        fault = self.fault(table, first, last)
        return str(fault) if fault else None

    def fault(self, table: str, first: dt.date, last: dt.date) -> Fault | None:
        """The root of a table's first fault over ``first`` to ``last``; None: it has none.

        A day stands if it is stored, all it descends from stands on that day, and it was made after
        them; a waived day stands.
        """
        return next(iter(self._faults(table, first, last)), None)

    def faults(self, table: str, first: dt.date, last: dt.date) -> dict[dt.date, Fault]:
        """By day: the root of its fault; the days that stand are not there. See ``fault``."""
        return {fault.day: fault for fault in self._faults(table, first, last)}

    def _faults(self, table: str, first: dt.date, last: dt.date) -> list[Fault]:
        rows = self.session.rows(_FAULTS, [table, table, first, last])
        return [Fault(*row) for row in rows]

    def is_waived(self, table: str, day: dt.date) -> bool:
        """Whether somebody decided that a refused day counts as closed."""
        return bool(
            self.session.rows("from meta.waivers where table_name = ? and day = ?", [table, day])
        )

    def waive(self, table: str, day: dt.date, reason: str) -> None:
        """Let a refused day count as closed."""
        if day not in self.refused(table, day):
            raise WarehouseError(f"{table} {day} is not refused: there is nothing to waive")
        self.session.db.execute("insert into meta.waivers values (?, ?, ?)", [table, day, reason])


_READS_EARLIER = rf"similar to '({'|'.join(('gold', *MEASURED_LAYERS, 'actions', 'marts'))})\..*'"
"""SQL, of the name of a table: a day of it is made of days before it too."""


_CODES = """
select table_name, stage, code, count(*), min(day), max(day) from meta.days
where status = 'stored' and stage is not null group by 1, 2, 3 order by 1, 5"""


_BY_OTHER_CODE = """
select day, rows from meta.days where table_name = ? and status = 'stored' and declaration = ?
  and not list_contains(?::varchar[], coalesce(code, ?))"""


_OTHER_CODE = "its code changed"


_STALE = f"""
with asked as (select ? as table_name, ?::varchar[] as upstream),
policy as (select look_back_days from meta.policies semi join asked using (table_name) where not ?),
mine as (select * exclude (table_name) from meta.days semi join asked using (table_name)),
reads as (
  select day, max(version) as version \
from meta.days as u join asked on list_contains(upstream, u.table_name)
  group by 1),
wanted as (select unnest(?::date[]) as day),
now as (select ? as declaration, ? as stage, ? as first_code, ?::varchar[] as codes)
select w.day, case
  when t.status = 'dropped' then null
  when v.day is null and t.day is null then 'is not there yet'
  when v.day is null and t.status = 'refused' then 'was refused'
  when v.day is null and t.declaration <> now.declaration then
    case when now.stage is not null and t.code is null
      then 'an earlier version of this package computed it, or its declaration changed'
      else 'its declaration changed' end
  when v.day is null and not list_contains(now.codes, coalesce(t.code, now.first_code))
    then '{_OTHER_CODE}'
  when (w.day > (select max(day) from mine) - (from policy)) is distinct from false
    and exists (from reads as u where u.version > t.made
      and (u.day = w.day or (u.day < w.day
        and (select table_name {_READS_EARLIER} from asked)))) then 'what it is made of changed'
  end, coalesce(t.code, now.first_code)
from now cross join wanted as w left join mine as t using (day)
left join (from meta.waivers semi join asked using (table_name)) as v using (day)
order by 1"""


_FAULTS = f"""
with recursive edges as (
  select table_name, upstream, 1 as depth from meta.lineage where table_name = ?
  union all
  select l.table_name, l.upstream, depth + 1
  from meta.lineage as l join edges as e on l.table_name = e.upstream),
family as (
  select ? as table_name, 0 as depth union all select upstream, max(depth) from edges group by 1),
wanted as (select unnest(generate_series(?::date, ?::date, interval 1 day))::date as day),
state as (
  select f.table_name, f.depth, w.day, d.status, d.made, d.reason, v.day is not null as waived
  from family as f cross join wanted as w
  left join meta.days as d on d.table_name = f.table_name and d.day = w.day
  left join meta.waivers as v on v.table_name = f.table_name and v.day = w.day)
select distinct on (day) table_name, day, reason, kind from (
  select table_name, depth, day, 'is refused (' || reason || ')' as reason, 'refused' as kind
  from state
  where status = 'refused' and not waived
  union all
  select table_name, depth, day, 'is no longer there (' || reason || ')', 'dropped' from state
  where status = 'dropped' and not waived
  union all
  select table_name, depth, day, 'is not there yet', 'missing' from state
  where status is null and not waived
  union all
  select t.table_name, t.depth, t.day, 'was made before ' || u.table_name || ' was recomputed',
    'stale'
  from edges as e join state as t on t.table_name = e.table_name
  join meta.days as u on u.table_name = e.upstream and u.version > t.made
    and (u.day = t.day or (u.day < t.day and t.table_name {_READS_EARLIER}))
  left join meta.policies as p on p.table_name = t.table_name
  where (t.day > \
(select max(day) from meta.days as n where n.table_name = t.table_name) - p.look_back_days)
    is distinct from false)
order by day, depth desc, table_name, reason"""
