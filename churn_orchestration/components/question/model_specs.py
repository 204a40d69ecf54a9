"""The blocks of a churn question's YAML that say how its models are sought, judged and acted on."""

from typing import Literal

import dagster as dg
from pydantic import Field, model_validator

from churn_orchestration.churn.question.settings import (
    CAPACITY,
    PROFIT,
    Budget,
    ContactRule,
    Economics,
)


class SearchSpec(dg.Model, dg.Resolvable):
    """What a search for a better family of learners and better settings may take; without the block
    the fixed settings stay.
    """

    minutes: float = Field(1, gt=0, description="wall clock")
    memory_gb: float = Field(4, gt=0, description="memory of the process that tries")
    trials: int = Field(
        100,
        ge=2,
        description="how many settings to try, the fixed ones of each family first; if they end "
        "before the minutes, the same is tried on every machine",
    )
    from_customers: int = Field(
        2_000,
        ge=0,
        description="with fewer customers of the rarer outcome the fixed settings stay",
    )

    def budget(self) -> Budget:
        """In the words of ``churn.settings``."""
        return Budget(60 * self.minutes, self.memory_gb, self.trials, self.from_customers)


class EconomicsSpec(dg.Model, dg.Resolvable):
    """What an offer costs and does, in shares of what a customer is worth."""

    offer_cost: float = Field(0.05, ge=0, lt=1, description="of an offer that is accepted")
    contact_cost: float = Field(0.005, ge=0, lt=1, description="of one contact, accepted or not")
    kept: float = Field(
        0.3, gt=0, lt=1, description="share of the churners whom an offer keeps, on average"
    )
    kept_seen: float = Field(
        20,
        gt=0,
        description="how sure that share is: as if seen on so many churners who got an offer",
    )

    def economics(self) -> Economics:
        """In the words of ``churn.settings``."""
        accepts = self.kept * self.kept_seen
        return Economics(self.offer_cost, self.contact_cost, accepts, self.kept_seen - accepts)


class ContactSpec(dg.Model, dg.Resolvable):
    """Whom to contact of those who are scored on a day."""

    by: Literal["capacity", "profit", "recall", "precision"] = Field(
        "capacity",
        description="capacity: those with the most at stake, of all whose contact is expected to "
        "pay, as many as there is room for; profit: all whose contact is expected to "
        "pay; recall: the fewest that find the share `floor` of the churners; "
        "precision: the most of whom the share `floor` would churn",
    )
    floor: float | None = Field(None, gt=0, le=1, description="with recall and precision")
    most: int | None = Field(None, ge=1, description="with capacity: customers a day")
    share: float = Field(
        0.1, gt=0, le=1, description="with capacity and without `most`: of those scored"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ContactSpec":
        fits = {CAPACITY: {"most", "share"}, PROFIT: set[str]()}.get(self.by, {"floor"})
        given = self.model_fields_set - {"by"}
        if stray := sorted(given - fits):
            raise ValueError(f"contact: by: {self.by} has no use for `{stray[0]}`")
        if {"most", "share"} <= given:
            raise ValueError("contact: either `most` or `share`, not both")
        if "floor" in fits - given:
            raise ValueError(f"contact: by: {self.by} needs `floor`")
        return self

    def rule(self) -> ContactRule:
        """In the words of ``churn.settings``."""
        return ContactRule(self.by, self.floor, self.most, self.share)
