"""What is said of a list that was stored, and of the log of what was done; on the warehouse."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from churn_orchestration.churn.campaign.declared import ACTION, CAMPAIGN, CONTROL, Campaign
from churn_orchestration.churn.campaign.rows import contacts
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.question.day_rows import read_files
from churn_orchestration.storage.warehouse import Tables

SHOWN = 3


def numbers(tables: Tables, campaign: Campaign, day: dt.date) -> dict[str, Any]:
    """The numbers of a stored day that are worth a plot."""
    file = literal(tables.day_file(campaign.table, day))
    [totals] = tables.records(
        "select count(action) as contacts, count(*) filter (arm = 'control') as held_back, "
        "count(*) filter (in_trial) as in_trial, count(next_in_line) as next_in_line, "
        "coalesce(sum(expected_gain) filter (action is not null), 0) as expected_gain, "
        "coalesce(sum(cost) filter (action is not null), 0) as cost, "
        f"any_value(money_price) as one_more_of_money, any_value(gap) as gap from {file}"
    )
    # A list that an older release issued has no hours.
    has = {name for name, *_ in tables.rows(f"describe from {file}")}
    hour = "any_value(hour_price)" if "hour_price" in has else "null"
    prices = tables.rows(
        f"select best_action, any_value(contact_price), {hour} "
        f"from {file} where best_action is not null group by 1 order by 1"
    )
    result = totals | {f"one_more_{action}": price for action, price, _ in prices}
    owner = {action.name: action.owner for action in campaign.actions}
    result |= {
        f"one_more_hour_of_{owner[action]}": price for action, _, price in prices if action in owner
    }
    result |= dict(
        tables.rows(f"select 'contacts_' || action, count(action) from {file} "
                    "where action is not null group by 1 order by 1")
    )  # fmt: skip
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in result.items()
        if value is not None
    }


def priorities(tables: Tables, campaign: Campaign, day: dt.date) -> tuple[list[float], list[float]]:
    """Gain less cost of who is on the list of a day, and of who waits; those who come first
    first.
    """
    file = literal(tables.day_file(campaign.table, day))
    net = f"select expected_gain - cost from {file}"
    contacted = tables.rows(f"{net} where action is not null order by 1 desc")
    waiting = tables.rows(f"{net} where next_in_line is not null order by next_in_line")
    return [each for (each,) in contacted], [each for (each,) in waiting]


def fault_of_log(
    tables: Tables, campaign: Campaign, campaigns: Sequence[str], customers: str, day: dt.date
) -> str | None:
    """The contacts, known at the end of a day, that are of nothing that is declared, in words.

    Parameters
    ----------
    campaigns : the names of all that share the log
    customers : the table whose rows of the day are all customers
    """
    key, log = identifier(campaign.entity), contacts(campaign, day)
    listed = ", ".join(map(literal, campaigns))
    actions = ", ".join(literal(action.name) for action in campaign.actions)
    mine = f"{CAMPAIGN} = {literal(campaign.name)}"
    there = f"select {key} from {literal(tables.day_file(customers, day))}"
    strangers = {
        "campaign": (CAMPAIGN, f"({CAMPAIGN} in ({listed})) is not true"),
        "action": (ACTION, f"{mine} and ({ACTION} in ({actions})) is not true"),
        campaign.entity: (key, f"{mine} and {key} not in ({there})"),
    }
    said = []
    for noun, (column, condition) in strangers.items():
        rows = tables.rows(
            f"select coalesce({column}::varchar, 'none'), count(*) from ({log}) "
            f"where {condition} group by 1 order by 2 desc, 1"
        )
        if rows:
            names = ", ".join(f"{name} ({count:,})" for name, count in rows[:SHOWN])
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            total = sum(count for _, count in rows)
            said.append(f"{total:,} contacts of an unknown {noun}: {names}{more}")
    return "; ".join(said) or None


def left_alone(tables: Tables, campaign: Campaign, day: dt.date) -> str | None:
    """Who of the control was contacted since they were on a list, in words."""
    key = identifier(campaign.entity)
    lists = read_files(tables.day_files(campaign.table, day).values())
    rows = tables.rows(
        f"select {key}::varchar, min(day) from ({contacts(campaign, day)}) join (select {key}, "
        f"min(as_of) as first from {lists} where arm = {literal(CONTROL)} "
        f"and control_share = {campaign.control!r} group by 1) "
        f"using ({key}) where {CAMPAIGN} = {literal(campaign.name)} and day > first "
        "group by 1 order by 2, 1"
    )
    if not rows:
        return None
    names = ", ".join(f"{name} on {first}" for name, first in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{len(rows):,} of the control were contacted: {names}{more}"
