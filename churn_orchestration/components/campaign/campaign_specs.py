"""The blocks of a campaign's YAML: its actions, what they are believed to do, and the cap."""

import dagster as dg
from pydantic import Field, field_validator, model_validator

from churn_orchestration.churn.campaign import declared

NAME = r"^[a-z][a-z0-9_]*$"
BANDS = ("low", "medium", "high", "critical")


class EffectSpec(dg.Model, dg.Resolvable):
    """What an action is believed to do, before it is measured."""

    low: float = Field(ge=0, le=1, description="the least share of would-be leavers that it keeps")
    high: float = Field(ge=0, le=1, description="the largest share")
    mean: float | None = Field(
        None, ge=0, le=1, description="what is expected; default: the middle of both"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "EffectSpec":
        if self.low > self.high:
            raise ValueError(f"effect: low {self.low:g} is above high {self.high:g}")
        if self.mean is not None and not self.low <= self.mean <= self.high:
            raise ValueError(
                f"effect: mean {self.mean:g} is not within low {self.low:g} and high {self.high:g}"
            )
        return self

    def effect(self) -> declared.Effect:
        """In the words of ``churn.campaign``."""
        mean = (self.low + self.high) / 2 if self.mean is None else self.mean
        return declared.Effect(self.low, mean, self.high)


class ActionSpec(dg.Model, dg.Resolvable):
    """One way to contact a customer."""

    name: str = Field(pattern=NAME, description="what it is called, in the outreach log too")
    channel: str = Field(min_length=1, description="how: phone, email, visit")
    owner: str = Field(min_length=1, description="who does it: a team or a person")
    cost: float = Field(
        ge=0, allow_inf_nan=False, description="of one contact, in the money of the value"
    )
    capacity_per_day: int | None = Field(None, ge=1, description="contacts of a day at most")
    capacity_per_week: int | None = Field(
        None,
        ge=1,
        description="contacts of a week at most, from Monday on; those that the outreach log has "
        "of the week are taken off",
    )
    when: str = Field(
        "true",
        description="SQL over forecast, value and segments: whom it is open to; default: all",
    )
    effect: EffectSpec = Field(
        description="the share of would-be leavers that it keeps, by belief, and how sure that is"
    )
    cool_down_days: int | None = Field(
        None,
        ge=1,
        description="after a contact by it a customer gets no other one by it for so long; "
        "`contacts` is for all actions",
    )
    deadline_days: int | dict[str, int] | None = Field(
        None, description="days after as_of in which it is to be done: one number, or one by band"
    )
    minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="of its owner's time that a contact takes, for an owner with `hours_per_day`",
    )

    @field_validator("deadline_days")
    @classmethod
    def _of_bands(cls, days: int | dict[str, int] | None) -> int | dict[str, int] | None:
        given = days if isinstance(days, dict) else {} if days is None else {BANDS[0]: days}
        if unknown := [band for band in given if band not in BANDS]:
            raise ValueError(f"there is no band {unknown[0]} ({', '.join(BANDS)})")
        if early := [each for each in given.values() if each < 1]:
            raise ValueError(f"{early[0]} days: a list is there after as_of, so at least 1")
        return days

    @model_validator(mode="after")
    def _week_holds_a_day(self) -> "ActionSpec":
        day, week = self.capacity_per_day, self.capacity_per_week
        if day is not None and week is not None and week < day:
            raise ValueError(
                f"{self.name}: capacity_per_week {week} is below capacity_per_day {day}: no day "
                "could be full"
            )
        return self

    def action(self) -> declared.Action:
        """In the words of ``churn.campaign``."""
        return declared.Action(
            self.name, self.channel, self.owner, self.cost, self.when, self.effect.effect(),
            self.capacity_per_day, self.capacity_per_week, self.cool_down_days,
            self.deadline_days, self.minutes,
        )  # fmt: skip


class OwnerSpec(dg.Model, dg.Resolvable):
    """Who does some of the actions, and has only so much time."""

    name: str = Field(min_length=1, description="the `owner` of actions")
    hours_per_day: float = Field(
        gt=0, le=1000, description="time of a day for all their contacts of the campaign"
    )


class CapSpec(dg.Model, dg.Resolvable):
    """How often a customer is contacted at most, by all campaigns of one outreach log."""

    most: int = Field(ge=1, description="contacts")
    days: int = Field(ge=2, description="within so many days, that of the next contact included")
