"""What became of each entity, as knowable at a cut-off: the population and the label of each kind,
as SQL.
"""

import datetime as dt
from dataclasses import dataclass

from churn_orchestration.churn.calendar import DAY, Horizon
from churn_orchestration.churn.declared_text import declared_text
from churn_orchestration.churn.features.declared import ALL, EventSource, FeatureSet
from churn_orchestration.churn.features.seen import latest, visible, visible_parts
from churn_orchestration.churn.sql import identifier

INACTIVITY, EVENT, STATIC = "inactivity", "event", "static"


@dataclass(frozen=True)
class Label:
    """A condition on the row of an entity that was known last: whether it has churned, null if
    unknown.
    """

    table: str
    entity: str
    condition: str

    def at(self, as_of: dt.date, entity: str) -> str:
        """SQL: each entity of the table, under the name ``entity``, with its label as known at
        ``as_of``.
        """
        row = latest(self.table, self.entity, [self.condition], as_of)
        named = f"{identifier(self.entity)} as {identifier(entity)}"
        return f"select {named}, cast(({self.condition}) as boolean) as label from ({row})"

    def rate_at(self, as_of: dt.date) -> str:
        """SQL: one number, the share that has churned of those whose label is known at
        ``as_of``.
        """
        return f"select avg(label::int) as rate from ({self.at(as_of, 'entity')})"


@dataclass(frozen=True)
class Question:
    """One churn question.

    Parameters
    ----------
    name : names its snapshots, models and predictions
    kind : ``inactivity``: no event of ``activity`` in the outcome window; ``event``: one of
        ``terminal``; ``static``: ``label`` says so on the day itself
    features : the feature table that describes an entity
    activity : the event source whose events count as being active; None: no log of activity is read
    horizon : how far it looks ahead; of no length: static
    observation_days : inactivity only: the population has an event in this window, or ever
        (``all``)
    terminal : event only: the source of the events that end a relation
    start : event only: those that begin it, again too. None: it has begun for whoever has features,
        and once ended it does not begin again
    label : static only: who has churned

    Raises
    ------
    ValueError : it looks no day ahead and is not static, or observes no day
    """

    name: str
    kind: str
    features: FeatureSet
    activity: EventSource | None
    horizon: Horizon
    observation_days: int | str = ALL
    terminal: EventSource | None = None
    label: Label | None = None
    start: EventSource | None = None

    def __post_init__(self) -> None:
        if self.kind != STATIC and self.horizon.length < 1:
            raise ValueError(f"{self.name}: horizon_days is {self.horizon.length}: at least 1")
        if isinstance(self.observation_days, int) and self.observation_days < 1:
            raise ValueError(
                f"{self.name}: observation_days is {self.observation_days}: at least 1"
            )

    @property
    def entity(self) -> str:
        """The column that names who may churn."""
        return self.features.entity

    @property
    def meaning(self) -> str:
        """All that decides population and outcome, as text: a model answers the question it was
        trained on.
        """
        sources = [self.activity, self.terminal, *([self.start] if self.start else [])]
        happens = [s and (s.table, s.entity, s.key) for s in sources]
        return declared_text(
            (self.kind, self.entity, happens, self.horizon, self.observation_days, self.label)
        )

    @property
    def tables(self) -> list[str]:
        """Every table that it reads, ``layer.table``, in order."""
        return sorted({*self.features.tables, *self.outcome_tables})

    @property
    def outcome_tables(self) -> list[str]:
        """The tables that say who is there and who has left, and that no feature need read."""
        return [source.table for source in (self.start, self.terminal, self.label) if source]

    @property
    def bare(self) -> FeatureSet:
        """As little of its features as decides its population at an as_of: who is there, how long
        silent.
        """
        sources = (
            EventSource(s.name, s.table, s.entity, s.noun, s.key) for s in self.features.sources
        )
        return FeatureSet(self.entity, tuple(sources), (1,), (), self.features.attributes)

    @property
    def base(self) -> EventSource | Label:
        """Where its entities come from, and its first day."""
        result = self.start or self.activity or self.label
        assert result is not None
        return result


