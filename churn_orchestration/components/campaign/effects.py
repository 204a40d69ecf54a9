"""What a campaign has done so far, by intention to treat, from matured outcomes."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.campaign.declared import CAMPAIGN, TREATED, Campaign
from churn_orchestration.churn.campaign.rows import WORTH, contacts
from churn_orchestration.churn.features.parts import scaled
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.churn.value.question import SpendQuestion
from churn_orchestration.components.campaign.trial import trial_at, trial_until
from churn_orchestration.components.question.day_rows import Columns, read_files
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

LEAVES, SPEND = "leaves", "spend"
LEVEL, MOST_DAYS = 0.05, 120
COLUMNS: Columns = {
    "outcome": (
        "text",
        f"{LEAVES}: the label of the churn question, 1 or 0; {SPEND}: what was spent in the "
        "horizon of the value model",
    ),
    "segments": ("text", "the set of segments; null: all customers"),
    "segment": ("text", "the customer's segment on the first day in the trial; null: all"),
    "treated": ("bigint", "customers of the treated arm whose outcome is known"),
    "control": ("bigint", "customers of the control whose outcome is known"),
    "waiting": ("bigint", "customers in the trial whose outcome is not known yet, of both arms"),
    "treated_mean": ("double", "mean outcome of the treated arm, contacted or not"),
    "control_mean": ("double", "mean outcome of the control, contacted or not"),
    "effect": (
        "double",
        f"what the campaign does for a customer of the trial, above 0 is good: of {LEAVES} by how "
        f"much less, as a share; of {SPEND} how much more. Less what the forecast explains by "
        "chance. null: too few outcomes",
    ),
    "low": ("double", "lower end of the 95 % interval that holds however often it is looked at"),
    "high": ("double", "its upper end; null: too few outcomes"),
    "verdict": ("text", "works, harms or not_known_yet, by that interval"),
    "more_outcomes": (
        "bigint",
        "about how many more outcomes until it is known, if the effect is as it looks; null: it "
        "never will, or too few outcomes to say",
    ),
    "contacted": (
        "bigint",
        "of the treated, those with a contact in the outreach log since, and by the end of the "
        "outcome",
    ),
    "contaminated": ("bigint", "of the control, those with one, who count as control all the same"),
    MEASURED_ON: ("date", "the day at whose end this was known"),
}  # fmt: skip
ORDER = "outcome, segments nulls first, segment nulls first"


@dataclass(frozen=True)
class Measured:
    """What a campaign is measured by.

    Parameters
    ----------
    declaration : what the trial depends on, a ``stages.Version`` as text
    settle_days : of the churn question
    declared : of each set of segments, how many it declares
    spend : the value model's question; None: no money is measured
    """

    declaration: str
    settle_days: int
    declared: Mapping[str, int]
    spend: SpendQuestion | None


def effects(
    tables: Tables, campaign: Campaign, measured: Measured, day: dt.date
) -> list[dict[str, Any]]:
    """The rows of a day: of all customers, and of each segment of the sets that are read."""
    first = tables.first_file_day(campaign.table)
    if first is None or first > day:
        return []
    result = list[dict[str, Any]]()
    for outcome, rows in _outcomes(tables, campaign, measured, day):
        result += _measured(campaign, measured.declared, outcome, rows, day)
    return result


def course(tables: Tables, campaign: Campaign, day: dt.date) -> list[dict[str, Any]]:
    """What was known of all customers by each of the last days up to one, oldest first."""
    table = campaign.effect_table
    days = tables.rows(
        f"select day from meta.files where table_name = ? and day <= ? "
        f"order by day desc limit {MOST_DAYS}",
        [table, day],
    )
    files = [file for (each,) in days if (file := tables.day_file(table, each))]
    if not files:
        return []
    return tables.records(
        f"select {MEASURED_ON}, outcome, effect, low, high, verdict from {read_files(files)} "
        f"where segments is null order by {MEASURED_ON}, outcome"
    )


def _outcomes(
    tables: Tables, campaign: Campaign, measured: Measured, day: dt.date
) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Of each kind of outcome, the customers in the trial, with ``outcome``, null: not known, and
    whether the log has a contact between their first day in it and the end of the outcome.

    Those whose lot was drawn with another share are left out.
    """
    key, joined = identifier(campaign.entity), ""
    logged = campaign.outreach is not None
    if logged:
        mine = f"{CAMPAIGN} = {literal(campaign.name)}"
        log = f"select {key}, list(day) as contact_days from ({contacts(campaign, day)})"
        joined = f" left join ({log} where {mine} group by 1) using ({key})"
    trial = _by_lot(campaign, trial_until(tables, campaign, measured.declaration, day) + joined)
    touched = _touched(f"matured - {measured.settle_days}", logged)
    yield LEAVES, tables.db.execute(f"select *, {touched} {_with_outcome(campaign, trial)}").df()
    if measured.spend is not None:
        yield SPEND, tables.db.execute(_spent(campaign, measured.spend, trial, day)).df()


