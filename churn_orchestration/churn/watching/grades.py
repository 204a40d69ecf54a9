"""Forecasts with their outcomes, as SQL: graded once, when the outcome is known; restated, when it
changes.
"""

import datetime as dt
from collections.abc import Iterable

from churn_orchestration.churn.question.labels import EVENT, Question, outcomes
from churn_orchestration.churn.sql import identifier, identifiers, literal

KEPT = ("churn_probability", "band", "model_version", "contact", "recent_value", "label_known_on")
"""What a grade keeps of its forecast."""


def first_grades(question: Question, forecasts: str, as_of: dt.date, day: dt.date) -> str:
    """SQL: each forecast of ``as_of`` with its outcome as known at the end of ``day``.

    Parameters
    ----------
    forecasts : a table or a select in brackets: the predictions of ``as_of``; those of a look back
        are none

    Returns
    -------
    one row per entity: entity, as_of, KEPT, ``label`` (null: had left before the outcome window
    began), ``was`` (null), ``restated`` (false), ``regraded`` (0), ``measured_on`` (``day``)
    """
    entity = identifier(question.entity)
    made = f"select * from {forecasts} where not backtest"
    truth = outcomes(question, f"select {entity}, as_of from ({made})", as_of, day)
    return (
        f"select {entity}, as_of, {', '.join(KEPT)}, label, null::boolean as was, false as "
        f"restated, 0::bigint as regraded, {literal(day)} as measured_on "
        f"from ({made}) left join (select {entity}, label from ({truth})) "
        f"using ({entity})"
    )


def changed_grades(
    question: Question, forecasts: str, as_of: dt.date, day: dt.date, grades: str
) -> str:
    """SQL: the grades of ``as_of`` that are new, or differ from the last one; ``was`` is the label
    of that one.

    ``grades``: a table or a select in brackets, as of `last_grades`. Columns as of `first_grades`.
    Where the last one was measured on ``day`` itself, ``regraded`` counts on.
    """
    current, entity = first_grades(question, forecasts, as_of, day), identifier(question.entity)
    return (
        "select n.* replace (g.label as was, g.as_of is not null as restated, "
        f"if(g.measured_on = {literal(day)}, g.regraded + 1, 0)::bigint as regraded) "
        f"from ({current}) as "
        f"n left join {grades} as g using ({entity}) where g.as_of is null or n.label is distinct "
        "from g.label"
    )


def last_grades(question: Question, grades: str, as_of: dt.date) -> str:
    """SQL: of each entity of ``as_of``, the grade that was measured last."""
    order = "measured_on desc, regraded desc nulls last"
    newest = f"row_number() over (partition by {identifier(question.entity)} order by {order}) = 1"
    return f"select * from {grades} where as_of = {literal(as_of)} qualify {newest}"


def changed_days(question: Question, day: dt.date) -> str:
    """SQL: the event days about which something became known on ``day``: late events and
    corrections.
    """
    if question.kind != EVENT:
        assert question.activity is not None
        return (
            f"select distinct day from {question.activity.days_table} "
            f"where known_on = {literal(day)}"
        )
    assert question.terminal is not None
    sources = [question.terminal, *([question.start] if question.start else [])]
    return " union ".join(_changed(source.table, source.key, day) for source in sources)


def _changed(table: str, key: tuple[str, ...], day: dt.date) -> str:
    came = f"(from {table} where known_on = {literal(day)})"
    if not key:
        return f"select distinct day from {came}"
    # A correction may have moved its event: the day it was on before has changed too.
    return f"select distinct day from {table} semi join {came} using ({identifiers(key)})"


def touched(
    question: Question, as_ofs: Iterable[dt.date], days: Iterable[dt.date]
) -> list[dt.date]:
    """Those of ``as_ofs`` whose outcome what happened on ``days`` may change, oldest first.

    ``event``: one that ended before the outcome window began says that there was nobody left to
    leave.
    """
    happened = sorted(days)
    result = []
    for as_of in sorted(as_ofs):
        first, last = question.horizon.outcome(as_of)
        if any((question.kind == EVENT or first <= day) and day <= last for day in happened):
            result.append(as_of)
    return result