def population(question: Question, features: str, as_of: dt.date) -> str:
    """SQL: the feature rows of the population of the question at ``as_of``.

    ``inactivity``: at least one event of the activity in the observation window. ``event``:
    started, and no terminal event visible since. ``static``: not known to have churned.
    ``features`` is a table name or a select in brackets.
    """
    entity = identifier(question.entity)
    if question.kind == INACTIVITY:
        assert question.activity is not None
        last, window = f"{question.activity.name}_days_since_last", question.observation_days
        seen = f"{last} is not null" if window == ALL else f"{last} < {window}"
        return f"select * from {features} where {seen}"
    if question.kind == EVENT:
        return f"select f.* from {features} as f {_who_is_there(question, as_of, as_of)}"
    assert question.label is not None
    gone = f"select {entity} from ({question.label.at(as_of, question.entity)}) where label"
    return f"select f.* from {features} as f anti join ({gone}) using ({entity})"


def _who_is_there(question: Question, day: dt.date, known_by: dt.date) -> str:
    """SQL, a join: keeps whom the relation binds at the end of ``day``, as known at the end of
    ``known_by``.

    Who begins and ends on one day has ended.
    """
    assert question.terminal is not None
    entity, until = identifier(question.entity), f"day <= date '{day}'"
    ends = visible(
        question.terminal, known_by, f"{identifier(question.terminal.entity)} as {entity}, day"
    )
    if question.start is None:
        return f"anti join (select {entity} from ({ends}) where {until}) using ({entity})"
    starts = visible(
        question.start, known_by, f"{identifier(question.start.entity)} as {entity}, day"
    )
    last = " union all ".join(
        f"select {entity}, day, {ended} as ended from ({events}) where {until}"
        for events, ended in ((starts, "false"), (ends, "true"))
    )
    there = "group by 1 having not arg_max(ended, (day, ended))"
    return f"semi join (select {entity} from ({last}) {there}) using ({entity})"


def labelled(question: Question, features: str, as_of: dt.date, known_by: dt.date) -> str:
    """SQL: the population of ``as_of`` with its outcome, as known at the end of ``known_by``.

    ``static``: every entity whose label is known, those who have churned too.

    Returns
    -------
    one row per entity in its order: entity, as_of, label, label_known_on, the features

    Raises
    ------
    ValueError : the outcome is not known by then
    """
    people = population(question, features, as_of) if question.label is None else f"from {features}"
    return outcomes(question, people, as_of, known_by)


def outcomes(question: Question, people: str, as_of: dt.date, known_by: dt.date) -> str:
    """SQL: rows of the population of the question at ``as_of``, with their outcome as known at
    ``known_by``.

    ``people``: a select with the entity, ``as_of`` and whatever else. Not there, of ``event``: who
    had left before the outcome window began, as is known by now, and could neither leave nor stay
    in it; of ``static``: whose label is not known. Returns and raises as ``labelled``.
    """
    known_on = question.horizon.label_known_on(as_of)
    if known_on > known_by:
        raise ValueError(f"the outcome of {as_of} is known on {known_on}, after {known_by}")
    entity = identifier(question.entity)
    if question.label is not None:
        outcome, label, condition = (
            question.label.at(as_of, question.entity),
            "o.label",
            "where o.label is not null",
        )
    else:
        people, events = outcome_events(question, people, as_of, known_by)
        first, last = question.horizon.outcome(as_of)
        hit = (
            f"select distinct {entity} from ({events}) where day between date '{first}' "
            f"and date '{last}'"
        )
        outcome = f"select {entity}, true as hit from ({hit})"
        label, condition = f"o.hit is {'null' if question.kind == INACTIVITY else 'not null'}", ""
    return f"""
select p.{entity}, p.as_of, {label} as label, date '{known_on}' as label_known_on,
  p.* exclude ({entity}, as_of)
from ({people}) as p
left join ({outcome}) as o using ({entity})
{condition} order by p.{entity}"""


def outcome_events(
    question: Question, people: str, as_of: dt.date, known_by: dt.date
) -> tuple[str, str]:
    """SQL: who of ``people`` is watched after ``as_of``, and entity and day of the events waited
    for.
    """
    entity = identifier(question.entity)
    if question.kind == INACTIVITY:
        assert question.activity is not None
        active = f"{visible_parts(known_by)} and events > 0"
        events = f"select {entity}, day from {question.activity.days_table} where {active}"
    else:
        assert question.terminal is not None
        events = visible(
            question.terminal, known_by, f"{identifier(question.terminal.entity)} as {entity}, day"
        )
        # Who had left before the outcome began, as is known by now, can neither leave nor stay in
        # it.
        first, _ = question.horizon.outcome(as_of)
        people = f"from ({people}) {_who_is_there(question, first - DAY, known_by)}"
    return people, events
