"""`churn digest`: what a week brought, each number with the command that prints its rows.

A number is an aggregate of rows that are selected at the door, so its rows are those that it is
made of. They are of days up to the week's last; what was mended or waived later is as it is now,
and the sentence names the day.
"""

import datetime as dt
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.sql import literal, quoted
from churn_orchestration.landing.files import Files
from churn_orchestration.report.declared import declared
from churn_orchestration.report.new_files import missing_days
from churn_orchestration.report.ranking import AT_STAKE, questions, worth
from churn_orchestration.report.recommendations import OPEN, recommendations
from churn_orchestration.report.text import command, counted, grid, plain
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import shown
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

AT_RISK = "('high', 'critical')"
SHOWN = 20
SECTIONS = ("At risk", "Campaigns", "To decide", "Data")


@dataclass(frozen=True)
class Number:
    """One number of a digest.

    Parameters
    ----------
    name : as ``--rows`` takes it
    section : one of SECTIONS
    rows : SQL, the rows that it is made of, in order
    of : SQL, what it is of these rows; several are the ends of an interval
    shape : how one is written; ``words``: the sentence, with ``{}`` in its place
    says_zero : whether it is said where it is 0
    """

    name: str
    section: str
    rows: str
    words: str
    of: tuple[str, ...] = ("count(*)",)
    shape: str = ",d"
    says_zero: bool = True


@dataclass(frozen=True)
class Week:
    """Monday to Sunday, or to the newest scored day, ``until``."""

    monday: dt.date
    until: dt.date

    @property
    def is_over(self) -> bool:
        """Whether its Sunday, or a later day where that was refused, is scored."""
        return self.until == self.monday + 6 * DAY

    @classmethod
    def of(cls, business: Business, scored: Sequence[dt.date], day: dt.date | None) -> "Week":
        """The week of a day; None: the newest that is over or, before one is, the newest.

        Raises
        ------
        BusinessError : no day of it is scored
        """
        if not scored:
            raise BusinessError(
                f"{business.name}: nobody is scored yet: {command(business, 'run')}"
            )
        mondays, newest = sorted({_monday(each) for each in scored}), max(scored)
        weeks = {each: cls(each, min(each + 6 * DAY, newest)) for each in mondays}
        if day is None:
            over = [week for week in weeks.values() if week.is_over]
            return (over or list(weeks.values()))[-1]
        if _monday(day) not in weeks:
            raise BusinessError(
                f"{business.name}: no day of the week from {_monday(day)} on is scored; there are "
                f"{min(scored)} to {max(scored)}"
            )
        return weeks[_monday(day)]


def _monday(day: dt.date) -> dt.date:
    return day - day.weekday() * DAY


def newest_week(business: Business) -> Week | None:
    """The newest week that is over; None: there is none yet."""
    with door(business.state) as db:
        scored = _scored_days(Tables(db, business.state))
    week = Week.of(business, scored, None) if scored else None
    return week if week and week.is_over else None


