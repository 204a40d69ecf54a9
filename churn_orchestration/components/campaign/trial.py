"""The customers of a campaign's trial, carried from day to day in the warehouse: a day reads its
own list and grades, and not those of all days before it.
"""

import datetime as dt

from churn_orchestration.business import digest
from churn_orchestration.churn.campaign.declared import Campaign
from churn_orchestration.churn.campaign.rows import WORTH
from churn_orchestration.churn.sql import identifier, literal
from churn_orchestration.components.question.day_rows import read_files
from churn_orchestration.storage import checkpoints
from churn_orchestration.storage.checkpoints import StoredCheckpoint
from churn_orchestration.storage.layers import MEASURED_ON
from churn_orchestration.storage.warehouse import Tables

KEPT = ("arm", "churn_probability", WORTH, "best_action", "control_share", "question")
"""What counts of a customer's first day in the trial."""


def trial_until(tables: Tables, campaign: Campaign, declaration: str, day: dt.date) -> str:
    """The name of a table: each customer whom a list up to a day has in the trial, once.

    What an earlier day had come to is gone on from, if no file that it was made of has another
    content now. Else, and of a day before it, all files up to the day are read.

    Parameters
    ----------
    declaration : what the trial depends on, a ``stages.Version`` as text

    Returns
    -------
    entity, as_of of the first day in the trial, KEPT and the segments as of then, ``outcome`` (1:
    left), ``matured`` and ``is_graded``: null where no grade is there
    """
    before = _valid(tables, campaign, declaration, day)
    since = before.through if before else dt.date.min
    rows = _with_grades(tables, campaign, _entered(tables, campaign, before, day), since, day)
    relation = f"meta.trial_{campaign.name}"
    now = StoredCheckpoint(
        days_table=campaign.effect_table, kind=_content(tables, campaign, day), relation=relation,
        through=day, known_by=day, declaration=declaration,
    )  # fmt: skip
    checkpoints.forget(tables, campaign.effect_table, dt.date.min)
    checkpoints.keep(tables, now, f"from ({rows}) order by {identifier(campaign.entity)}")
    return relation


def trial_at(tables: Tables, campaign: Campaign, day: dt.date) -> str:
    """SQL: the same from all files up to a day on which there is a list, and nothing is kept."""
    return _with_grades(tables, campaign, _entered(tables, campaign, None, day), dt.date.min, day)


def _valid(
    tables: Tables, campaign: Campaign, declaration: str, day: dt.date
) -> StoredCheckpoint | None:
    """What an earlier day has come to, if it would come to the same now."""
    for each in checkpoints.kept(tables, campaign.effect_table, declaration):
        if each.through <= day and each.kind == _content(tables, campaign, each.through):
            return each
    return None


def _sources(campaign: Campaign) -> list[str]:
    segments = [f"segments.{name}" for name in campaign.segments]
    return [campaign.table, f"monitoring.{campaign.question}_graded", *segments]


def _content(tables: Tables, campaign: Campaign, day: dt.date) -> str:
    """A hash of the content of all files up to a day: their names end in that of their own."""
    files = tables.rows(
        "select table_name, day::varchar, file from meta.files "
        f"where table_name in ({', '.join(map(literal, _sources(campaign)))}) and day <= ? "
        "order by all",
        [day],
    )
    return digest(files)


def _entered(
    tables: Tables, campaign: Campaign, before: StoredCheckpoint | None, day: dt.date
) -> str:
    """SQL: who was in the trial, and who has entered since, with the segments of that day."""
    key, since = identifier(campaign.entity), before.through if before else dt.date.min
    nothing = ", null::double as outcome, null::date as matured, null::boolean as is_graded"
    lists = _files(tables, campaign.table, since, day)
    if lists is None:
        assert before is not None  # effects: there is a list
        return f"from {before.relation}"
    first = (
        f"select {key}, min(as_of) as as_of, "
        f"{', '.join(f'arg_min({name}, as_of) as {name}' for name in KEPT)} "
        f"from {lists} where in_trial group by 1"
    )
    for name in campaign.segments:
        files = _files(tables, f"segments.{name}", since, day)
        rows = f"select {key}, as_of, segment as {identifier(name)} from {files}"
        if files is None:
            rows = f"select {key}, as_of, null::varchar as {identifier(name)} from {lists} limit 0"
        first = f"select * from ({first}) left join ({rows}) using ({key}, as_of)"
    entered = f"select *{nothing} from ({first})"
    if before is None:
        return entered
    return (
        f"select * from {before.relation} union all by name "
        f"select * from ({entered}) anti join {before.relation} using ({key})"
    )


def _with_grades(
    tables: Tables, campaign: Campaign, rows: str, since: dt.date, day: dt.date
) -> str:
    """SQL: the same, with the label of the first day in the trial, where it was graded since."""
    key = identifier(campaign.entity)
    grades = _files(tables, f"monitoring.{campaign.question}_graded", since, day)
    if grades is None:
        return rows
    last = (
        f"select {key}, as_of, label::int::double as _left, label_known_on as _known_on from "
        f"{grades} qualify row_number() over (partition by {key}, as_of "
        f"order by {MEASURED_ON} desc, regraded desc nulls last) = 1"
    )
    return (
        "select * exclude (_left, _known_on, _again) replace ("
        "if(_again, _left, outcome) as outcome, if(_again, _known_on, matured) as matured, "
        "if(_again, true, is_graded) as is_graded) "
        f"from (select t.*, _left, _known_on, g.as_of is not null as _again from ({rows}) as t "
        f"left join ({last}) as g using ({key}, as_of))"
    )


def _files(tables: Tables, table: str, since: dt.date, day: dt.date) -> str | None:
    """SQL, in brackets: the rows of a table's days after one, up to another; None: no day."""
    days = tables.rows(
        "select day from meta.files where table_name = ? and day > ? and day <= ? order by day",
        [table, since, day],
    )
    files = [file for (each,) in days if (file := tables.day_file(table, each))]
    return read_files(files) if files else None
