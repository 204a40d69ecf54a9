"""The customers of a day as a campaign sees them, and the contacts that were known by then; as
SQL.
"""

import datetime as dt

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.campaign.declared import ACTION, CAMPAIGN, Campaign, week_of_list
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.segments.rules import FORECAST, VALUE
from churn_orchestration.churn.sql import identifier, literal

WORTH, WORTH_LOW, WORTH_HIGH = "value", "value_low", "value_high"
"""What a customer is worth who is kept, and the ends of its interval."""
HELD = "_held"
"""Whether the lot holds a customer back: it depends on who it is and on nothing else."""
OF_LATE = "_contacts_of_late"
"""Contacts of a customer by all campaigns of the log, within the days of the cap."""


def is_open(number: int) -> str:
    """The column that says whether an action is open to a customer."""
    return f"_open_{number}"


def is_cooling(number: int) -> str:
    """The column that says whether an action was taken with a customer a short while ago."""
    return f"_cooling_{number}"


def readable(campaign: Campaign) -> list[str]:
    """The columns that an action's condition may read."""
    return [
        campaign.entity, "as_of", *FORECAST,
        *(VALUE if campaign.values else ()), *campaign.segments,
    ]  # fmt: skip


def customers(
    campaign: Campaign, forecasts: str, values: str | None, segments: dict[str, str], as_of: dt.date
) -> str:
    """SQL: whom a day forecasts, one row each in the entity's order.

    Parameters
    ----------
    forecasts, values : SQL to select the day's rows from; values is None where all are worth the
        same
    segments : of each set that is read, SQL to select the day's rows from

    Returns
    -------
    entity, HELD, the columns of FORECAST, WORTH with its ends (null: not known), OF_LATE, and of
    each action whether it is open and whether it is cooling down
    """
    from churn_orchestration.churn.campaign.control import held_back_sql  # imports scipy

    key = identifier(campaign.entity)
    joined = f"(select {key}, as_of, {', '.join(FORECAST)} from {forecasts} where not backtest)"
    worth = f"{campaign.value!r}::double"
    ends = worth, worth, worth
    if values is not None:
        # Who is kept buys at least once.
        worth = "greatest(expected_spend, spend_per_purchase)"
        ends = worth, f"least(low, {worth})", f"if(high is null, null, greatest(high, {worth}))"
        read = f"select {key}, {', '.join(VALUE)}, spend_per_purchase, low, high from {values}"
        joined += f" left join ({read}) using ({key})"
    for name, rows in segments.items():
        joined += f" left join (select {key}, segment as {identifier(name)} from {rows})"
        joined += f" using ({key})"
    if campaign.outreach is not None:
        joined += f" left join ({_contacted(campaign, as_of)}) using ({key})"
    held = held_back_sql(key, campaign.name, campaign.key, campaign.control)
    columns = [key, f"{held} as {HELD}", *FORECAST]
    columns += [
        f"{sql} as {name}" for name, sql in zip((WORTH, WORTH_LOW, WORTH_HIGH), ends, strict=True)
    ]
    logged = campaign.outreach is not None
    columns.append(f"coalesce({OF_LATE}, 0) as {OF_LATE}" if logged else f"0 as {OF_LATE}")
    for number, action in enumerate(campaign.actions):
        cooling = f"coalesce({is_cooling(number)}, false)" if logged else "false"
        columns.append(f"coalesce(({action.when}), false) as {is_open(number)}")
        columns.append(f"{cooling} as {is_cooling(number)}")
    return f"select {', '.join(columns)} from {joined} order by {key}"


def contacts(campaign: Campaign, as_of: dt.date) -> str:
    """SQL: entity, campaign, action and day of what the log holds at the end of a day."""
    source = campaign.outreach
    assert source is not None
    named = f"{identifier(source.entity)} as {identifier(campaign.entity)}, {CAMPAIGN}, {ACTION}"
    return visible(source, as_of, f"{named}, day")


def _contacted(campaign: Campaign, as_of: dt.date) -> str:
    """SQL: of each customer of the log, the contacts of late, and which action is cooling down."""
    cap = campaign.cap
    since = literal(as_of - DAY * ((cap.days if cap else 2) - 2))  # the list is for the next day
    columns = [f"count(*) filter (day >= {since}) as {OF_LATE}"]
    for number, action in enumerate(campaign.actions):
        ended = f"false as {is_cooling(number)}"
        if action.cool_down_days is not None:
            after = literal(as_of - DAY * action.cool_down_days)
            ended = f"bool_or({_of(campaign, action.name)} and day > {after}) as "
            ended += is_cooling(number)
        columns.append(ended)
    key = identifier(campaign.entity)
    return f"select {key}, {', '.join(columns)} from ({contacts(campaign, as_of)}) group by 1"


def _of(campaign: Campaign, action: str) -> str:
    return f"{CAMPAIGN} = {literal(campaign.name)} and {ACTION} = {literal(action)}"


def taken_this_week(campaign: Campaign, as_of: dt.date) -> str:
    """SQL: action and contacts of the campaign in the week in which the day's list is acted on."""
    return (
        f"select {ACTION}, count(*) from ({contacts(campaign, as_of)}) "
        f"where {CAMPAIGN} = {literal(campaign.name)} "
        f"and day >= {literal(week_of_list(as_of))} group by 1"
    )
