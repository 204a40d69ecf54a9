"""`churn actions`, the list of a day for those who act on it; `churn campaign`, what came of it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.sql import literal, quoted
from churn_orchestration.report.text import command, counted, grid, plain
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import beside, shown, shown_upstream
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

REASONS, WAITING = 3, 5
WEEK, LONG = 7, 104
MOST_EXPLAINED = 0.9
"""A share above this of few grades says little of those to come."""
VERDICTS = {"works": "works", "harms": "harms", "not_known_yet": "not known yet"}


def of_entity(
    tables: Tables, table: str, key: str, entity: object, day: dt.date
) -> list[dict[str, Any]]:
    """What each campaign does about a customer on a day; ``table``: of forecasts."""
    result = []
    for name in beside(tables, "actions", table):
        refuse_damaged(tables.db, f"actions.{name}")
        rows = tables.records(
            f"select arm, action, owner, channel, deadline, why, expected_gain, cost "
            f"from actions.{name} where {quoted(key)} = {literal(entity)} "
            f"and as_of = {literal(day)}"
        )
        result += [{"campaign": name, **row} for row in rows]
    return result


def joined(tables: Tables, table: str, key: str, select: str, day: dt.date) -> str:
    """SQL: the rows of a select on customers, with the action of each campaign, as
    ``action_<campaign>``, and why there is none, as ``why_<campaign>``; ``table``: of their
    forecasts.
    """
    for name in beside(tables, "actions", table):
        refuse_damaged(tables.db, f"actions.{name}")
        of_day = (
            f"select {quoted(key)}, action as {quoted(f'action_{name}')}, "
            f"why as {quoted(f'why_{name}')} from actions.{name} where as_of = {literal(day)}"
        )
        select = f"from ({select}) left join ({of_day}) using ({quoted(key)})"
    return select


def actions_report(
    business: Business, name: str | None, day: dt.date | None, most: int, owner: str | None
) -> tuple[dict[str, Any], str]:
    """Of each campaign, or of one, the list of a day (None: the newest): its first rows, what it
    comes to, who is next in line, and what more room would earn.

    ``owner``: whose rows are shown; None: all.

    Raises
    ------
    BusinessError : there is no such campaign, day or owner
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        there = campaigns(tables, business, name)
        owners = {each: _owners(tables, each) for each in there}
        if owner is not None and not any(owner in those for those in owners.values()):
            known = ", ".join(sorted(set().union(*owners.values()))) or "nobody"
            raise BusinessError(f"{business.name}: nothing was ever for {owner}, but for {known}")
        facts = {
            each: _of_list(tables, each, day, most, owner)
            for each in there
            if owner is None or owner in owners[each]
        }
    parts = [part for each, result in facts.items() for part in _list_text(each, result)]
    return {"campaigns": facts}, plain(*parts)


def campaigns(tables: Tables, business: Business, name: str | None) -> list[str]:
    """The campaigns at the door, or the one of a name. Raises BusinessError: there is none such."""
    there = shown(tables, "actions")
    if there and name in (None, *there):
        return [each for each in there if name in (None, each)]
    message = f'no campaign "{name}", but {", ".join(there)}'
    if not there:
        message = (
            f"there is no campaign: declare a `Campaign` block, then {command(business, 'run')}"
        )
    raise BusinessError(f"{business.name}: {message}")


def _owners(tables: Tables, name: str) -> set[str]:
    refuse_damaged(tables.db, f"actions.{name}")
    rows = tables.rows(f"select distinct owner from actions.{name} where owner is not null")
    return {owner for (owner,) in rows}


