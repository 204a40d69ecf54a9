"""Contacts that are made of a platform's lists: which of those listed, and when."""

import datetime as dt
import hashlib
import re
from pathlib import Path

import duckdb
import numpy as np

from churn_orchestration.churn.sql import connect, literal
from churn_orchestration.simulator import helpdesk, retail
from churn_orchestration.simulator.world import ScenarioError, World


def made_of_list(world: World, number: int, signed_up: np.ndarray, before: int) -> np.ndarray:
    """(customer, day, campaign, 1) of the contacts that a campaign of ``world.outreach`` makes of
    its lists; a customer who is listed on several days may be contacted after each.

    Whether a row is acted on, and when, is a hash of customer, day and action under the world's
    seed: another row of the lists changes nothing of it.

    Parameters
    ----------
    signed_up : of the customers of a block, day of the sign-up, ascending
    before : number of the first of them

    Raises
    ------
    ScenarioError : the file cannot be read, or names a customer who has not signed up by its day
    """
    campaign = world.outreach[number]
    first, last = (max(campaign.first, world.first_day), min(campaign.last, world.last_day))
    rows = []
    for name, day in _listed(world, number):
        place = _number(world, name, campaign.listed) - 1 - before
        if not first <= day <= last or not 0 <= place < len(signed_up):
            continue
        on = world.ordinal(day)
        if signed_up[place] > on:
            raise ScenarioError(f"{campaign.listed}: {name} has not signed up by {day}")
        made, when = _chances(world.seed, name, day, campaign.action)
        after = on + 1 + int(when * campaign.within_days)
        if made < campaign.made and after < world.days:
            rows.append((place, after, number, 1))
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)


def _listed(world: World, number: int) -> list[tuple[str, dt.date]]:
    """Who is listed for an action, and on which day."""
    campaign = world.outreach[number]
    entity = (helpdesk if world.cancels else retail).ENTITY
    path = str(campaign.listed)
    read = "read_parquet" if path.endswith(".parquet") else "read_csv"
    types = ", all_varchar = true" if read == "read_csv" else ""
    with connect() as db:
        try:
            rows = db.execute(
                f"select distinct {entity}::varchar, day::date from {read}({literal(path)}{types}) "
                f"where action = {literal(campaign.action)} order by 2, 1"
            ).fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise ScenarioError(
                f"{path}: wanted columns {entity}, day and action: {reason}"
            ) from None
    if any(None in row for row in rows):
        raise ScenarioError(
            f"{path}: there is a row of {campaign.action} without {entity} or day: give it both"
        )
    return rows


def _number(world: World, name: str, listed: Path | None) -> int:
    """The number of a customer, from 1, by their id in a file."""
    pattern = (helpdesk if world.cancels else retail).ID
    number = int(digits) if (digits := re.sub(r"^\D+", "", name)).isdigit() else 0
    if not 1 <= number <= world.customers or pattern % number != name:
        raise ScenarioError(f"{listed}: there is no customer {name}")
    return number


def _chances(seed: int, name: str, day: dt.date, action: str) -> tuple[float, float]:
    """Two numbers within 0 and 1 that belong to a row of a list."""
    key = hashlib.sha256(f"{seed}|{name}|{day}|{action}".encode()).digest()
    made, when = (int.from_bytes(key[at : at + 6], "big") / 2**48 for at in (0, 6))
    return made, when
