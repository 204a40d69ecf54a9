"""One churn question with all its settings, as the stages of its model use it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING

from churn_orchestration import stages
from churn_orchestration.business import digest
from churn_orchestration.churn import calendar
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.perturbation import Pipeline
from churn_orchestration.churn.protocol import BASE_RATE, OUT_OF_FOLD, PROCESS, RULES
from churn_orchestration.churn.question.labels import ALL, INACTIVITY, STATIC, Question
from churn_orchestration.churn.question.settings import (
    Budget,
    ContactRule,
    Economics,
    Fairness,
    Lever,
    Reasons,
)
from churn_orchestration.components.question.store import QuestionStore
from churn_orchestration.components.question.worth import Spend
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

_OF_TRAINING = (
    "most_as_ofs", "min_history_days", "learner", "test_as_ofs", "budget", "floors", "ceilings",
    "vouched", "vouched_model", "pipeline", "every", "spend",
)  # fmt: skip
_OF_READERS = ("fairness", "actionable", "reasons")


@dataclass(frozen=True)
class QuestionSettings:
    """A question, the gold table that describes its entities, and how its models are made and read.

    Parameters
    ----------
    pipeline : the way from bronze to the features, for the point-in-time proof
    most_as_ofs : of a training snapshot; None: by the number of customers
    min_history_days, every : of its as_ofs
    learner : served; ``test_as_ofs``: how many later as_ofs it is graded on
    edges, relative_bands : lower ends of the bands above low, as probabilities or multiples of the
        base rate
    value : the feature that says what a customer was worth of late, or the table of ``spend``
    spend : the value model that says it instead; None: a feature does
    segments : features whose segments of customers are graded by themselves
    budget : of a search for better settings than the fixed ones; None: there is none
    floors, ceilings : by metric, what a candidate must reach, or stay below, to be promoted
    vouched : features that may know much of the outcome, each with the reason why that is right
    vouched_model : why a model may be better than any clean one; empty: nobody says so
    landed : the tables, layer.table, whose rows came in files by day
    fairness : groups that are to be contacted alike; None: none are compared
    actionable : the features that somebody can move
    reasons : what is kept of why a forecast is as it is
    """

    question: Question
    gold: str
    pipeline: Pipeline = field(kw_only=True, repr=False, compare=False)
    spend: Spend | None = field(default=None, kw_only=True, repr=False, compare=False)
    most_as_ofs: int | None
    min_history_days: int
    learner: str
    test_as_ofs: int
    edges: tuple[float, ...]
    relative_bands: bool
    value: str
    segments: tuple[str, ...] = ()
    economics: Economics = field(default_factory=Economics)
    contact: ContactRule = field(default_factory=ContactRule)
    budget: Budget | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    vouched: Mapping[str, str] = field(default_factory=dict)
    vouched_model: str = ""
    landed: tuple[str, ...] = ()
    every: calendar.Every = calendar.MONTH
    fairness: Fairness | None = None
    actionable: tuple[Lever, ...] = ()
    reasons: Reasons = field(default_factory=Reasons)

    @property
    def name(self) -> str:
        """The question's name."""
        return self.question.name

    @property
    def store(self) -> QuestionStore:
        """Where what belongs to it is kept."""
        return QuestionStore(self.name)

    @property
    def scoring(self) -> str:
        """Hash of what forecasts, and what is measured of them, depend on; how models are trained,
        and who reads what of them, is not.
        """
        apart = (*_OF_TRAINING, *_OF_READERS)
        declared = [getattr(self, f.name) for f in fields(self) if f.name not in apart]
        return digest(*declared, *(["factors"] if self.reasons.factors else []))

    def version(self, stage: str) -> str:
        """What a day of forecasts, or of what is measured of them, depends on."""
        return stages.version(self.scoring, stage)

    @property
    def silence(self) -> str | None:
        """The feature that says how long an entity has been silent; None where there is no
        activity.
        """
        return f"{self.question.activity.name}_days_since_last" if self.question.activity else None

    @property
    def untrained(self) -> str:
        """What scores a day before any training: the rules, which know of silence only; else a
        churn rate.
        """
        return RULES if self.question.kind == INACTIVITY else BASE_RATE

    @property
    def before_a_model(self) -> str:
        """What scores a day before any model, in words."""
        if self.question.kind == INACTIVITY:
            return f"{PROCESS}, fitted to the day's own dates, or {RULES} where none fits"
        return BASE_RATE

    @cached_property
    def titles(self) -> dict[str, str]:
        """Each feature in words, by its name."""
        return {feature.name: feature.title for feature in catalogue(self.question.features)}

    @cached_property
    def value_unit(self) -> str:
        """The unit of what an entity is worth, such as usd; empty where none is declared."""
        if self.spend:
            return self.spend.unit
        return next((f.unit for f in catalogue(self.question.features) if f.name == self.value), "")

    @property
    def worth(self) -> str:
        """What an entity is worth, in words."""
        if self.spend:
            return f"what the entity is expected to spend, by the forecast of the day: {self.value}"
        return f"what the entity was worth of late: {self.value}"

    def valued(self, tables: Tables, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Feature rows of any as_ofs, with what each entity was worth by what was known then."""
        if self.spend is None:
            return frame
        return frame.assign(**{self.value: self.spend.of(tables, frame)})

    @property
    def grading(self) -> str:
        """How a candidate is graded and refitted."""
        if self.question.kind == STATIC:
            return f"graded {OUT_OF_FOLD}, then refitted on all"
        return "graded on later, purged as_ofs, then refitted on all matured ones"

    @property
    def bar(self) -> str:
        """What a candidate has to beat to be promoted."""
        if self.question.kind == STATIC:
            return f"It beats a constant, {OUT_OF_FOLD}."
        if self.question.activity is None:
            return "It beats a constant on later days."
        return "It beats the rules and a constant on later days."

    @property
    def nobody(self) -> str:
        """What is wrong where a snapshot has no row, before its as_ofs."""
        if label := self.question.label:
            return f"nobody in {self.gold} has a label ({label.table}: {label.condition}) at"
        if start := self.question.start:
            return (
                f"nobody in {self.gold} had a {start.noun} ({start.table}) without a later end at"
            )
        return (
            "nobody was active in the observation window "
            f"({self.question.observation_days} days) of"
        )

    def as_of_grid(self, cutoff: dt.date, first_day: dt.date, most: int) -> list[dt.date]:
        """The as_ofs of the snapshot of a cut-off, the newest ``most`` that the history allows."""
        return calendar.as_of_grid(
            cutoff, self.question.horizon, first_day, self.min_history_days, most, self.every
        )

    def more_as_ofs(self, cutoff: dt.date, first_day: dt.date, used: int) -> int:
        """How many as_ofs the history allows where fewer are used than are enough; 0: no more."""
        horizon = self.question.horizon
        enough = calendar.enough_as_ofs(horizon, self.every) if self.question.kind != STATIC else 1
        least = self.min_history_days
        possible = calendar.as_of_grid(cutoff, horizon, first_day, least, enough, self.every)
        return len(possible) if len(possible) > used else 0

    def sentence(self) -> str:
        """The question in words."""
        question, horizon = self.question, self.question.horizon
        if question.label:
            return (
                f"Churn: {question.label.condition} in {question.label.table}, "
                "known on the day itself."
            )
        noun = question.activity.noun if question.activity else ""
        ahead = horizon.words.removeprefix("1 ")
        gap = f" after a gap of {horizon.gap_days} days" if horizon.gap_days else ""
        if question.kind == "event" and question.terminal:
            begun = (
                f", among those with a {question.start.noun} and none since"
                if question.start
                else ""
            )
            return f"Churn: any {question.terminal.noun} in the next {ahead}{gap}{begun}."
        among = f"any {noun} in the last {question.observation_days} days"
        if question.observation_days == ALL:
            among = f"any {noun} so far"
        return f"Churn: no {noun} in the next {ahead}{gap}, among those with {among}."
