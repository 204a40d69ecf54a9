"""What became of each entity after as_of, as knowable at a cut-off: populations and labels as SQL."""

import datetime as dt
from dataclasses import dataclass

from churn_orchestration.churn.calendar import Horizon
from churn_orchestration.churn.declared import ALL, EventSource, FeatureSet
from churn_orchestration.churn.features import visible


@dataclass(frozen=True)
class Question:
    """One churn question.

    Parameters
    ----------
    name : names its snapshots, models and predictions
    kind : ``inactivity``: no event of ``activity`` in the outcome window; ``event``: one of ``terminal``
    features : the feature table that describes an entity
    activity : the event source whose events count as being active
    horizon : how far it looks ahead
    observation_days : inactivity only: the population has an event in this window, or ever (``all``)
    terminal : event only: the source of the events that end a relation
    """

    name: str
    kind: str
    features: FeatureSet
    activity: EventSource
    horizon: Horizon
    observation_days: int | str = ALL
    terminal: EventSource | None = None

    @property
    def entity(self) -> str:
        """The column that names who may churn."""
        return self.features.entity

    @property
    def tables(self) -> list[str]:
        """Every table that it reads, ``layer.table``, in order."""
        sources = [*self.features.sources, *([self.terminal] if self.terminal else [])]
        return sorted({source.table for source in sources})


def population(question: Question, features: str, as_of: dt.date) -> str:
    """SQL: the feature rows of those the question is asked of at ``as_of``.

    ``inactivity``: at least one event of the activity in the observation window. ``event``: started, and no
    terminal event visible yet. ``features`` is a table name or a select in brackets.
    """
    last = f"{question.activity.name}_days_since_last"
    if question.kind == "inactivity":
        seen = (
            f"{last} is not null"
            if question.observation_days == ALL
            else f"{last} < {question.observation_days}"
        )
        return f"select * from {features} where {seen}"
    assert question.terminal is not None
    ended = visible(question.terminal, as_of, f"{question.terminal.entity} as {question.entity}")
    return f"select f.* from {features} as f anti join ({ended}) using ({question.entity})"


def labelled(question: Question, features: str, as_of: dt.date, known_by: dt.date) -> str:
    """SQL: the population of ``as_of`` with its outcome, as known at the end of ``known_by``.

    Returns
    -------
    one row per entity in its order: entity, as_of, label, label_known_on, the features

    Raises
    ------
    ValueError : the outcome is not known by then
    """
    known_on = question.horizon.label_known_on(as_of)
    if known_on > known_by:
        raise ValueError(f"the outcome of {as_of} is known on {known_on}, after {known_by}")
    first, last = question.horizon.outcome(as_of)
    entity, people = question.entity, population(question, features, as_of)
    source = question.activity if question.kind == "inactivity" else question.terminal
    assert source is not None
    events = visible(source, known_by, f"{source.entity} as {entity}, day")
    if question.kind == "event":
        # Who had left before the outcome began, as is known by now, can neither leave nor stay in it.
        gone = f"select {entity} from ({events}) where day < date '{first}'"
        people = f"select * from ({people}) anti join ({gone}) using ({entity})"
    hit = f"select distinct {entity} from ({events}) where day between date '{first}' and date '{last}'"
    label = "o.hit is null" if question.kind == "inactivity" else "o.hit is not null"
    return f"""
select p.{entity}, p.as_of, {label} as label, date '{known_on}' as label_known_on,
  p.* exclude ({entity}, as_of)
from ({people}) as p
left join (select {entity}, true as hit from ({hit})) as o using ({entity})
order by p.{entity}"""
