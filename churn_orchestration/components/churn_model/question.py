"""One churn question with all its settings, as the stages of its model use it."""

import datetime as dt
from dataclasses import dataclass

from churn_orchestration.churn import calendar
from churn_orchestration.churn.labels import ALL, Question


@dataclass(frozen=True)
class AskedQuestion:
    """A question, the gold table that describes its entities, and how its models are made and read.

    Parameters
    ----------
    most_as_ofs, min_history_days : of the training snapshots
    learner : served; ``test_as_ofs``: how many later as_ofs it is graded on
    edges, relative_bands : lower ends of the bands above low, as probabilities or multiples of the base rate
    value : the feature that says what a customer was worth of late
    """

    question: Question
    gold: str
    most_as_ofs: int
    min_history_days: int
    learner: str
    test_as_ofs: int
    edges: tuple[float, ...]
    relative_bands: bool
    value: str

    @property
    def name(self) -> str:
        """The question's name."""
        return self.question.name

    @property
    def silence(self) -> str:
        """The feature that says how long an entity has been silent."""
        return f"{self.question.activity.name}_days_since_last"

    def as_of_grid(self, cutoff: dt.date, first_day: dt.date) -> list[dt.date]:
        """The as_ofs of the snapshot of a cut-off."""
        return calendar.as_of_grid(
            cutoff, self.question.horizon, first_day, self.min_history_days, self.most_as_ofs
        )

    def sentence(self) -> str:
        """The question in words."""
        question, horizon = self.question, self.question.horizon
        noun = question.activity.noun
        gap = f" after a gap of {horizon.gap_days} days" if horizon.gap_days else ""
        if question.kind == "event" and question.terminal:
            return f"Churn: any {question.terminal.noun} in the next {horizon.horizon_days} days{gap}."
        among = f"any {noun} in the last {question.observation_days} days"
        if question.observation_days == ALL:
            among = f"any {noun} so far"
        return f"Churn: no {noun} in the next {horizon.horizon_days} days{gap}, among those with {among}."