def left(tables: Tables, campaign: Campaign, day: dt.date) -> "pd.DataFrame":
    """Who is in the trial, one row each in the entity's order: their first day in it, as_of, and
    what was forecast then; ``treated``; ``outcome``, 1 who left, and the day on which that
    ``matured``, null where it is not known at the end of ``day``.
    """
    trial = _by_lot(campaign, f"({trial_at(tables, campaign, day)})")
    return tables.db.execute(f"select * {_with_outcome(campaign, trial)}").df()


def _by_lot(campaign: Campaign, trial: str) -> str:
    """SQL, in brackets: the trial without those whose lot was drawn with another share."""
    share = f"control_share = {campaign.control!r} and question = {literal(campaign.question)}"
    return f"(select *, arm = {literal(TREATED)} as treated from {trial} where {share})"


def _with_outcome(campaign: Campaign, trial: str) -> str:
    """SQL: without those who had left before the outcome began, and so wait for none."""
    known = "is_graded is null or outcome is not null"
    return f"from {trial} where {known} order by {identifier(campaign.entity)}"


def _touched(until: str, logged: bool) -> str:
    """SQL: whether there is a contact after the first day in the trial, and by the end of the
    outcome; where that is null, at all.
    """
    if not logged:
        return "false as touched"
    within = f"lambda d: d > as_of and (d > {until}) is not true"
    return f"coalesce(len(list_filter(contact_days, {within})), 0) > 0 as touched"


def _spent(campaign: Campaign, spend: SpendQuestion, trial: str, day: dt.date) -> str:
    """SQL: with what each spent in the horizon after the first day in the trial."""
    key, horizon = identifier(campaign.entity), spend.horizon
    entity, column = identifier(spend.activity.entity), identifier(spend.measure.column)
    events = visible(spend.activity, day, f"{entity} as {key}, day, {column}")
    before, length = horizon.gap_days, horizon.horizon_days
    total = f"coalesce(sum({scaled(spend.measure)}), 0)::double / {10**spend.measure.decimals}"
    within = f"e.day > t.as_of + {before} and e.day <= t.as_of + {before + length}"
    sums = (
        f"select t.{key}, {total} as spent from {trial} as t left join ({events}) as e "
        f"on e.{key} = t.{key} and {within} group by 1"
    )
    known = f"as_of + {before + length + horizon.settle_days}"
    matured, until = f"{known} <= {literal(day)}", f"as_of + {before + length}"
    return (
        f"select * exclude (outcome, matured), if({matured}, spent, null) as outcome, "
        f"if({matured}, {known}, null)::date as matured, "
        f"{_touched(until, campaign.outreach is not None)} "
        f"from {trial} join ({sums}) using ({key}) order by {key}"
    )


def _measured(
    campaign: Campaign,
    declared: Mapping[str, int],
    outcome: str,
    rows: "pd.DataFrame",
    day: dt.date,
) -> Iterator[dict[str, Any]]:
    """The effect on all, then in each segment."""
    from churn_orchestration.churn.campaign import effect

    less = outcome == LEAVES
    known = rows[rows["outcome"].notna()]
    whole = effect.measured(_of(outcome, known), campaign.control, less_is_better=less, level=LEVEL)
    yield _row(outcome, None, None, rows, whole, day)
    for name in campaign.segments:
        within = rows[rows[name].notna()]
        matured = within[within["outcome"].notna()]
        parts = effect.measured_by_segment(
            matured[name].to_numpy(), _of(outcome, matured), campaign.control,
            less_is_better=less, level=LEVEL, declared=declared.get(name, 0),
        )  # fmt: skip
        for segment, part in parts.items():
            yield _row(outcome, name, segment, within[within[name] == segment], part, day)


def _of(outcome: str, known: "pd.DataFrame") -> Any:
    from churn_orchestration.churn.campaign.effect import Outcomes

    forecast = known["churn_probability"] if outcome == LEAVES else known[WORTH]
    return Outcomes(
        known["matured"].to_numpy(),
        known["treated"].to_numpy(bool),
        known["outcome"].to_numpy(float),
        forecast.to_numpy(float) if len(known) else None,
    )


def _row(
    outcome: str, segments: str | None, segment: str | None, rows: "pd.DataFrame", of: Any,
    day: dt.date,
) -> dict[str, Any]:  # fmt: skip
    import numpy as np

    treated, known = rows["treated"].astype(bool), rows["outcome"].notna()
    means = (rows["outcome"][arm & known].mean() for arm in (treated, ~treated))
    return {
        "outcome": outcome, "segments": segments, "segment": segment,
        "treated": of.treated, "control": of.control, "waiting": int((~known).sum()),
        "treated_mean": next(means), "control_mean": next(means), "effect": of.estimate,
        "low": of.low if np.isfinite(of.low) else None,
        "high": of.high if np.isfinite(of.high) else None,
        "verdict": of.verdict, "more_outcomes": of.more,
        "contacted": int((rows["touched"] & treated).sum()),
        "contaminated": int((rows["touched"] & ~treated).sum()), MEASURED_ON: day,
    }  # fmt: skip
