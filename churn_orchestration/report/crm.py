"""`churn export --shape crm`: the contacts of a day for the system in which people work, with a
column that they fill in and hand back.
"""

import datetime as dt
from pathlib import Path
from typing import Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.sql import literal, quoted
from churn_orchestration.report import segments
from churn_orchestration.report.campaign import campaigns
from churn_orchestration.report.sheets import refuse_other_names, write_rows
from churn_orchestration.report.text import command
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.freshness import beside, shown_upstream
from churn_orchestration.storage.warehouse import Tables

REASONS = 3
DONE_ON = "done_on"
"""The column that is empty in the export: the day on which somebody made the contact."""


def exported_contacts(
    business: Business, name: str | None, day: dt.date | None, out: Path
) -> tuple[dict[str, Any], str]:
    """Write the contacts of a day's list (None: the newest) to a file, the most urgent first.

    One row per contact: who, what, by whom and until when, why, what is at stake, and
    ``decision_id``, by which the row is known when it comes back. Nobody who is held back is in it.

    Parameters
    ----------
    name : the campaign; None: the only one

    Raises
    ------
    BusinessError : the name of the file ends in something else; there is no such campaign or day
    """
    refuse_other_names(out)
    with door(business.state) as db:
        tables = Tables(db, business.state)
        there = campaigns(tables, business, name)
        if len(there) > 1:
            raise BusinessError(
                f"{business.name}: there are {len(there)} campaigns; wanted: --campaign, one of "
                f"{', '.join(there)}"
            )
        [campaign] = there
        day = _day_of(tables, campaign, day)
        rows = write_rows(db, _contacts(tables, campaign, day), out)
    facts = {"campaign": campaign, "day": day, "rows": rows, "out": str(out)}
    message = (
        f"{rows:,} contacts of {campaign}, to make from {day + dt.timedelta(days=1)} on, in {out}; "
        f"who makes one writes the day into {DONE_ON}, and the file is read back as outreach "
        f"(docs/how-to/export.md)"
    )
    if not rows:
        why = command(business, f"actions --campaign {campaign} --day {day}")
        message = f"{campaign} contacts nobody on the list of {day}: {out} has no row; `{why}`"
    return facts, message


def _day_of(tables: Tables, campaign: str, day: dt.date | None) -> dt.date:
    table = f"actions.{campaign}"
    refuse_damaged(tables.db, table)
    days = [d for (d,) in tables.rows(f"select distinct as_of from {table} order by 1")]
    if not days or (day is not None and day not in days):
        reach = f"there are {days[0]} to {days[-1]}" if days else "no day has a list yet"
        raise BusinessError(f"{table}: no {day or 'day'}; {reach}")
    return day or days[-1]


def _contacts(tables: Tables, campaign: str, day: dt.date) -> str:
    """SQL: the rows of the export, in the order of `churn actions`.

    Of 16 hexadecimal digits one in 800 reads as a number, such as 12e45: hence the ``d``.
    """
    table = f"actions.{campaign}"
    entity = tables.rows(f"describe {table}")[0][0]
    key = quoted(entity)
    [forecasts] = shown_upstream(tables, table, "predictions")
    refuse_damaged(tables.db, forecasts)
    listed = (
        f"select decision_id, {literal(campaign)} as campaign, as_of, {key}, action, channel, "
        "owner, deadline, churn_probability, band, value, value_low, value_high, expected_gain, "
        f"expected_gain - cost as net from {table} where as_of = {literal(day)} "
        "and action is not null"
    )
    reasons = ", ".join(f"reasons[{n}] as reason_{n}" for n in range(1, REASONS + 1))
    why = f"select {key}, {reasons} from {forecasts} where as_of = {literal(day)} and not backtest"
    joined = segments.joined(tables, forecasts, entity, listed, day)
    names = [f"segment_{each}" for each in beside(tables, "segments", forecasts)]
    columns = [
        "'d' || decision_id as decision_id", "campaign", "as_of", key, "action", "channel", "owner",
        "deadline", "round(churn_probability, 4) as churn_probability", "band",
        *(f"round({each}, 2) as {each}" for each in ("value", "value_low", "value_high")),
        "round(expected_gain, 2) as expected_gain", *map(quoted, names),
        *(f"reason_{n}" for n in range(1, REASONS + 1)), f"null::date as {DONE_ON}",
    ]  # fmt: skip
    return (
        f"select {', '.join(columns)} from ({joined}) left join ({why}) using ({key}) "
        f"order by deadline nulls last, net desc, {key}"
    )
