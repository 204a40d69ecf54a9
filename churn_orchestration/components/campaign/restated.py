"""What a list that was issued would be now: kept apart, and the ledger says so. As forecasts,
ADR 26.
"""

import datetime as dt

from churn_orchestration.churn.campaign.declared import Campaign
from churn_orchestration.churn.protocol import RESTATE
from churn_orchestration.churn.sql import identifier, identifiers, literal
from churn_orchestration.storage import ledger
from churn_orchestration.storage.warehouse import Tables

LISTED = "list"
"""What triggers a line of the ledger on lists."""
AGAIN = "_listed_again"


def keep_apart(tables: Tables, campaign: Campaign, day: dt.date, select: str) -> int:
    """Store what an issued list would be now, where it differs, with the line of the ledger that is
    about it; how many rows differ.

    ``select``: the list of the day as it would be now
    """
    issued = tables.recorded_file(campaign.table, day)
    assert issued is not None  # lists.store_list
    tables.db.execute(f"create or replace temp table {AGAIN} as {select}")
    differing = _differing(tables, literal(issued))
    if differing:
        _note(tables, campaign, day, str(issued.relative_to(tables.state)), differing)
    tables.db.execute(f"drop table {AGAIN}")
    return differing


def _differing(tables: Tables, issued: str) -> int:
    """How many rows are not the same in both, by the columns of both."""
    had = {name for name, *_ in tables.rows(f"describe from {issued}")}
    both = identifiers(name for name, *_ in tables.rows(f"describe {AGAIN}") if name in had)
    [(count,)] = tables.rows(
        f"select count(*) from (select {both} from {AGAIN} except all select {both} from {issued})"
    )
    return int(count)


def _note(tables: Tables, campaign: Campaign, day: dt.date, issued: str, differing: int) -> None:
    [(rows, content)] = tables.rows(f"select count(*), sum(hash(t))::varchar from {AGAIN} as t")
    later = tables.newest_file_day(campaign.table, after=day)
    message = (
        f"listed again after {later} was issued, and {differing} of {rows} rows differ: what was "
        "issued stays"
    )
    evidence = {"issued": issued, "listed_again": content, "differing": differing, "rows": rows}
    newest = tables.newest_file_day(campaign.table)
    line = ledger.append(
        tables.state, campaign.table, RESTATE, message, LISTED, evidence,
        cutoff=str(day), decided_on=str(newest),
    )  # fmt: skip
    sequence, table = line["sequence"], campaign.restated
    added = (
        f"select *, date '{line['decided_on']}' as decided_on, {sequence}::bigint as sequence "
        f"from {AGAIN}"
    )
    if file := tables.day_file(table, day):
        if tables.rows(f"select 1 from {literal(file)} where sequence = {sequence} limit 1"):
            return
        added = f"from {literal(file)} union all by name {added}"
    key = identifier(campaign.entity)
    tables.put_day(table, day, f"from ({added}) order by sequence, {key}")
