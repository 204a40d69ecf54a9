"""What a campaign has done so far, by intention to treat, from matured outcomes."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from churn_orchestration.churn.campaign.declared import CAMPAIGN, TREATED, Campaign
from churn_orchestration.churn.campaign.rows import WORTH, contacts
from churn_orchestration.churn.features.parts import scaled
from churn_orchestration.churn.features.seen import visible
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.churn.value.question import SpendQuestion
from churn_orchestration.components.question.day_rows import Columns, read_files
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

LEAVES, SPEND = "leaves", "spend"
LEVEL = 0.05
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
    "contacted": ("bigint", "of the treated, those with a contact in the outreach log since"),
    "contaminated": ("bigint", "of the control, those with one, who count as control all the same"),
    MEASURED_ON: ("date", "the day at whose end this was known"),
}  # fmt: skip
ORDER = "outcome, segments nulls first, segment nulls first"


def effects(
    tables: Tables, campaign: Campaign, spend: SpendQuestion | None, day: dt.date
) -> list[dict[str, Any]]:
    """The rows of a day: of all customers, and of each segment of the sets that are read.

    ``spend``: the value model's question; None: no money is measured.
    """
    if not tables.day_files(campaign.table, day):
        return []
    result = list[dict[str, Any]]()
    for outcome, rows in _outcomes(tables, campaign, spend, day):
        result += _measured(campaign, outcome, rows, day)
    return result


def _outcomes(
    tables: Tables, campaign: Campaign, spend: SpendQuestion | None, day: dt.date
) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Of each kind of outcome, the customers in the trial, with ``outcome``, null: not known."""
    yield LEAVES, left(tables, campaign, day)
    if spend is not None:
        trial = _trial(tables, campaign, day)
        yield SPEND, tables.db.execute(_spent(campaign, spend, trial, day)).df()


def left(tables: Tables, campaign: Campaign, day: dt.date) -> "pd.DataFrame":
    """Who is in the trial, one row each in the entity's order: their first day in it, as_of, and
    what was forecast then; ``treated``; ``outcome``, 1 who left, and the day on which that
    ``matured``, null where it is not known at the end of ``day``.
    """
    trial = _trial(tables, campaign, day)
    return tables.db.execute(_left(tables, campaign, trial, day)).df()


def _trial(tables: Tables, campaign: Campaign, day: dt.date) -> str:
    """SQL, in brackets: each customer of the trial on the first day in it, and whether the log has
    a contact since. Those whose lot was drawn with another share are left out.
    """
    key = identifier(campaign.entity)
    lists = read_files(tables.day_files(campaign.table, day).values())
    kept = ("arm", "churn_probability", WORTH, "best_action", "control_share", "question")
    first = (
        f"select {key}, min(as_of) as as_of, "
        f"{', '.join(f'arg_min({name}, as_of) as {name}' for name in kept)} "
        f"from {lists} where in_trial group by 1"
    )
    sets = ""
    for name in campaign.segments:
        files = tables.day_files(f"segments.{name}", day)
        rows = (
            f"select {key}, as_of, segment as {identifier(name)} from {read_files(files.values())}"
        )
        sets += f" left join ({rows}) using ({key}, as_of)"
    touched = "false as touched"
    if campaign.outreach is not None:
        mine = f"{CAMPAIGN} = {literal(campaign.name)}"
        log = f"select {key}, max(day) as last_contact from ({contacts(campaign, day)}) "
        sets += f" left join ({log}where {mine} group by 1) using ({key})"
        touched = "coalesce(last_contact > as_of, false) as touched"
    share = f"control_share = {campaign.control!r} and question = {literal(campaign.question)}"
    treated = f"arm = {literal(TREATED)} as treated"
    return f"(select *, {treated}, {touched} from ({first}){sets} where {share})"


def _left(tables: Tables, campaign: Campaign, trial: str, day: dt.date) -> str:
    """SQL: with the label of the first day in the trial, as known at the end of a day."""
    key = identifier(campaign.entity)
    grades = tables.day_files(f"monitoring.{campaign.question}_graded", day)
    if not grades:
        return f"select *, null::double as outcome, null::date as matured from {trial}"
    last = (
        f"select {key}, as_of, label::int::double as outcome, label_known_on as matured, true as "
        f"is_graded from {read_files(grades.values())} qualify row_number() over (partition by "
        f"{key}, as_of order by {MEASURED_ON} desc, regraded desc nulls last) = 1"
    )
    # Who had left before the outcome began has no outcome, and waits for none.
    known = "(is_graded is null or outcome is not null)"
    joined = f"{trial} left join ({last}) using ({key}, as_of)"
    return f"select * from {joined} where {known} order by {key}"


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
    matured = f"{known} <= {literal(day)}"
    return (
        f"select *, if({matured}, spent, null) as outcome, if({matured}, {known}, null)::date as "
        f"matured from {trial} join ({sums}) using ({key}) order by {key}"
    )


def _measured(
    campaign: Campaign, outcome: str, rows: "pd.DataFrame", day: dt.date
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
            less_is_better=less, level=LEVEL,
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