def digest_report(
    business: Business, day: dt.date | None, rows: str | None
) -> tuple[dict[str, Any], str]:
    """The digest of the week of a day, in Markdown; None: see ``Week.of``.

    ``rows``: the name of one of its numbers, whose rows are shown instead.

    Raises
    ------
    BusinessError : no day of the week is scored, or it has no such number
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        week = Week.of(business, _scored_days(tables), day)
        numbers = list(_numbers(tables, business, week))
        if rows is not None:
            return _rows(tables, business, numbers, rows)
        said = [(number, _values(tables, number)) for number in numbers]
    said = [(n, values) for n, values in said if n.says_zero or any(values)]
    facts = [
        {
            "name": n.name, "section": n.section, "number": values, "says": _sentence(n, values),
            "command": _command(business, week, n),
        }
        for n, values in said
    ]  # fmt: skip
    about = {"business": business.name, "monday": week.monday, "until": week.until}
    return about | {"numbers": facts}, _markdown(business, week, facts)


def _scored_days(tables: Tables) -> list[dt.date]:
    days = set[dt.date]()
    for question in questions(tables.db):
        refuse_damaged(tables.db, f"predictions.{question}")
        table = f"predictions.{question}"
        days |= {
            d for (d,) in tables.rows(f"select distinct as_of from {table} where not backtest")
        }
    return sorted(days)


def _values(tables: Tables, number: Number) -> list[Any]:
    [values] = tables.rows(f"select {', '.join(number.of)} from ({number.rows})")
    return list(values)


def _written(number: Number, values: Sequence[Any]) -> str:
    if any(each is None for each in values):
        return "not known yet"
    return " to ".join(format(each, number.shape) for each in values)


def _sentence(number: Number, values: Sequence[Any]) -> str:
    return number.words.replace("{}", f"**{_written(number, values)}**", 1)


def _command(business: Business, week: Week, number: Number) -> str:
    return command(business, f"digest --week {week.monday} --rows {shlex.quote(number.name)}")


def _markdown(business: Business, week: Week, facts: Sequence[dict[str, Any]]) -> str:
    reach = "" if week.is_over else ", which is not over"
    lines = [f"# {business.name}: the week from {week.monday} to {week.until}{reach}"]
    for section in SECTIONS:
        those = [fact for fact in facts if fact["section"] == section]
        lines += ["", f"## {section}", ""] if those else []
        for fact in those:
            lines += [f"- {fact['says']}", f"  `{fact['command']}`"]
    return "\n".join(lines)


def _rows(
    tables: Tables, business: Business, numbers: Sequence[Number], name: str
) -> tuple[dict[str, Any], str]:
    """The rows of a number, and the number."""
    named = {number.name: number for number in numbers}
    if name not in named:
        raise BusinessError(
            f'{business.name}: --rows: no number "{name}" in that week; there are '
            f"{', '.join(named)}"
        )
    number, values = named[name], _values(tables, named[name])
    rows = tables.records(number.rows)
    facts = {"name": name, "number": values, "rows": rows}
    head = f"{name}: {_written(number, values)}, of {counted(len(rows), 'row')}"
    if not rows:
        return facts, head
    table = grid("", *rows[0])
    for row in rows[:SHOWN]:
        table.add_row(*map(_cell, row.values()))
    more = len(rows) - SHOWN
    return facts, plain(head, "", table, f"and {more:,} more (--json has all)" if more > 0 else "")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return "; ".join(map(str, value[:3]))
    return "-" if value is None else str(value)


def _numbers(tables: Tables, business: Business, week: Week) -> Iterator[Number]:
    for question in questions(tables.db):
        yield from _of_question(tables, question, week)
        yield from _of_drift(tables, business, question, week)
    for name in shown(tables, "actions"):
        refuse_damaged(tables.db, f"actions.{name}")
        yield from _of_effect(tables, name, week)
        yield from _of_room(tables, name, week)
    yield from _of_platform(tables, business, week)
    yield from _of_data(tables, business, week)


def _of_platform(tables: Tables, business: Business, week: Week) -> Iterator[Number]:
    """What the platform itself would change, and nobody has decided on by the end of a week."""
    those = [row for row in recommendations(tables, week.until) if row["status"] == OPEN]
    if those:
        rows = ", ".join(
            f"({', '.join(literal(row[name]) for name in ('id', 'since', 'advice', 'reason'))})"
            for row in those
        )
        yield Number(
            "recommended", "To decide",
            f"from (values {rows}) as open (id, since, advice, reason) order by since, advice",
            f"What the platform would change, undecided on {week.until}: {{}}. "
            f"`{command(business, 'recommendations')}` lists all.",
        )  # fmt: skip


def _of_question(tables: Tables, question: str, week: Week) -> Iterator[Number]:
    """Who is at risk at the end of a week, who came and who left since the one before, and what is
    at stake.
    """
    table = f"predictions.{question}"
    key = quoted(tables.rows(f"describe {table}")[0][0])
    mine = f"from {table} where not backtest and as_of"
    [(day, before)] = tables.rows(
        f"select (select max(as_of) {mine} between {literal(week.monday)} and "
        f"{literal(week.until)}), (select max(as_of) {mine} < {literal(week.monday)})"
    )
    if day is None:
        return
    now = f"(select {key}, band, churn_probability, recent_value {mine} = {literal(day)})"
    order = f"order by {AT_STAKE} desc nulls last, churn_probability desc, {key}"
    risky = f"from {now} where band in {AT_RISK} {order}"
    words = f"{question}: customers at risk (bands high and critical) on {day}: {{}}."
    yield Number(f"{question}.at_risk", "At risk", risky, words)
    stake = f"select *, {AT_STAKE} as at_stake from {now} {order}"
    yield Number(
        f"{question}.at_stake", "At risk", stake,
        f"{question}: at stake on {day}, churn probability x {worth(tables, question)}: {{}}.",
        ("coalesce(sum(at_stake), 0)::double",), ",.0f",
    )  # fmt: skip
    if before is None:
        return
    then = f"(select {key}, band as was {mine} = {literal(before)})"
    both = f"from {now} full join {then} using ({key})"
    change = f"select {key}, was, band, churn_probability {both}"
    for name, condition, said in (
        ("came", f"band in {AT_RISK} and (was in {AT_RISK}) is not true", "came to be at risk"),
        ("left", f"was in {AT_RISK} and band not in {AT_RISK}", "ceased to be at risk"),
        ("gone", f"was in {AT_RISK} and band is null", "were at risk and are forecast no more"),
        ("moved", "was <> band", "moved from one band to another"),
    ):
        yield Number(
            f"{question}.{name}", "At risk", f"{change} where {condition} order by {key}",
            f"{question}: customers who {said}, on {day} against {before}: {{}}.",
            says_zero=name != "gone",
        )  # fmt: skip


def _of_drift(tables: Tables, business: Business, question: str, week: Week) -> Iterator[Number]:
    """Features whose drift was harmful on a day of a week."""
    drift = f"{question}_drift"
    if drift not in shown(tables, "monitoring"):
        return
    refuse_damaged(tables.db, f"monitoring.{drift}")
    yield Number(
        f"{question}.drifted", "Data",
        f"select feature, count(distinct {MEASURED_ON}) as days, max({MEASURED_ON}) as last, "
        f"max_by(effect, abs(effect)) as effect from monitoring.{drift} where verdict = 'harmful' "
        f"and {MEASURED_ON} between {literal(week.monday)} and {literal(week.until)} "
        "group by 1 order by 1",
        f"{question}: features that changed in the week and shift the forecasts: {{}}. "
        f"`{command(business, 'watch')}` shows how far.", says_zero=False,
    )  # fmt: skip


def _of_effect(tables: Tables, name: str, week: Week) -> Iterator[Number]:
    """What a campaign has saved by the end of a week, as far as it is known."""
    effect = f"monitoring.{name}_effect"
    if f"{name}_effect" not in shown(tables, "monitoring"):
        return
    refuse_damaged(tables.db, effect)
    until = f"{MEASURED_ON} <= {literal(week.until)} and segments is null"
    rows = tables.records(
        f"from {effect} where {until} qualify {MEASURED_ON} = max({MEASURED_ON}) over () "
        "order by outcome"
    )
    for row in rows:
        of = f"outcome = {literal(row['outcome'])} and {MEASURED_ON} = {literal(row[MEASURED_ON])}"
        saved = ", ".join(
            f"{end} * treated as saved{suffix}"
            for end, suffix in (("effect", ""), ("low", "_low"), ("high", "_high"))
        )
        kept = Number(
            f"{name}.{row['outcome']}", "Campaigns",
            f"select outcome, {MEASURED_ON}, verdict, treated, control, waiting, effect, low, "
            f"high, {saved} from {effect} where segments is null and {of}",
            "", ("any_value(saved_low)", "any_value(saved_high)"), "+,.1f",
        )  # fmt: skip
        yield replace(kept, words=_saved_words(name, row))
        if row["verdict"] == "harms":
            words = (
                f"{name} does harm, {_what(row)} by the 95 % interval: {{}}. Stop it, or change "
                "what it does."
            )
            yield replace(kept, name=f"{kept.name}.harm", section="To decide", words=words)
    if rows:
        yield Number(
            f"{name}.contaminated", "Campaigns",
            f"select outcome, {MEASURED_ON}, control, waiting, contaminated from {effect} where "
            f"segments is null and {MEASURED_ON} = {literal(rows[0][MEASURED_ON])} order by all",
            f"{name}: customers of the control who had a contact all the same: {{}}. They count as "
            "control, so the effect looks smaller than it is.",
            ("max(contaminated)",), says_zero=False,
        )  # fmt: skip


def _saved_words(name: str, row: Mapping[str, Any]) -> str:
    """The sentence about an effect: praise only where it is known to work."""
    interval = " (95 % interval)"
    known = {"works": " It works.", "harms": " It does harm."}.get(
        row["verdict"], " Whether it does anything is not known yet."
    )
    if row["low"] is None:  # the number says that it is not known
        interval = known = ""
    return (
        f"{name}: {_what(row)} by {row[MEASURED_ON]}, compared with the control: {{}}{interval}."
        f"{known} {row['treated']:,} treated customers and {row['control']:,} of the "
        f"control have their outcome; {row['waiting']:,} wait for it."
    )


def _what(row: Mapping[str, Any]) -> str:
    return "customers kept" if row["outcome"] == "leaves" else "additional spend"


def _of_room(tables: Tables, name: str, week: Week) -> Iterator[Number]:
    """What one more contact, and one more unit of money, would have earned on the lists of a
    week.
    """
    table = f"actions.{name}"
    of_week = f"as_of between {literal(week.monday)} and {literal(week.until)}"
    actions = tables.rows(
        f"select distinct best_action from {table} where {of_week} and best_action is not null "
        "order by 1"
    )
    for (action,) in actions:
        rows = (
            "select as_of, count(action) as contacts, count(next_in_line) as waiting, "
            f"any_value(contact_price) as one_more, any_value(cost) as cost from {table} "
            f"where {of_week} and best_action = {literal(action)} group by 1 order by 1"
        )
        [(lists,)] = tables.rows(f"select count(*) from ({rows})")
        yield Number(
            f"{name}.{action}", "To decide", rows,
            f"{name}: one more {action} a day would have earned {{}} after its cost, on average "
            f"over the {counted(lists, 'list')} of the week.",
            ("avg(one_more)",), ",.2f", says_zero=False,
        )  # fmt: skip
    if "hour_price" in {column for column, *_ in tables.rows(f"describe {table}")}:
        hours = (
            f"select as_of, owner, any_value(hour_price) as one_more from {table} where {of_week} "
            "and owner is not null and hour_price is not null group by all order by all"
        )
        for (owner,) in tables.rows(f"select distinct owner from ({hours}) order by 1"):
            yield Number(
                f"{name}.hours.{owner}", "To decide",
                f"from ({hours}) where owner = {literal(owner)} order by as_of",
                f"{name}: one more hour of {owner} a day would have earned {{}}, on average.",
                ("avg(one_more)",), ",.2f", says_zero=False,
            )  # fmt: skip
    money = (
        f"select as_of, any_value(money_price) as one_more from {table} where {of_week} "
        "and money_price is not null group by 1 order by 1"
    )
    yield Number(
        f"{name}.money", "To decide", money,
        f"{name}: one more unit of money a day would have earned {{}} beyond itself, on average.",
        ("avg(one_more)",), ",.2f", says_zero=False,
    )  # fmt: skip


def _of_data(tables: Tables, business: Business, week: Week) -> Iterator[Number]:
    """What is refused, has changed, or has not come, of days up to the end of a week."""
    until, now = f"day <= {literal(week.until)}", f"as of {tables.days.newest()}"
    status = command(business, "status")
    yield Number(
        "refused", "Data",
        "select table_name, day from meta.days anti join meta.waivers using (table_name, day) "
        f"where status = 'refused' and {until} order by day, table_name",
        f"Days up to {week.until} of which a table is refused, {now}: {{}}. `{status}` says why, "
        "and what mends it.", ("count(distinct day)",), says_zero=False,
    )  # fmt: skip
    yield Number(
        "changed", "Data",
        "select table_name, column_name, since, max(day) as last from meta.changes "
        f"anti join meta.accepted using (table_name, column_name, since) where {until} "
        "group by all order by since, table_name, column_name",
        f"Changes in what landed up to {week.until}, not accepted, {now}: {{}}. "
        f"`{status}` says how.", says_zero=False,
    )  # fmt: skip
    yield Number(
        "quarantined", "Data",
        "select table_name, day, rows from meta.days where table_name like 'quarantine.%' and "
        f"status = 'stored' and rows > 0 and day between {literal(week.monday)} and "
        f"{literal(week.until)} order by day, table_name",
        "Rows of the week that break a contract, and so count nowhere: {}. The tables of "
        "quarantine have them, each with its reason.",
        ("coalesce(sum(rows), 0)::bigint",), says_zero=False,
    )  # fmt: skip
    late = [
        (source, day)
        for source, pattern in sorted(declared(business).files.items())
        for day in missing_days(tables, business, source, Files(pattern))
        if week.monday <= day <= week.until
    ]
    if late:
        rows = ", ".join(f"({literal(source)}, {literal(day)})" for source, day in late)
        yield Number(
            "late", "Data", f"select * from (values {rows}) as late (source, day)",
            f"Files of the week that have not come, {now}: {{}}. What they would hold does not "
            "count.",
        )  # fmt: skip
