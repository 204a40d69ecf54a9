"""Forecasts beside what became of them, as SQL: graded once, when it is known; restated, when it changes."""

import datetime as dt
from collections.abc import Iterable

from churn_orchestration.churn.features.seen import date
from churn_orchestration.churn.labels import EVENT, Question, outcomes

KEPT = ("churn_probability", "band", "model_version", "contact", "recent_value", "label_known_on")
"""What a grade keeps of its forecast."""


def first_grades(question: Question, forecasts: str, as_of: dt.date, day: dt.date) -> str:
    """SQL: each forecast of ``as_of`` with its outcome as known at the end of ``day``.

    Parameters
    ----------
    forecasts : a table or a select in brackets: the predictions of ``as_of``; those of a look back are none

    Returns
    -------
    one row per entity: entity, as_of, KEPT, ``label`` (null: had left before the outcome window began),
    ``was`` (null), ``restated`` (false), ``measured_on`` (``day``)
    """
    entity = question.entity
    made = f"select * from {forecasts} where not backtest"
    truth = outcomes(question, f"select {entity}, as_of from ({made})", as_of, day)
    return (
        f"select {entity}, as_of, {', '.join(KEPT)}, label, null::boolean as was, false as restated, "
        f"{date(day)} as measured_on from ({made}) left join (select {entity}, label from ({truth})) "
        f"using ({entity})"
    )


def restatements(question: Question, forecasts: str, as_of: dt.date, day: dt.date, grades: str) -> str:
    """SQL: the grades of ``as_of`` that differ from the last ones before; ``was`` is what they said.

    ``grades``: a table or a select in brackets, as of `last_grades`. Columns as of `first_grades`.
    """
    anew, entity = first_grades(question, forecasts, as_of, day), question.entity
    return (
        f"select n.* replace (g.label as was, true as restated) from ({anew}) as n "
        f"join {grades} as g using ({entity}) where n.label is distinct from g.label"
    )


def last_grades(question: Question, grades: str, as_of: dt.date) -> str:
    """SQL: of each entity of ``as_of``, the grade that was measured last."""
    newest = f"row_number() over (partition by {question.entity} order by measured_on desc) = 1"
    return f"select * from {grades} where as_of = {date(as_of)} qualify {newest}"


def changed_days(question: Question, day: dt.date) -> str:
    """SQL: the event days about which something became known on ``day``: late events and corrections."""
    if question.kind != EVENT:
        assert question.activity is not None
        return f"select distinct day from {question.activity.days_table} where known_on = {date(day)}"
    assert question.terminal is not None
    table, key = question.terminal.table, question.terminal.key
    came = f"(from {table} where known_on = {date(day)})"
    if not key:
        return f"select distinct day from {came}"
    # A correction may have moved its event: the day it was on before has changed too.
    return f"select distinct day from {table} semi join {came} using ({', '.join(key)})"


def touched(question: Question, as_ofs: Iterable[dt.date], days: Iterable[dt.date]) -> list[dt.date]:
    """Those of ``as_ofs`` whose outcome what happened on ``days`` may change, oldest first.

    ``event``: one that ended before the outcome window began says that there was nobody left to leave.
    """
    happened = sorted(days)
    found = []
    for as_of in sorted(as_ofs):
        first, last = question.horizon.outcome(as_of)
        if any((question.kind == EVENT or first <= day) and day <= last for day in happened):
            found.append(as_of)
    return found