def _of_list(
    tables: Tables, name: str, day: dt.date | None, most: int, owner: str | None
) -> dict[str, Any]:
    table = f"actions.{name}"
    refuse_damaged(tables.db, table)
    days = [d for (d,) in tables.rows(f"select distinct as_of from {table} order by 1")]
    if not days or (day is not None and day not in days):
        reach = f"there are {days[0]} to {days[-1]}" if days else "no day has a list yet"
        raise BusinessError(f"{table}: no {day or 'day'}; {reach}")
    day = day or days[-1]
    key = tables.rows(f"describe {table}")[0][0]
    of_day = f"(from {table} where as_of = {literal(day)})"
    mine = "action is not null"
    if owner is not None:
        mine += f" and owner = {literal(owner)}"
    [forecasts] = shown_upstream(tables, table, "predictions")
    why = f"select {quoted(key)}, reasons from {forecasts} where as_of = {literal(day)}"
    rows = f"(select *, churn_probability * value as at_stake from {of_day}) "
    rows += f"left join ({why}) using ({quoted(key)})"
    columns = "best_action as action, churn_probability, value, at_stake, expected_gain, cost"
    listed = tables.records(
        f"select {quoted(key)}, owner, channel, deadline, {columns}, gain_low, gain_high, "
        f"reasons[:{REASONS}] as reasons, decision_id from {rows} where {mine} "
        f"order by deadline nulls last, expected_gain - cost desc, {quoted(key)} limit {most}"
    )
    waiting = tables.records(
        f"select {quoted(key)}, next_in_line, {columns} from {rows} "
        f"where next_in_line <= {WAITING} order by next_in_line"
    )
    totals = tables.records(
        "select best_action as action, any_value(owner) as owner, count(action) as contacts, "
        "coalesce(sum(expected_gain) filter (action is not null), 0) as expected_gain, "
        "coalesce(sum(cost) filter (action is not null), 0) as cost, "
        "count(next_in_line) as waiting, any_value(contact_price) as one_more_contact "
        f"from {of_day} where best_action is not null group by 1 order by contacts desc, 1"
    )
    nobody = tables.records(
        "select split_part(why, ':', 1) as why, count(*) as customers "
        f"from {of_day} where why is not null group by 1 order by 2 desc, 1"
    )
    [(money, gap)] = tables.rows(f"select any_value(money_price), any_value(gap) from {of_day}")
    hours = list[dict[str, Any]]()
    if "hour_price" in {column for column, *_ in tables.rows(f"describe {table}")}:
        hours = tables.records(
            f"select owner, any_value(hour_price) as one_more_hour from {of_day} "
            "where owner is not null and hour_price is not null group by 1 order by 1"
        )
    return {
        "day": day, "key": key, "owner": owner, "list": listed, "next_in_line": waiting,
        "actions": totals, "nobody": nobody, "hours": hours, "one_more_of_money": money, "gap": gap,
    }  # fmt: skip


def _list_text(name: str, facts: Mapping[str, Any]) -> list[str | Table]:
    day, key, actions = facts["day"], facts["key"], facts["actions"]
    contacts = sum(row["contacts"] for row in actions)
    gain, cost = (sum(row[column] for row in actions) for column in ("expected_gain", "cost"))
    whose = f" for {facts['owner']}" if facts["owner"] else ""
    head = (
        f"{name}, to act on from {day + DAY}: {counted(contacts, 'contact')} that are expected to "
        f"gain {gain:,.0f} and cost {cost:,.0f}"
    )
    table = grid(
        f"The first {len(facts['list'])}{whose}", key, "action", "owner", "by", "churn", "at stake",
        "gain", "why",
    )  # fmt: skip
    for column in (1, 2, 3, 7):
        table.columns[column].justify = "left"
    for row in facts["list"]:
        table.add_row(
            str(row[key]), row["action"], row["owner"], str(row["deadline"] or "-"),
            f"{row['churn_probability']:.0%}", _money(row["at_stake"]),
            _money(row["expected_gain"]), "\n".join(row["reasons"] or []),
        )  # fmt: skip
    shown: list[str | Table] = [table, ""] if facts["list"] else []
    return [
        head, "", *shown, _totals(actions), "", *_waiting(key, facts["next_in_line"]),
        *_limits(facts), "",
    ]  # fmt: skip


