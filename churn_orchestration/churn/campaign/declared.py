"""What a campaign declares: whom it acts on, with what, at what cost, and what it is believed to
do.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from churn_orchestration.churn.calendar import DAY
from churn_orchestration.churn.features.declared import EventSource

TREATED, CONTROL = "treated", "control"
CAMPAIGN, ACTION = "campaign", "action"
"""The columns of an outreach log that name what a contact belongs to."""


@dataclass(frozen=True)
class Effect:
    """The share of would-be leavers that an action keeps, as believed before it is measured.

    0 <= low <= mean <= high <= 1.
    """

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Action:
    """One way to contact a customer.

    Parameters
    ----------
    cost : of one contact, in the money of the value
    when : SQL over a customer's row: whom it is open to
    per_day, per_week : contacts at most, of a day and of a week from Monday on; None: any number
    cool_down_days : after a contact by it, so many days go by before the next one; None: none
    deadline_days : days from as_of in which it is to be done, or those by band; None: none
    minutes : of its owner that a contact takes; None: nobody counts them
    """

    name: str
    channel: str
    owner: str
    cost: float
    when: str
    effect: Effect
    per_day: int | None = None
    per_week: int | None = None
    cool_down_days: int | None = None
    deadline_days: int | Mapping[str, int] | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Cap:
    """``most`` contacts of a customer within ``days`` days, by all campaigns of a log."""

    most: int
    days: int


@dataclass(frozen=True)
class Campaign:
    """One campaign.

    Parameters
    ----------
    question : the churn question whose forecasts it acts on; ``entity``: whose they are
    value : a value model, or what every customer is worth
    segments : sets of segments that the actions' conditions read
    control : share of the customers that is held back by lot, above 0 and below 1
    key : with the name of the campaign it decides the lots
    budget : of a day, in the money of the value; None: none
    is_cautious : an action has to pay at the low end of its effect, too
    cap : None: none
    outreach : the log of what was done; None: there is none
    begins : the first as_of on whose list somebody acts; None: the first of all
    hours : of a day that each owner has, by name; whoever is not there has no limit
    uplift : once outcomes say on whom an action works, that is in place of its believed effect
    """

    name: str
    entity: str
    question: str
    value: str | float
    segments: tuple[str, ...]
    control: float
    key: str
    budget: float | None
    is_cautious: bool
    cap: Cap | None
    outreach: EventSource | None
    actions: tuple[Action, ...]
    begins: dt.date | None = None
    hours: tuple[tuple[str, float], ...] = ()
    uplift: bool = field(default=False, metadata={"later": True})

    @property
    def table(self) -> str:
        """The table of its lists, ``layer.table``."""
        return f"actions.{self.name}"

    @property
    def restated(self) -> str:
        """The table of what lists that were issued would be now."""
        return f"restated.{self.name}_lists"

    @property
    def effect_table(self) -> str:
        """The table of what came of it."""
        return f"monitoring.{self.name}_effect"

    @property
    def uplift_table(self) -> str:
        """The table of what was learned of its effects."""
        return f"monitoring.{self.name}_uplift"

    @property
    def grades(self) -> str:
        """The table of the outcomes of its question."""
        return f"monitoring.{self.question}_graded"

    @property
    def forecasts(self) -> str:
        """The table of the forecasts that it acts on."""
        return f"predictions.{self.question}"

    @property
    def values(self) -> str | None:
        """The table of values; None: every customer is worth the same."""
        return f"values.{self.value}" if isinstance(self.value, str) else None


def week_of_list(as_of: dt.date) -> dt.date:
    """The Monday of the week in which the list of a day is acted on, from the next day on.

    >>> [str(week_of_list(dt.date(2024, 12, day))) for day in (21, 22, 23)]
    ['2024-12-16', '2024-12-23', '2024-12-23']
    """
    acted_on = as_of + DAY
    return acted_on - DAY * acted_on.weekday()