def _totals(actions: Sequence[Mapping[str, Any]]) -> Table:
    table = grid("By action", "", "contacts", "gain", "cost", "waiting", "one more would earn")
    for row in actions:
        table.add_row(
            row["action"], f"{row['contacts']:,}", _money(row["expected_gain"]),
            _money(row["cost"]), f"{row['waiting']:,}", f"{row['one_more_contact']:,.2f}",
        )  # fmt: skip
    return table


def _waiting(key: str, rows: Sequence[Mapping[str, Any]]) -> list[str | Table]:
    if not rows:
        return ["nobody waits: every contact that pays is on the list", ""]
    table = grid("Next in line", key, "place", "action", "churn", "at stake", "gain", "cost")
    for row in rows:
        table.add_row(
            str(row[key]), str(row["next_in_line"]), row["action"],
            f"{row['churn_probability']:.0%}", *map(_money, (row["at_stake"],
            row["expected_gain"], row["cost"])),
        )  # fmt: skip
    return [table, ""]


def _limits(facts: Mapping[str, Any]) -> list[str]:
    nobody = ", ".join(f"{row['why']} {row['customers']:,}" for row in facts["nobody"])
    lines = [f"nobody contacts the others: {nobody}"] if nobody else []
    lines += [
        f"one more hour of {row['owner']} would earn {row['one_more_hour']:,.2f}"
        for row in facts["hours"]
    ]
    if facts["one_more_of_money"]:
        lines.append(f"one more unit of money would earn {facts['one_more_of_money']:.2f}")
    if facts["gap"] is not None:
        lines.append(f"this is at least {1 - facts['gap']:.2%} of what any list could gain here")
    return lines


def campaign_report(business: Business, name: str | None) -> tuple[dict[str, Any], str]:
    """Of each campaign, or of one: the effect so far, whether its lots look fair, and how long
    until an effect as it is believed is known.

    Raises
    ------
    BusinessError : there is no such campaign
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        facts = {each: _of_effect(tables, each) for each in campaigns(tables, business, name)}
    parts = [part for each, result in facts.items() for part in _effect_text(each, result)]
    return {"campaigns": facts}, plain(*parts)


def _of_effect(tables: Tables, name: str) -> dict[str, Any]:
    table, effect = f"actions.{name}", f"monitoring.{name}_effect"
    refuse_damaged(tables.db, table, effect)
    there = f"{name}_effect" in shown(tables, "monitoring")
    rows = there and tables.records(
        f"select * exclude ({MEASURED_ON}) from {effect} "
        f"where {MEASURED_ON} = (select max({MEASURED_ON}) from {effect})"
    )
    [(day,)] = tables.rows(f"select max(as_of) from {table}")
    key = quoted(tables.rows(f"describe {table}")[0][0])
    # As in the effect: whose first day in the trial was under another share is left out.
    first = (
        f"(from (from {table} where in_trial qualify row_number() over (partition by {key} "
        f"order by as_of) = 1) where (control_share, question) in "
        f"(select (control_share, question) from {table} where as_of = {literal(day)}))"
    )
    trial = tables.records(
        "select arm, as_of, churn_probability, value, band, effect, control_share "
        f"from {first} order by {key}"
    )
    [forecasts] = shown_upstream(tables, table, "predictions")
    [(wait,)] = tables.rows(f"select max(label_known_on - as_of) from {forecasts}")
    return {
        "day": day, "effects": rows or [], "in_trial": len(trial), "outcome_after_days": wait,
        "balance": _balance(trial), "sizing": _sizing(trial, day, _explained(tables, forecasts)),
        "learned": _learned(tables, name),
    }  # fmt: skip


def _learned(tables: Tables, name: str) -> list[dict[str, Any]]:
    """What the campaign has learned of each action by the last month-end; empty: it does not."""
    table = f"monitoring.{name}_uplift"
    if f"{name}_uplift" not in shown(tables, "monitoring"):
        return []
    refuse_damaged(tables.db, table)
    newest = f"(select max({MEASURED_ON}) from {table})"
    return tables.records(
        f"select * exclude ({MEASURED_ON}) from {table} where {MEASURED_ON} = {newest} order by 1"
    )


def _balance(trial: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How the arms differ in what was known before; None where one of them is empty."""
    from dataclasses import asdict

    from churn_orchestration.churn.campaign.control import balance

    arms = {
        arm: {
            column: [row[column] for row in trial if row["arm"] == arm]
            for column in ("churn_probability", "value", "band")
        }
        for arm in ("treated", "control")
    }
    if not all(arm["band"] for arm in arms.values()):
        return None
    return asdict(balance(arms["treated"], arms["control"], trial[0]["control_share"]))


def _explained(tables: Tables, forecasts: str) -> float:
    """The share of the outcomes' variance that forecasts explain, by those that were graded; 0:
    too few were.
    """
    from churn_orchestration.churn.campaign.effect import FEWEST

    name = f"{forecasts.partition('.')[2]}_graded"
    if name not in shown(tables, "monitoring"):
        return 0.0
    grades = f"monitoring.{name}"
    refuse_damaged(tables.db, grades)
    key = quoted(tables.rows(f"describe {grades}")[0][0])
    [(number, share)] = tables.rows(
        "select count(*), regr_r2(label::int, churn_probability) from "
        f"(select label, churn_probability from {grades} qualify row_number() over (partition by "
        f"{key}, as_of order by {MEASURED_ON} desc, regraded desc nulls last) = 1) "
        "where label is not null"
    )
    return min(share, MOST_EXPLAINED) if number >= 2 * FEWEST and share == share and share else 0.0


def _sizing(
    trial: Sequence[Mapping[str, Any]], day: dt.date, explained: float
) -> dict[str, Any] | None:
    """How many customers it takes to know the believed effect, and who enters; None: nobody is in
    the trial.

    ``explained``: the share of the outcomes' variance that forecasts explain
    """
    from churn_orchestration.churn.campaign.control import sizing

    if not trial:
        return None
    began = min(row["as_of"] for row in trial)
    since = max(began, day - WEEK * DAY)
    days = (day - since).days
    entered = sum(row["as_of"] > since for row in trial)
    per_week = entered * WEEK / days if days else 0.0
    rate = sum(row["churn_probability"] for row in trial) / len(trial)
    believed = sum(row["churn_probability"] * row["effect"] for row in trial) / len(trial)
    share = trial[0]["control_share"]
    need = sizing(rate, believed, share, per_week, explained=explained)
    result = {
        "base_rate": rate, "effect": believed, "per_week": per_week, "explained": explained,
    }  # fmt: skip
    for look, wanted in (("every_look", need.every_look), ("one_look", need.one_look)):
        more = max(0, wanted.customers - len(trial))
        result |= {
            f"{look}_customers": wanted.customers,
            f"{look}_weeks": 0 if not more else -(-more // per_week) if per_week else None,
        }
    weeks = result["every_look_weeks"]
    result["remedy"] = need.reason if weeks is None or weeks > LONG else None
    return result


def _effect_text(name: str, facts: Mapping[str, Any]) -> list[str | Table]:
    whole = [row for row in facts["effects"] if row["segments"] is None]
    table = grid(
        f"{name} on {facts['day']}: {counted(facts['in_trial'], 'customer')} in the trial", "",
        "treated", "control", "waiting", "of treated", "of control", "effect", "95 % at every look",
        "verdict",
    )  # fmt: skip
    parts = [row for row in facts["effects"] if row["segments"] and row["treated"]]
    for row in [*whole, *parts]:
        words = row["outcome"]
        if row["segments"]:
            words = f"  {row['outcome']}, {row['segments']} {row['segment']}"
        share = row["outcome"] == "leaves"
        low, high = (_effect_of(row[end], share) for end in ("low", "high"))
        table.add_row(
            words, f"{row['treated']:,}", f"{row['control']:,}", f"{row['waiting']:,}",
            *(_mean(row[column], share) for column in ("treated_mean", "control_mean")),
            _effect_of(row["effect"], share), f"{low} to {high}" if low != "-" else "-",
            VERDICTS[row["verdict"]],
        )  # fmt: skip
    learned = [_learned_message(row) for row in facts["learned"]]
    return [table, "", *_said(whole), *learned, *_fair(facts["balance"]), *_how_long(facts), ""]


def _said(whole: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"{row['outcome']}: about {row['more_outcomes']:,} more outcomes until it is known, if the "
        "effect is as it looks"
        for row in whole
        if row["verdict"] == "not_known_yet" and row["more_outcomes"]
    ]
    if whole and whole[0]["contaminated"]:
        lines.append(
            f"{counted(whole[0]['contaminated'], 'customer')} of the control had a contact; they "
            "count as control all the same, and the effect looks smaller"
        )
    return lines


def _learned_message(row: Mapping[str, Any]) -> str:
    outcomes = f"{row['treated'] + row['control']:,} outcomes known by {row['cutoff']}"
    if row["verdict"] == "too_few":
        return f"{row['action']}: {outcomes} are too few to learn its effect"
    area = f"Qini {row['qini']:+.4f} (95 % at every look {row['qini_low']:+.4f} to "
    area += f"{row['qini_high']:+.4f}), {outcomes}"
    used = "the declared effect, for what was learned is not known to be better"
    if row["verdict"] == "learned":
        used = "the effect that was learned of each customer"
    return f"{row['action']}: lists use {used}: {area}"


def _fair(balance: Mapping[str, Any] | None) -> list[str]:
    if balance is None:
        return ["an arm has nobody in the trial yet"]
    largest = max(balance["differences"], key=lambda each: abs(each["standardised"]))
    look = "the lots look fair" if balance["fair"] else "the lots do not look fair"
    return [
        f"{look}: {balance['treated']:,} treated and {balance['control']:,} control, of whom "
        f"chance draws as many or as few in {balance['share_p']:.1%} of cases; they "
        f"differ most in {largest['name']}, by {largest['standardised']:+.2f} standard deviations; "
        f"chance makes arms that differ as much in {balance['joint_p']:.1%} of cases"
    ]


def _how_long(facts: Mapping[str, Any]) -> list[str]:
    need = facts["sizing"]
    if need is None:
        return ["nobody is in the trial yet: no action pays"]
    lines = [
        f"believed: of those in the trial {need['base_rate']:.1%} would leave, and "
        f"{need['base_rate'] - need['effect']:.1%} of whom it acts on; about "
        f"{need['per_week']:,.0f} customers a week enter",
    ]
    if need["explained"]:
        lines.append(
            f"  forecasts explain {need['explained']:.0%} of how outcomes differ, by those that "
            "were graded, so it takes that much fewer"
        )
    for look, words in (("every_look", "with a look on any day"), ("one_look", "with one look")):
        weeks = need[f"{look}_weeks"]
        when = "nobody enters, so never" if weeks is None else f"in {counted(int(weeks), 'week')}"
        if weeks == 0:
            when = "they are there"
        lines.append(
            f"  {words} that takes {need[f'{look}_customers']:,} customers: {when}, and "
            f"{facts['outcome_after_days']} days more for their outcomes"
        )
    lines += [f"  {need['remedy']}"] if need["remedy"] else []
    return lines


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.{0 if abs(value) >= 100 else 2}f}"


def _mean(value: float | None, share: bool) -> str:
    return "-" if value is None else f"{value:.1%}" if share else f"{value:,.2f}"


def _effect_of(value: float | None, share: bool) -> str:
    return "-" if value is None else f"{value:+.1%}" if share else f"{value:+,.2f}"
